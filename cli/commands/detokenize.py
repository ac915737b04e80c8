"""`lmtool detokenize`: ids in, the bytes they stand for out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from ... import UsageError
from ..exits import Exit
from ..option_groups import TalkOptions
from ..options import open_terminal
from ..terminal import Terminal
from ..token_options import InputOptions, Records, WhichTokenizer, tell_settings
from ..unfold import unfold

if TYPE_CHECKING:
    from ...tokenizer.tokenizer import Tokenizer
    from ..id_reader import IdReader

EPILOG = """Examples:

lmtool detokenize ids.txt > text.txt

lmtool tokenize story.txt | lmtool detokenize | cmp - story.txt"""


@dataclass(frozen=True)
class Spelled:
    """Which special tokens are spelled."""

    panel: ClassVar[str] = "Special tokens"

    keep_bos: Annotated[
        bool,
        typer.Option(
            "--keep-bos",
            help="Spell the begin-of-text token that tokenize adds.",
            show_default=False,
        ),
    ] = False
    skip_special: Annotated[
        bool,
        typer.Option("--skip-special", help="Leave out every special token.", show_default=False),
    ] = False


@unfold
def detokenize(
    which: WhichTokenizer, ids: InputOptions, spelled: Spelled, talk: TalkOptions
) -> int:
    """Turn ids back into the text they came from, byte for byte, with nothing added.

    Ids are parted by spaces, line breaks, commas, brackets or NUL, or in JSON as tokenize prints
    it; a .bin file holds them as tokenize writes it. Several files are one text.
    """
    from ...tokenizer.corpus_encoding import made_by_another
    from ..id_reader import check_flat
    from ..sources import check_files, named_once

    terminal = open_terminal(talk.quiet, talk.verbose, talk.color)
    paths, records = named_once(ids.paths), ids.records
    if records and any(path.suffix == ".bin" for path in paths):
        raise UsageError("a .bin file has no lines", hint="leave out --lines and -z")
    tokenizer = which.open(terminal)
    tell_settings(terminal, which, ids)
    check_files(paths, "lmtool detokenize reads files of ids, or stdin")
    for path in paths:
        if path.suffix == ".bin":
            check_flat(tokenizer, path)
        if path.suffix == ".bin" and made_by_another(tokenizer, path):
            facts = path.with_suffix(".json")
            terminal.warn(f"the ids in `{path}` are another tokenizer's, as `{facts}` says")
    readers = _readers(tokenizer, ids, terminal)
    if records:
        _many(tokenizer, readers, records, ids.end.encode(), spelled, terminal)
        return Exit.DONE
    text = _Text(tokenizer, spelled)
    for reader in readers:
        for block in reader.blocks():
            terminal.out_bytes(text.add(block))
    terminal.out_bytes(text.end())
    return Exit.DONE


def _many(
    tokenizer: Tokenizer,
    readers: Iterator[IdReader],
    records: Records,
    end: bytes,
    spelled: Spelled,
    terminal: Terminal,
) -> None:
    """Write each record's text, as soon as it has come."""
    for batch in (batch for reader in readers for batch in reader.texts(records)):
        out: list[bytes] = []
        for ids in batch:
            text = _Text(tokenizer, spelled)
            out += (text.add(ids), text.end(), end)
        terminal.out_bytes(b"".join(out))


def _readers(tokenizer: Tokenizer, ids: InputOptions, terminal: Terminal) -> Iterator[IdReader]:
    """One file after the other; what was wrong with it is told when it is read."""
    from ...tokenizer.opening import STDIN
    from ..id_reader import IdReader
    from ..sources import named_once, say_if_typing

    for path in named_once(ids.paths):
        if path == STDIN:
            say_if_typing(terminal, "ids")
        reader = IdReader(tokenizer, path, ids.errors.value)
        yield reader
        if reader.first_bad is not None:
            done = "left out" if ids.errors.value == "skip" else "replaced by U+FFFD"
            what = "word" if reader.bad == 1 else "words"
            terminal.warn(f"{reader.bad:,} {what} {done}; the first: {reader.first_bad.message}")


class _Text:
    """One text's bytes, from ids that come bit by bit."""

    def __init__(self, tokenizer: Tokenizer, spelled: Spelled) -> None:
        from ...tokenizer.stream import ByteStream

        self._stream = ByteStream(tokenizer, spelled.skip_special)
        self._prefix = () if spelled.keep_bos else tokenizer.prefix_for("auto")
        self._held: list[int] = []
        self._begun = False

    def add(self, ids: list[int]) -> bytes:
        """The bytes that more ids stand for."""
        if not self._begun:
            self._held += ids
            if len(self._held) < len(self._prefix):
                return b""
            return self.end()
        return self._bytes(ids)

    def end(self) -> bytes:
        """The bytes of what is held."""
        ids, self._held = self._held, []
        if not self._begun and tuple(ids[: len(self._prefix)]) == self._prefix:
            ids = ids[len(self._prefix) :]
        self._begun = True
        return self._bytes(ids)

    def _bytes(self, ids: list[int]) -> bytes:
        from ..id_reader import REPLACED

        if REPLACED not in ids:
            return self._stream.push(ids)
        out = b""
        start = 0
        for at in (at for at, id in enumerate(ids) if id == REPLACED):
            out += self._stream.push(ids[start:at]) + "\ufffd".encode()
            start = at + 1
        return out + self._stream.push(ids[start:])
