"""`lmtool detokenize`: ids in, the bytes they stand for out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..options import Color, ColorWhen, Debug, Quiet, Verbose, open_terminal
from ..token_options import Files, Model, Offline, open_tokenizer

if TYPE_CHECKING:
    from ...tokenizer.tokenizer import Tokenizer

EPILOG = """Examples:

lmtool detokenize -f ids.txt > text.txt

lmtool tokenize -f story.txt | lmtool detokenize | cmp - story.txt"""


def detokenize(
    model: Model = "default",
    file: Files = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="Each line is a text of its own, and ends as a line.")
    ] = False,
    keep_bos: Annotated[
        bool, typer.Option("--keep-bos", help="Spell the begin-of-text token that tokenize adds.")
    ] = False,
    skip_special: Annotated[
        bool, typer.Option("--skip-special", help="Leave out every special token.")
    ] = False,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = ColorWhen.auto,
    debug: Debug = False,
) -> None:
    """Turn ids back into the text they came from, byte for byte, with nothing added.

    Ids are parted by spaces, line breaks, commas or NUL; a .bin file holds them as tokenize
    writes it.
    """
    from ...tokenizer.corpus import STDIN
    from ..id_reader import IdReader
    from ..sources import Source, say_if_typing

    terminal = open_terminal(quiet, verbose, color)
    source = Source(file)
    tokenizer = open_tokenizer(model, offline, terminal)
    if STDIN in source.files:
        say_if_typing(terminal, "ids")
    readers = [IdReader(tokenizer, path) for path in source.files]
    if lines:
        for ids in (ids for reader in readers for ids in reader.lines()):
            text = _Text(tokenizer, keep_bos, skip_special)
            terminal.out_bytes(text.add(ids) + text.end() + b"\n")
        return
    text = _Text(tokenizer, keep_bos, skip_special)
    for ids in (ids for reader in readers for ids in reader.blocks()):
        terminal.out_bytes(text.add(ids))
    terminal.out_bytes(text.end())


class _Text:
    """One text's bytes, from ids that come bit by bit."""

    def __init__(self, tokenizer: Tokenizer, keep_bos: bool, skip_special: bool) -> None:
        self._tokenizer = tokenizer
        self._prefix = () if keep_bos else tokenizer.prefix_for("auto")
        self._skip_special = skip_special
        self._held: list[int] = []
        self._begun = False

    def add(self, ids: list[int]) -> bytes:
        """Bytes that are certain: at once where each id has its own, else none before the end."""
        self._held += ids
        if self._tokenizer.spelling != "bytes" or len(self._held) < len(self._prefix):
            return b""
        return self.end()

    def end(self) -> bytes:
        """The bytes of what is held."""
        ids, self._held = self._held, []
        if not self._begun and tuple(ids[: len(self._prefix)]) == self._prefix:
            ids = ids[len(self._prefix) :]
        self._begun = True
        return self._tokenizer.decode_bytes(ids, skip_special=self._skip_special)
