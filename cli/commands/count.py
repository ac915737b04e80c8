"""`lmtool count`: how many tokens a text has; `wc` for tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ... import UsageError
from ..options import Color, ColorWhen, Debug, Quiet, Verbose, open_terminal
from ..token_options import (
    Bos,
    BosWhen,
    Files,
    Model,
    Offline,
    Prompt,
    Special,
    SpecialAs,
    open_tokenizer,
)

if TYPE_CHECKING:
    from ...tokenizer.bulk import Encoded
    from ...tokenizer.tokenizer import Tokenizer

EPILOG = """Examples:

lmtool count *.txt

git diff | lmtool count -m ./checkpoint"""


@dataclass(frozen=True)
class Count:
    """How long one text is; `file` is None for a text from stdin or -p."""

    file: str | None
    tokens: int
    characters: int
    bytes: int


def count(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files; none or `-`: stdin.", show_default=False)
    ] = None,
    model: Model = "default",
    file: Files = None,
    prompt: Prompt = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="Count each line: a line in, a number out.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="JSON: file, tokens, characters, bytes; and the total.")
    ] = False,
    bos: Bos = BosWhen.auto,
    special: Special = SpecialAs.text,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = ColorWhen.auto,
    debug: Debug = False,
) -> None:
    """Count the tokens of files, as `wc` counts words.

    The number is that of the ids which tokenize prints, a begin-of-text token among them.
    """
    from ...tokenizer.bulk import encode_blocks, encode_text
    from ..sources import Source

    terminal = open_terminal(quiet, verbose, color)
    source = Source([*(files or ()), *(file or ())], prompt)
    if lines and json:
        raise UsageError("--lines and --json exclude each other")
    tokenizer = open_tokenizer(model, offline, terminal)
    if lines:
        for line in source.lines(terminal):
            encoded = encode_text(tokenizer, line, bos.value, special.value)
            terminal.out(f"{len(encoded.ids)}\n")
        return
    counts: list[Count] = []
    for name, blocks in source.each(terminal):
        stretches = encode_blocks(tokenizer, blocks, bos.value, special.value)
        counts.append(_add_up(name, stretches))
    if json:
        terminal.out_json(_as_json(tokenizer, counts))
    else:
        terminal.out(_as_table(counts))


def _add_up(name: str | None, stretches: Iterator[Encoded]) -> Count:
    tokens = characters = size = 0
    for encoded in stretches:
        tokens += len(encoded.ids)
        characters += len(encoded.text)
        size += len(encoded.text.encode())
    return Count(name, tokens, characters, size)


def _total(counts: list[Count]) -> Count:
    return Count(
        "total",
        sum(one.tokens for one in counts),
        sum(one.characters for one in counts),
        sum(one.bytes for one in counts),
    )


def _as_json(tokenizer: Tokenizer, counts: list[Count]) -> dict[str, object]:
    total = asdict(_total(counts))
    del total["file"]
    return {
        "model": tokenizer.name,
        "files": [asdict(one) for one in counts],
        "total": total,
    }


def _as_table(counts: list[Count]) -> str:
    """The number alone for stdin; else numbers to the right, names behind, and the total."""
    if len(counts) == 1 and counts[0].file is None:
        return f"{counts[0].tokens}\n"
    rows = [*counts, _total(counts)] if len(counts) > 1 else counts
    width = max(len(str(row.tokens)) for row in rows)
    return "".join(f"{row.tokens:>{width}} {row.file or '-'}\n" for row in rows)
