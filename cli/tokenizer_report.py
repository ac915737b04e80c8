"""What `lmtool inspect` shows a person of a tokenizer, 80 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from .terminal import Terminal
from .text_table import Table, as_text, display_width, fitted, printable

WIDTH = 80
Values = dict[str, Any]
Row = tuple[str, str]

REASONS = {
    "merges": "the merges make something else of it",
    "score": "other pieces are likelier",
    "bytes": "no UTF-8 has these bytes",
    "letter": "its character has a piece",
    "normalizer": "the normalizer changes it",
    "added": "an added token is matched in it",
    "border": "it is parted before the merges",
    "unfound": "of the texts tried none gave it",
}
"""Why a token never comes, in words."""

NOTHING = {
    "normalizer": "changes nothing",
    "pre_tokenizer": "parts nothing",
    "post_processor": "adds nothing",
    "decoder": "none",
}


def short_rows(facts: Values | None) -> list[Row]:
    """A tokenizer in a few lines, for a checkpoint that has one."""
    if facts is None:
        return [("tokenizer", "none")]
    ends = ", ".join(f"{text} ({id})" for id, text in facts["eos"].items()) or "none named"
    return [
        ("tokenizer", f"{facts['kind']}, {facts['vocabulary']:,} ids; a text ends: {ends}"),
        ("", f"read from {facts['format']}"),
        ("chat template", "yes" if facts["chat_template"] else "none"),
    ]


def show_tokenizer(terminal: Terminal, path: str, facts: Values, limit: int) -> None:
    """All of `facts` of what is at `path`, at most `limit` tokens of each kind."""
    bold = terminal.stdout is not None and terminal.paints(terminal.stdout)
    terminal.out(_as_rows(_rows(path, facts), bold) + "\n")
    for table in _tables(facts, limit):
        if table.rows:
            terminal.out(as_text(table, bold))


def _as_rows(rows: Sequence[Row], bold: bool) -> str:
    """Names and what is said of them, in two columns; long lines are broken."""
    width = max(display_width(name) for name, _ in rows)
    lines: list[str] = []
    for name, text in rows:
        parts = textwrap.wrap(text, WIDTH - width - 2, break_on_hyphens=False) or [""]
        for place, part in enumerate(parts):
            label = f"{name if place == 0 else '':>{width}}"
            lines.append(f"\x1b[1m{label}\x1b[0m  {part}" if bold else f"{label}  {part}")
    return "\n".join(lines) + "\n"


def _rows(path: str, facts: Values) -> list[Row]:
    rows = [
        ("tokenizer", path),
        ("kind", ", ".join([facts["kind"], *_model(facts["model"])])),
        ("read from", facts["format"]),
        ("ids", _ids(facts)),
    ]
    names = (
        ("normalizer", "normalizer"),
        ("pre-tokenizer", "pre_tokenizer"),
        ("post-processor", "post_processor"),
        ("decoder", "decoder"),
    )
    for title, name in names:
        steps = facts["pipeline"][name] or [NOTHING[name]]
        rows += [(title if place == 0 else "", step) for place, step in enumerate(steps)]
    kept = "every text" if facts["lossless"] else f"not always: {'; '.join(facts['losses'])}"
    rows += [("comes back", kept), ("chat template", _templates(facts))]
    rows += _merge_rows(facts["merges"])
    rows.append(("lone bytes", _bytes(facts["missing_bytes"])))
    rows += _reach_rows(facts["reach"])
    return [(name, printable(text)) for name, text in rows]


def _model(settings: Values) -> list[str]:
    words = {
        "ignore_merges": "a word that is a token stays whole",
        "byte_fallback": "letters without a piece become bytes",
        "fuse_unk": "unknown letters side by side are one token",
    }
    told = [words.get(name, f"{name} {value}") for name, value in settings.items()]
    return [one for one in told if not one.startswith("unk_id")]


def _ids(facts: Values) -> str:
    count, size, holes = facts["tokens"], facts["vocabulary"], facts["holes"]
    if not holes["ids"]:
        return f"{size:,}, 0 to {size - 1:,}"
    first = [f"{a:,}" if a == b else f"{a:,}-{b:,}" for a, b in holes["first"][:3]]
    more = ", …" if holes["count"] > 3 else ""
    return (
        f"{count:,}, the highest is {size - 1:,}; {holes['ids']:,} stand for nothing: "
        f"{', '.join(first)}{more}"
    )


def _templates(facts: Values) -> str:
    names = facts["chat_templates"]
    if not names:
        return "none"
    return "yes" if names == ["default"] else f"yes: {', '.join(names)}"


def _merge_rows(merges: Values | None) -> list[Row]:
    if merges is None or not merges["count"]:
        return []
    first, last = merges["first"][:4], merges["last"][-3:]
    deepest = merges["deepest"][0]
    return [
        ("merges", f"{merges['count']:,}"),
        ("first", _pairs(first)),
        ("last", _pairs(last)),
        ("deepest", f"{seen(deepest['text'])}: {deepest['depth']} on top of each other"),
    ]


def _pairs(pairs: Sequence[Values]) -> str:
    return ", ".join(" + ".join(map(seen, pair["texts"])) for pair in pairs)


def _bytes(missing: Sequence[int]) -> str:
    if not missing:
        return "each of the 256 has a token: no text is unknown"
    if len(missing) > 128:
        return f"{256 - len(missing)} of 256 have a token"
    some = " ".join(f"{byte:02X}" for byte in missing[:8])
    return f"{256 - len(missing)} of 256 have a token; not {some}{' …' if len(missing) > 8 else ''}"


def _reach_rows(reach: Values) -> list[Row]:
    beside, halves = reach["beside_other_text"]["count"], reach["half_characters"]["count"]
    never, unfound = reach["never"]["count"], reach["not_found"]["count"]
    return [
        ("tokens that come", f"{reach['by_own_text']:,} from their own text"),
        ("", f"{beside:,} only beside other text"),
        ("that never come", f"{never:,}, proved"),
        ("", f"{unfound:,} more of which no text was found"),
        ("half characters", f"{halves:,} tokens begin or end within one"),
    ]


def _tables(facts: Values, limit: int) -> list[Table]:
    reach = facts["reach"]
    return [
        _added(facts["added"], limit),
        _scripts(facts["scripts"], limit),
        _lengths(facts["lengths"]),
        _tokens("longest tokens", facts["longest"], len(facts["longest"]), limit),
        _never("tokens that never come", reach["never"], limit),
        _never("tokens of which no text was found", reach["not_found"], limit),
        _like_unused(facts.get("like_unused"), limit),
        _halves(reach["half_characters"], limit),
        _alike(facts["alike"], limit),
    ]


def _more(count: int, shown: int) -> list[str]:
    return [f"… and {count - shown:,} more"] if count > shown else []


def _added(added: Sequence[Values], limit: int) -> Table:
    """Those with a role first."""
    ordered = sorted(added, key=lambda one: (not one["roles"], one["id"]))
    rows: list[list[str]] = []
    for one in ordered[:limit]:
        roles = [*one["roles"], *(["ends a text"] if one["ends_text"] else [])]
        kind = "special" if one["special"] else "added"
        rows.append([fitted(printable(one["text"]), 36), kind, ", ".join(roles), f"{one['id']:,}"])
    heads = ("token", "kind", "roles", "id")
    return Table("special and added tokens", heads, rows, 3, _more(len(added), limit))


def _scripts(scripts: Sequence[Values], limit: int) -> Table:
    rows = [
        [
            one["script"].replace("_", " "),
            f"{one['tokens']:,}",
            f"{one['letters']:,}" if one["letters"] else "",
            f"{one['letters_of_one_token']:,}" if one["letters"] else "",
            "" if one["tokens_a_letter"] is None else f"{one['tokens_a_letter']:.2f}",
            f"{one['letters_unknown']:,}" if one["letters_unknown"] else "",
        ]
        for one in scripts[:limit]
    ]
    heads = ["script", "tokens", "letters", "one token each", "tokens a letter", "unknown"]
    if not any(row[-1] for row in rows):
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    return Table("script", heads, rows, notes=_more(len(scripts), limit))


def _lengths(lengths: Values) -> Table:
    """Lengths as bars, those from 16 bytes on in steps."""
    steps = [*((n, n) for n in range(1, 9)), (9, 12), (13, 16), (17, 32), (33, 64), (65, 1 << 40)]
    counted = [
        (first, last, sum(many for size, many in lengths.items() if first <= int(size) <= last))
        for first, last in steps
    ]
    most = max([1, *(many for _, _, many in counted)])
    rows = [
        [
            str(first) if first == last else f"{first}-{last}" if last < 1 << 40 else f"{first}-",
            f"{many:,}",
            ("█" * round(40 * many / most) or ("▏" if many else "")).ljust(40),
        ]
        for first, last, many in counted
    ]
    while rows and rows[-1][1] == "0":
        rows.pop()
    return Table("bytes", ("bytes", "tokens", ""), rows)


def _tokens(title: str, tokens: Sequence[Values], count: int, limit: int) -> Table:
    rows = [[seen(one["text"]), f"{one['bytes']:,}", f"{one['id']:,}"] for one in tokens[:limit]]
    more = [] if title.startswith("longest") else _more(count, limit)
    return Table(title, ("token", "bytes", "id"), rows, notes=more)


def _halves(halves: Values, limit: int) -> Table:
    """The long ones: single bytes are half characters in every vocabulary of bytes."""
    tokens = [one for one in halves["first"] if one["bytes"] > 1]
    tokens.sort(key=lambda one: -one["bytes"])
    return _tokens("tokens of several bytes with half characters", tokens, len(tokens), limit)


def _never(title: str, never: Values, limit: int) -> Table:
    """Some of each reason, for one of them may have thousands."""
    tokens: Sequence[Values] = never["first"]
    reasons = list(dict.fromkeys(one["reason"] for one in tokens))
    each = max(1, limit // max(1, len(reasons)))
    shown = [
        one
        for reason in reasons
        for one in [one for one in tokens if one["reason"] == reason][:each]
    ]
    rows = [[seen(one["text"], 32), REASONS[one["reason"]], f"{one['id']:,}"] for one in shown]
    notes = [
        f"{REASONS[reason]}: {count:,}"
        for reason, count in never["reasons"].items()
        if len(never["reasons"]) > 1
    ]
    notes = _more(never["count"], len(shown)) + notes
    return Table(title, ("token", "why", "id"), rows, 2, notes)


def _like_unused(found: Values | None, limit: int) -> Table:
    """Tokens whose weights say that training hardly met them."""
    title = "tokens whose weights look unused"
    if found is None:
        return Table(title, (), ())
    rows = [
        [seen(one["text"]), f"{one['cosine']:.3f}", f"{one['norm']:.2f}", f"{one['id']:,}"]
        for one in found["first"][:limit]
    ]
    notes = [
        f"likeness to the mean of {found['compared_with']:,} rows of the {found['weights']} that",
        f"nothing uses, 1: the same; half of all norms are below {found['median_norm']:.2f}",
    ]
    return Table(title, ("token", "likeness", "norm", "id"), rows, notes=notes)


def _alike(alike: Values, limit: int) -> Table:
    rows = [
        [seen(one["text"], 40), ", ".join(f"{id:,}" for id in one["ids"][:4])]
        for one in alike["first"][:limit]
    ]
    return Table("tokens spelled alike", ("text", "ids"), rows, 2, _more(alike["count"], limit))


def seen(text: str, width: int = 48) -> str:
    """A token's text on one line, its spaces as `·`."""
    shown = printable(text).replace(" ", "·")
    return fitted(shown, width)
