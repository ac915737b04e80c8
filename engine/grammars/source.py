"""From a `Grammar` to the Lark text that llguidance compiles, checked on the way.

llguidance is an extra: it is imported where it is used.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

from ... import InputError, LmtoolError, UsageError
from ..request import Grammar
from .lark import endless_rule
from .schema import (
    Endings,
    Schema,
    closed,
    inexact_constant,
    parse_schema,
    place_of_fault,
    unkept_count,
    without_whole_borders,
)

if TYPE_CHECKING:
    import llguidance

# Or llguidance would allow one way only to cut a forced text into tokens, by a tokenizer that it
# would have to be given. On a line of its own at the end, where it moves no other line.
_END = '\n%llguidance {"no_forcing": true}\n'

_JSON = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}
"""One line, and a single space at most behind a comma or a colon: free whitespace has no end."""

_PLACED = re.compile(r"(?:at )?(\d+)\((\d+)\): (.*)", re.DOTALL)
_EXCERPT = re.compile(r"\n\s*\d+ \| ")
_BAD_REGEX = re.compile(r"regex parse error:\n(?P<shown>.*)\nerror: (?P<what>[^\n]*)", re.DOTALL)


def load_llguidance() -> Any:
    """The library's module. Raises `UsageError` naming the extra where it isn't installed."""
    try:
        import llguidance
    except ImportError as error:
        raise UsageError(
            "constraints need llguidance, which is not installed",
            hint="`pip install 'lmtool[grammar]'`",
        ) from error
    return llguidance


def check_grammar(grammar: Grammar) -> None:
    """See that `grammar` compiles and that some text matches it, as far as bytes can tell.

    Raises `InputError` (a schema, a Lark grammar) or `UsageError` (a regex, choices) with what is
    wrong and where.
    """
    library = load_llguidance()
    text = lark_text(grammar)
    _, notes = library.LLMatcher.validate_grammar_with_warnings(text)
    if any("special_token" in note for note in notes):
        return  # only the model's vocabulary can tell
    matcher = new_matcher(library.LLTokenizer("byte"), text)
    allowed = any(matcher.compute_bitmask()[: 256 // 8])
    if not allowed:
        empty = matcher.is_accepting()
        raise _unfit(grammar, f"{'nothing but the empty' if empty else 'no'} text matches it")


def new_matcher(tokenizer: llguidance.LLTokenizer, lark: str) -> llguidance.LLMatcher:
    """A matcher at its beginning, silent and brief."""
    library = load_llguidance()
    limits = library.LLParserLimits(verbose_errors=False)
    return library.LLMatcher(tokenizer, lark, log_level=0, limits=limits)


def lark_text(grammar: Grammar) -> str:
    """What llguidance compiles. Raises as `check_grammar` does for what doesn't compile."""
    if grammar.kind == "json_schema":
        return _of_schema(grammar)
    if grammar.kind == "lark":
        return _of_lark(grammar)
    if grammar.kind == "regex":
        return _of_regex(grammar)
    choices = cast("list[str]", json.loads(grammar.source))
    # Spelled so that no letter means anything but itself, whatever it is.
    return _rule("|".join("".join(f"\\x{{{ord(one):x}}}" for one in text) for text in choices))


def _rule(regex: str) -> str:
    return f"start: /{regex}/{_END}"


def _fault(lark: str) -> str:
    """What llguidance has against a grammar, empty if nothing."""
    is_wrong, notes = load_llguidance().LLMatcher.validate_grammar_with_warnings(lark)
    return notes[0] if is_wrong else ""


def _unfit(grammar: Grammar, what: str, hint: str | None = None) -> LmtoolError:
    error = UsageError if grammar.kind in ("regex", "choice") else InputError
    return error(f"{grammar.name}: {what}", hint)


def _of_regex(grammar: Grammar) -> str:
    regex = grammar.source.replace("\n", "\\n")
    if (len(regex) - len(regex.rstrip("\\"))) % 2:  # llguidance would drop the last one
        raise _unfit(grammar, "the regular expression ends in a lone backslash")
    text = _rule(load_llguidance().regex_to_lark(regex, "d"))
    fault = _fault(text)
    if fault:
        raise _unfit(grammar, _in_words(fault))
    return text


