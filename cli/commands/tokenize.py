"""`lmtool tokenize`: text in, tokens out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from ... import LmtoolError, UsageError
from ..exits import Exit
from ..flat_options import FlatOptions, write_corpus
from ..option_groups import TalkOptions
from ..options import open_terminal
from ..showing import ShowOptions, show_texts
from ..terminal import Terminal
from ..token_options import EncodeSettings, TextOptions, WhichTokenizer, tell_settings
from ..unfold import unfold

if TYPE_CHECKING:
    from ...tokenizer.bulk import Encoded
    from ...tokenizer.tokenizer import Tokenizer
    from ..sources import Source
    from ..token_writers import Form

EPILOG = """Examples:

lmtool tokenize -p "Once upon a time" --pieces

cat story.txt | lmtool tokenize | lmtool detokenize | cmp - story.txt

lmtool tokenize corpus.txt.xz --special parse -o corpus.bin"""


@dataclass(frozen=True)
class TokenForm:
    """How the tokens are written, and where to."""

    panel: ClassVar[str] = "Output"

    ids: Annotated[
        bool,
        typer.Option("--ids", help="Ids parted by spaces, as by default.", show_default=False),
    ] = False
    pieces: Annotated[
        bool,
        typer.Option(
            "--pieces", help="The vocabulary's own spelling of each token.", show_default=False
        ),
    ] = False
    offsets: Annotated[
        bool,
        typer.Option(
            "--offsets", help="A line a token: bytes from, to, id, piece.", show_default=False
        ),
    ] = False
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="A JSON object a text: ids, pieces, offsets, counts.", show_default=False
        ),
    ] = False
    characters: Annotated[
        bool,
        typer.Option(
            "--characters", help="Offsets count characters, not bytes.", show_default=False
        ),
    ] = False
    null: Annotated[
        bool,
        typer.Option(
            *("-0", "--null"), help="End each token with NUL, for `xargs -0`.", show_default=False
        ),
    ] = False
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Print nothing, but prove that the bytes come back.", show_default=False
        ),
    ] = False
    output: Annotated[
        Path | None,
        typer.Option(
            *("-o", "--output"),
            metavar="FILE",
            help="Write to a file; .bin: flat uint16 or uint32 ids.",
            show_default=False,
        ),
    ] = None

    def _refuse_beside_check(self) -> None:
        forms = {"--ids": self.ids, "--pieces": self.pieces, "--offsets": self.offsets}
        forms |= {"--json": self.json, "--characters": self.characters, "-0": self.null}
        forms |= {"-o": self.output is not None}
        for name, given in forms.items():
            if self.check and given:
                raise UsageError(f"--check writes nothing, so {name} has nothing to do")

    @property
    def binary(self) -> bool:
        """Whether flat ids are wanted."""
        return self.output is not None and self.output.suffix == ".bin"

    def refuse_beside(self, shown: ShowOptions) -> None:
        """Raise `UsageError` for what can't be written while tokens are shown."""
        flags = {"--pieces": self.pieces, "--offsets": self.offsets, "--json": self.json}
        flags |= {"--check": self.check, "-0": self.null, "-o": self.output is not None}
        shown.refuse(**flags)

    def form(self, source: TextOptions, encoding: EncodeSettings) -> Form:
        """How each text is written. Raises `UsageError` for what doesn't go together."""
        from ..token_writers import Form, Style

        style = Style.chosen(ids=self.ids, pieces=self.pieces, offsets=self.offsets, json=self.json)
        self._refuse_beside_check()
        if self.characters and style not in (Style.offsets, Style.json):
            raise UsageError(
                "--characters is about offsets, and none are written",
                hint="--offsets or --json writes them",
            )
        if self.binary and (style is not Style.ids or self.null):
            raise UsageError("a .bin file holds ids alone", hint="leave out the other formats")
        if self.null and (source.zero or style is Style.json):
            other = "-z" if source.zero else "--json"
            raise UsageError(f"-0 and {other} exclude each other")
        return Form(
            style,
            null=self.null,
            many=source.records is not None,
            end=source.end,
            unit="characters" if self.characters else "bytes",
            special=encoding.special.value,
        )


