"""Rules of a Lark grammar that no finite text can match, since each of their cases needs them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_LEXEME = re.compile(
    r"""(?P<skip>(?:[ \t\r\f]|//[^\n]*|\#[^\n]*)+)
    |(?P<line>\n)
    |(?P<text>"(?:\\.|[^"\\\n])*"i?|/(?!/)(?:\\.|[^/\\\n])+/[a-z]*|<[^>\s]*>)
    |(?P<name>[!?]?[A-Za-z_]\w*)
    |(?P<count>\{\s*\d*\s*(?:,\s*\d*\s*)?\}|~\s*\d+(?:\s*\.\.\s*\d+)?)
    |(?P<mark>[:|()?*+])""",
    re.VERBOSE,
)
_MAY_BE_NONE = re.compile(r"[{~]\s*(?:0|,|\.\.)")


class _UnreadError(Exception):
    """The grammar uses what this reader doesn't know; llguidance has judged it anyway."""


@dataclass
class _Case:
    """Names that all have to end for this to end, and cases of which one has to."""

    names: list[str] = field(default_factory=list[str])
    groups: list[list[_Case]] = field(default_factory=list["list[_Case]"])

    def ends(self, sure: set[str]) -> bool:
        """Whether some finite text matches, given the names that surely end."""
        return sure.issuperset(self.names) and all(
            any(case.ends(sure) for case in group) for group in self.groups
        )


def endless_rule(text: str) -> tuple[str, int] | None:
    """The first rule, with its line, that never ends once begun; None if there is none.

    None too for a grammar that uses what is seldom used, such as `%json` or attributes of rules.

    >>> endless_rule('start: "a" b\\nb: "(" b ")"')
    ('b', 2)
    """
    try:
        rules = _read(text)
    except _UnreadError:
        return None
    bodies = {name: body for name, _, body in rules}
    known = set(bodies)
    foreign = {name for body in bodies.values() for case in body for name in _named(case)} - known
    sure = foreign  # imported, or unknown, which llguidance tells of
    before = -1
    while before < len(sure):
        before = len(sure)
        sure |= {name for name, body in bodies.items() if any(case.ends(sure) for case in body)}
    return next(((name, line) for name, line, _ in rules if name not in sure), None)


def _named(case: _Case) -> set[str]:
    inner = {name for group in case.groups for one in group for name in _named(one)}
    return {*case.names, *inner}


def _read(text: str) -> list[tuple[str, int, list[_Case]]]:
    """Each rule's name, line and cases. Raises `_UnreadError`."""
    rules: list[tuple[str, int, list[_Case]]] = []
    words = _words(text)
    place = 0
    while place < len(words):
        (kind, name, line), (_, colon, _) = words[place], (*words, ("mark", "", 0))[place + 1]
        if kind != "name" or colon != ":":
            raise _UnreadError
        body, place = _cases(words, place + 2)
        rules.append((name.lstrip("!?"), line, body))
    return rules


def _words(text: str) -> list[tuple[str, str, int]]:
    """The lexemes with their kinds and lines, directives such as `%ignore` left out."""
    words: list[tuple[str, str, int]] = []
    place, line = 0, 1
    while place < len(text):
        start = text.rfind("\n", 0, place) + 1
        if text[place] == "%" and not text[start:place].strip():
            place = (text + "\n").index("\n", place)
            continue
        found = _LEXEME.match(text, place)
        if found is None:
            raise _UnreadError
        if found.lastgroup not in ("skip", "line"):
            words.append((found.lastgroup or "", found[0], line))
        line += found[0].count("\n")
        place = found.end()
    return words


def _cases(words: list[tuple[str, str, int]], place: int) -> tuple[list[_Case], int]:
    """Cases parted by `|`, up to a `)`, the next rule or the end; and where that is."""
    cases = [_Case()]
    while place < len(words):
        kind, word, _ = words[place]
        if word == ")" or (kind == "name" and (*words, ("", "", 0))[place + 1][1] == ":"):
            break
        place += 1
        if word == "|":
            cases.append(_Case())
            continue
        if word == "(":
            group, place = _cases(words, place)
            if place == len(words):
                raise _UnreadError
            place += 1
        elif kind == "name":
            group = [_Case([word])]
        elif kind == "text":
            group = []
        else:
            raise _UnreadError
        optional, place = _repeats(words, place)
        if group and not optional:
            cases[-1].groups.append(group)
    return cases, place


def _repeats(words: list[tuple[str, str, int]], place: int) -> tuple[bool, int]:
    """Whether what stands before `place` may be left out, and where its counts end."""
    optional = False
    while place < len(words) and (words[place][0] == "count" or words[place][1] in "?*+"):
        word = words[place][1]
        optional |= word in ("?", "*") or bool(_MAY_BE_NONE.match(word))
        place += 1
    return optional, place