def _of_lark(grammar: Grammar) -> str:
    text = grammar.source + _END
    fault = _fault(text)
    if not fault:
        endless = endless_rule(grammar.source)
        if endless is not None:
            raise _unfit(
                grammar, "line {1}: the rule `{0}` needs itself without end".format(*endless)
            )
        return text
    found = _PLACED.match(fault)
    if found is None:
        raise _unfit(grammar, _in_words(fault))
    # What ends too soon is noticed on the line that is only ours.
    line = min(int(found[1]), grammar.source.rstrip("\n").count("\n") + 1)
    raise _unfit(grammar, f"line {line}: {_in_words(found[3])}")


def _in_words(fault: str) -> str:
    """llguidance's message on one line, without the excerpts around it."""
    regex = _BAD_REGEX.search(fault)
    if regex is not None:
        shown = regex["shown"].split("\n")
        marked = shown[-1].find("^") - 4  # below what stands four to the right
        place = f" at character {marked + 1}" if len(shown) == 2 and marked >= 0 else ""
        return f"the regular expression `{shown[0].strip()}` is wrong{place}: {regex['what']}"
    found = _PLACED.match(fault)
    message = _EXCERPT.split(found[3] if found else fault)[0]
    message = message.removeprefix("failed to compile JSON schema: ")
    return " ".join(message.split())


def _of_schema(grammar: Grammar) -> str:
    schema = parse_schema(grammar.source, grammar.name)
    try:
        fault = _judged(schema)
        if fault:
            place = place_of_fault(schema, fault, _judged)
            raise _unfit(grammar, *_schema_fault(fault, place))
        _refuse_unkept(grammar, schema)
        endings = Endings(closed(without_whole_borders(schema)))
        endless = endings.endless()
        if endless is not None:
            raise _unfit(grammar, f"can't be met: `{endless}` needs itself without end")
        return _json_rule(endings.pruned(schema))
    except RecursionError as error:
        raise _unfit(grammar, "it is nested too deep") from error


def _judged(schema: Schema) -> str:
    return _in_words(_fault(_json_rule(schema)))


def _json_rule(schema: Schema) -> str:
    if isinstance(schema, dict):
        own = cast("dict[str, Any]", schema)
        guidance = own.get("x-guidance")
        chosen = cast("dict[str, Any]", guidance) if isinstance(guidance, dict) else {}
        schema = {**own, "x-guidance": {**_JSON, **chosen}}
    elif schema is True:
        schema = {"x-guidance": _JSON}
    return f"start: %json {json.dumps(schema)}{_END}"


def _refuse_unkept(grammar: Grammar, schema: Schema) -> None:
    """Raise for what llguidance takes and doesn't keep."""
    place = inexact_constant(schema)
    if place is not None:
        raise _unfit(
            grammar, f"a constant at `{place}` is too large: 2**53 at most is kept exactly"
        )
    place = unkept_count(schema)
    if place is not None:
        raise _unfit(
            grammar,
            f"`minProperties` at `{place}` is not supported beyond one more than `required` names",
            "name the properties in `properties` and `required`",
        )


_KEYS = re.compile(r"Unimplemented keys: \[(.*)\]")


def _schema_fault(message: str, place: str) -> tuple[str, str | None]:
    """What to say of a schema's fault, and a hint."""
    keys = _KEYS.match(message)
    if keys is not None:
        names = ", ".join(f"`{name}`" for name in json.loads(f"[{keys[1]}]"))
        return f"{names} at `{place}` {'is' if ',' not in names else 'are'} not supported", None
    if message.startswith("oneOf constraints"):
        return (
            f"`oneOf` at `{place}` is not supported where more than one of its cases may fit",
            "`anyOf` allows either",
        )
    if message.startswith("Resource "):
        return f"`$ref` at `{place}` leads outside of the schema, which is not supported", None
    unmet = message.removeprefix("Unsatisfiable schema: ")
    if unmet.startswith("Regex is empty"):
        unmet = "no string has all that is asked of it"
    if unmet != message:
        return f"can't be met at `{place}`: {unmet}", None
    return f"at `{place}`: {message[:1].lower()}{message[1:]}", None
