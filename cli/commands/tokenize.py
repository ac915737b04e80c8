"""`lmtool tokenize`: text in, tokens out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ... import LmtoolError, UsageError
from ..options import Color, ColorWhen, Debug, Quiet, Verbose, open_terminal
from ..terminal import Terminal
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
    from ..sources import Source
    from ..token_writers import Style, TokenWriter

EPILOG = """Examples:

lmtool tokenize -p "Once upon a time" --pieces

cat story.txt | lmtool tokenize | lmtool detokenize | cmp - story.txt

lmtool tokenize -f corpus.txt.xz --special parse -o corpus.bin"""


def tokenize(
    model: Model = "default",
    file: Files = None,
    prompt: Prompt = None,
    ids: Annotated[
        bool, typer.Option("--ids", help="Ids parted by spaces, as by default.")
    ] = False,
    pieces: Annotated[
        bool, typer.Option("--pieces", help="The vocabulary's own spelling of each token.")
    ] = False,
    offsets: Annotated[
        bool, typer.Option("--offsets", help="A line a token: bytes from, to, id, piece.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object: ids, pieces, offsets, counts.")
    ] = False,
    null: Annotated[
        bool, typer.Option("-0", "--null", help="End each token with NUL, for `xargs -0`.")
    ] = False,
    lines: Annotated[
        bool, typer.Option("--lines", help="Each line is a text: a line in, a line out.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Print nothing, but prove that the bytes come back.")
    ] = False,
    bos: Bos = BosWhen.auto,
    special: Special = SpecialAs.text,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write to a file; .bin: flat uint16 or uint32 ids."),
    ] = None,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = ColorWhen.auto,
    debug: Debug = False,
) -> None:
    """Turn text into tokens.

    Every byte counts, a final line break too, so that detokenize gives back what came in.
    """
    from ..sources import Source
    from ..token_writers import Style

    terminal = open_terminal(quiet, verbose, color)
    style = Style.chosen(ids=ids, pieces=pieces, offsets=offsets, json=json)
    binary = output is not None and output.suffix == ".bin"
    if check and output is not None:
        raise UsageError("--check writes nothing, so -o has nothing to do")
    if binary and (style is not Style.ids or null):
        raise UsageError("a .bin file holds ids alone", hint="leave out the other formats")
    source = Source(file, prompt)
    tokenizer = open_tokenizer(model, offline, terminal)
    texts = _encode(tokenizer, source, terminal, lines, bos, special)
    if check:
        _check(tokenizer, texts, terminal)
        return
    with _opened(output, terminal) as write:
        for text in texts:
            writer = _writer(tokenizer, style, special, null, binary)
            for encoded in text:
                write(writer.add(encoded))
            write(writer.end())


def _encode(
    tokenizer: Tokenizer,
    source: Source,
    terminal: Terminal,
    lines: bool,
    bos: BosWhen,
    special: SpecialAs,
) -> Iterable[Iterable[Encoded]]:
    """The texts, each as stretches: one text for all of the source, or one for each line."""
    from ...tokenizer.bulk import encode_blocks, encode_text

    if lines:
        for line in source.lines(terminal):
            yield [encode_text(tokenizer, line, bos.value, special.value)]
    else:
        yield encode_blocks(tokenizer, source.blocks(terminal), bos.value, special.value)


def _writer(
    tokenizer: Tokenizer, style: Style, special: SpecialAs, null: bool, binary: bool
) -> TokenWriter:
    from ..token_writers import BinaryWriter, JsonWriter, OffsetWriter, Style, WordWriter

    if binary:
        return BinaryWriter(tokenizer)
    if style is Style.json:
        return JsonWriter(tokenizer, special.value)
    if style is Style.offsets:
        return OffsetWriter(tokenizer, special.value, null)
    return WordWriter(tokenizer, style, null)


@contextmanager
def _opened(output: Path | None, terminal: Terminal) -> Generator[Callable[[bytes], object]]:
    """What takes the bytes: stdout, or the file that `-o` names, whole or not at all."""
    if output is None:
        yield terminal.out_bytes
        return
    from ...tokenizer.files import replacing

    with replacing(output) as stream:
        yield stream.write


def _check(tokenizer: Tokenizer, texts: Iterable[Iterable[Encoded]], terminal: Terminal) -> None:
    """Raise `LmtoolError` at the first byte that ids and back do not give again."""
    from ...tokenizer.bulk import first_difference

    tokens = passed = 0
    for number, text in enumerate(texts, 1):
        start = passed
        for encoded in text:
            at = first_difference(tokenizer, encoded)
            if at is not None:
                raise LmtoolError(
                    f"the round trip changes the text: text {number}, byte offset "
                    f"{passed - start + at}",
                    hint=f"`{tokenizer.name}` doesn't keep every byte",
                )
            tokens += len(encoded.ids)
            passed += len(encoded.text.encode())
    terminal.note(f"round trip: {passed:,} bytes, {tokens:,} tokens, every byte came back")
