"""`lmtool count`: how many tokens a text has; `wc` for tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from ... import InputError, UsageError
from ..count_table import Count, CountTable, as_json, total_of
from ..exits import Exit, code_of
from ..option_groups import TalkOptions
from ..options import open_terminal
from ..terminal import Terminal
from ..token_options import (
    Bos,
    EncodeSettings,
    Special,
    TextOptions,
    WhichTokenizer,
    tell_settings,
)
from ..unfold import unfold

if TYPE_CHECKING:
    from ...tokenizer.bulk import Encoded
    from ...tokenizer.tokenizer import Tokenizer
    from ..sources import Source

EPILOG = """Examples:

lmtool count *.txt

lmtool count --bytes --ratio -m ./checkpoint README.md

git ls-files -z | lmtool count --files0-from -"""


@dataclass(frozen=True)
class Columns:
    """What is counted beside the tokens, and how it is written."""

    panel: ClassVar[str] = "Output"

    newlines: Annotated[
        bool,
        typer.Option(*("-l", "--newlines"), help="Also line breaks.", show_default=False),
    ] = False
    characters: Annotated[
        bool, typer.Option("--characters", help="Also characters.", show_default=False)
    ] = False
    bytes: Annotated[
        bool, typer.Option(*("-c", "--bytes"), help="Also bytes.", show_default=False)
    ] = False
    ratio: Annotated[
        bool, typer.Option("--ratio", help="Also bytes a token.", show_default=False)
    ] = False
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="JSON: every count of each file, and the total.", show_default=False
        ),
    ] = False
    files0_from: Annotated[
        Path | None,
        typer.Option(
            "--files0-from",
            metavar="FILE",
            help="Read names of files, each ended by NUL, from FILE; `-` is stdin.",
            show_default=False,
        ),
    ] = None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, tokens first."""
        return (
            "tokens",
            *(name for name in ("newlines", "characters", "bytes", "ratio") if getattr(self, name)),
        )


@unfold
def count(
    which: WhichTokenizer,
    text: TextOptions,
    columns: Columns,
    encoding: EncodeSettings,
    talk: TalkOptions,
) -> int:
    """Count the tokens of files, as `wc` counts words.

    The number is that of the ids which tokenize prints, a begin-of-text token among them.

    A file that can't be read is named, and the others are counted.
    """
    terminal = open_terminal(talk.quiet, talk.verbose, talk.color)
    source = _source(text, columns, terminal)
    if columns.json and text.zero:
        raise UsageError("--json and -z exclude each other", hint="--lines --json is JSON a line")
    tokenizer = which.open(terminal)
    tell_settings(terminal, which, text, encoding)
    counter = _Counter(tokenizer, encoding)
    if text.records:
        for batch in source.texts(text.records):
            rows = map(counter.count_whole, counter.encode(batch))
            table = CountTable(columns.names)
            line = partial(_json_line, ratio=columns.ratio) if columns.json else table.line
            terminal.out("".join(line(row).rstrip("\n") + text.end for row in rows))
        return Exit.DONE
    return _count_files(source, counter, columns, terminal)


def _json_line(count: Count, *, ratio: bool) -> str:
    import json

    return json.dumps(count.record(ratio=ratio))


def _source(text: TextOptions, columns: Columns, terminal: Terminal) -> Source:
    from ..sources import Source, names_in

    if columns.files0_from is None:
        return text.source(terminal)
    if text.paths or text.prompt is not None:
        raise UsageError("--files0-from names the files, so nothing else can")
    return Source(terminal, names_in(columns.files0_from), None, text.errors.value)


class _Counter:
    """Counts texts by one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, encoding: EncodeSettings) -> None:
        self.tokenizer = tokenizer
        self._bos: Bos = encoding.bos.value
        self._special: Special = encoding.special.value

    def encode(self, texts: list[str]) -> list[Encoded]:
        """Each text by itself."""
        from ...tokenizer.bulk import encode_texts

        return encode_texts(self.tokenizer, texts, self._bos, self._special)

    def count_whole(self, encoded: Encoded) -> Count:
        """Of a text that is one stretch."""
        return _add_up(None, iter([encoded]))

    def count_blocks(self, name: str | None, blocks: Iterator[str]) -> Count:
        """Of a text that comes in blocks."""
        from ...tokenizer.bulk import encode_blocks

        return _add_up(name, encode_blocks(self.tokenizer, blocks, self._bos, self._special))


def _count_files(source: Source, counter: _Counter, columns: Columns, terminal: Terminal) -> int:
    """Count file after file, each told at once in a table; or all of them in JSON."""
    table = None if columns.json else CountTable(columns.names, source.files)
    counts: list[Count] = []
    failed: list[tuple[str, InputError]] = []
    for path, blocks in source.named():
        name = None if path is None else str(path)
        try:
            counts.append(counter.count_blocks(name, blocks))
        except InputError as error:
            if len(source.files) == 1:
                raise
            terminal.error(error.message, error.hint)
            failed.append((str(path), error))
            continue
        if table is not None:
            terminal.out(table.line(counts[-1]))
    if table is None:
        terminal.out_json(as_json(counter.tokenizer.name, counts, failed, ratio=columns.ratio))
    elif len(source.files) > 1:
        terminal.out(table.line(total_of(counts)))
    return code_of(failed[0][1]) if failed else Exit.DONE


def _add_up(name: str | None, stretches: Iterator[Encoded]) -> Count:
    tokens = newlines = characters = size = 0
    for encoded in stretches:
        tokens += len(encoded.ids)
        newlines += encoded.text.count("\n")
        characters += len(encoded.text)
        size += len(encoded.text.encode())
    return Count(name, tokens, newlines, characters, size)