@unfold
def tokenize(
    which: WhichTokenizer,
    text: TextOptions,
    form: TokenForm,
    shown: ShowOptions,
    encoding: EncodeSettings,
    flat: FlatOptions,
    talk: TalkOptions,
) -> int:
    """Turn text into tokens.

    Every byte counts, a final line break too, so that detokenize gives back what came in. Several
    files are one text, as `cat` has it; but a .bin file takes each file as a document of its own,
    or as many, and an index says where they begin.
    """
    terminal = open_terminal(talk.quiet, talk.verbose, talk.color)
    written = form.form(text, encoding)
    if shown.any:
        form.refuse_beside(shown)
    if flat.wanted(form, text):
        tokenizer = which.open(terminal)
        tell_settings(terminal, which, text, encoding)
        assert form.output is not None
        write_corpus(terminal, tokenizer, form.output, text, encoding, flat)
        return Exit.DONE
    source = text.source(terminal)
    tokenizer = which.open(terminal)
    tell_settings(terminal, which, text, encoding)
    texts = _encode(tokenizer, source, text, encoding)
    if shown.any:
        special = encoding.special.value
        show_texts(tokenizer, texts, shown, special, form.ids, terminal)
        return Exit.DONE
    if form.check:
        _check(tokenizer, texts, terminal)
        return Exit.DONE
    with _opened(form.output, terminal) as write:
        for batch in texts:
            if form.binary:
                _write_flat(tokenizer, batch, write)
            else:
                _write(tokenizer, batch, written, write)
    return Exit.DONE


Text = Iterable["Encoded"]
"""One text in stretches, as they come."""


def _encode(
    tokenizer: Tokenizer, source: Source, text: TextOptions, encoding: EncodeSettings
) -> Iterable[Iterable[Text]]:
    """The texts in batches, as they come: one text for all of the source, or one for each line."""
    from ...tokenizer.bulk import encode_blocks, encode_texts

    bos, special = encoding.bos.value, encoding.special.value
    if text.records is None:
        yield [encode_blocks(tokenizer, source.blocks(), bos, special)]
        return
    for batch in source.texts(text.records):
        yield ([encoded] for encoded in encode_texts(tokenizer, batch, bos, special))


def _write(
    tokenizer: Tokenizer, batch: Iterable[Text], form: Form, write: Callable[[bytes], object]
) -> None:
    """Write the texts of a batch: the first of a stretch at once, many small ones together."""
    held: list[bytes] = []
    for text in batch:
        writer = form.writer(tokenizer)
        for encoded in text:
            held.append(writer.add(encoded))
            if not form.many:
                write(held.pop())
        held.append(writer.end())
    write(b"".join(held))


def _write_flat(
    tokenizer: Tokenizer, batch: Iterable[Text], write: Callable[[bytes], object]
) -> None:
    from ..token_writers import binary_code, to_binary

    code = binary_code(tokenizer)
    for text in batch:
        for encoded in text:
            write(to_binary(encoded.ids, code))


@contextmanager
def _opened(output: Path | None, terminal: Terminal) -> Generator[Callable[[bytes], object]]:
    """What takes the bytes: stdout, or the file that `-o` names, whole or not at all."""
    if output is None:
        yield terminal.out_bytes
        return
    from ...tokenizer.files import replacing

    with replacing(output) as stream:
        yield stream.write


def _check(tokenizer: Tokenizer, texts: Iterable[Iterable[Text]], terminal: Terminal) -> None:
    """Raise `LmtoolError` at the first byte that ids and back do not give again."""
    from ...tokenizer.bulk import first_difference

    tokens = passed = 0
    for number, text in enumerate((text for batch in texts for text in batch), 1):
        start = passed
        for encoded in text:
            at = first_difference(tokenizer, encoded)
            if at is not None:
                why = "; ".join(tokenizer.losses)
                raise LmtoolError(
                    f"the round trip changes the text: text {number}, byte offset "
                    f"{passed - start + at}",
                    hint=f"`{tokenizer.name}` doesn't keep every byte" + (why and f": {why}"),
                )
            tokens += len(encoded.ids)
            passed += len(encoded.text.encode())
    terminal.note(f"round trip: {passed:,} bytes, {tokens:,} tokens, every byte came back")
