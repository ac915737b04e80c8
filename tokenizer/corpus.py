"""Text from files, folders and streams, in pieces small enough that size doesn't matter.

A file is read as strict UTF-8, unpacked if its name ends in .gz, .xz or .zst, and .jsonl rows
give their "text". What comes out are pieces of documents: no piece crosses a document border.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import heapq
import json
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from .. import InputError

if TYPE_CHECKING:
    from io import BufferedReader

BLOCK = 1 << 18
"""Bytes read at a time."""
PIECE = 1 << 16
"""Characters a piece may have: the trainer holds 256 of them at once."""

SAMPLE_PIECE = 1 << 12
"""Characters a sampled piece may have: a sample of 1 MB comes from 256 places or more."""

STDIN = Path("-")
SUFFIXES = (".txt", ".text", ".md", ".rst", ".jsonl", ".py", ".csv", ".tsv", ".html", ".xml")
"""What is read from a folder; a file named on the command line is read whatever its name."""
PACKED = (".gz", ".xz", ".zst")
"""Suffixes of compressed files, which may follow any of the others."""

# A word's end before a space: every pattern that we name starts a new pre-token there.
_SAFE_CUT = re.compile(r"(?<=\w)(?=[ \n])")


@dataclass(frozen=True)
class Corpus:
    """Files to be read as documents, parted by `separators` (and by file ends).

    Order never changes what is learned from it: each file is cut into pieces on its own.
    """

    paths: tuple[Path, ...]
    separators: tuple[str, ...] = ()
    on_read: Callable[[int], None] = field(default=lambda count: None)
    """Called with the number of bytes just read from disk, packed as they are."""
    sample_bytes: int | None = None
    """Learn from about this many bytes, spread over the whole text and held in memory."""

    @property
    def size(self) -> int | None:
        """Bytes on disk, or None where stdin or a pipe takes part."""
        if all(path != STDIN and path.is_file() for path in self.paths):
            return sum(path.stat().st_size for path in self.paths)
        return None

    def pieces(self) -> Iterator[str]:
        """Every document in pieces of at most `PIECE` characters, separators left out."""
        if self.sample_bytes is None:
            return self._all_pieces(PIECE)
        return spread_sample(self._all_pieces(SAMPLE_PIECE), self.sample_bytes)

    def _all_pieces(self, longest: int) -> Iterator[str]:
        for path in self.paths:
            if _bare_suffix(path) == ".jsonl":
                for row in _rows(path, self.on_read):
                    yield from _cut(self._documents([row]), longest)
            else:
                yield from _cut(self._documents(read_text(path, self.on_read)), longest)

    def _documents(self, blocks: Iterable[str]) -> Iterator[str | None]:
        """Text blocks with None at each document border."""
        if not self.separators:
            yield from blocks
            yield None
            return
        longest_first = sorted(self.separators, key=lambda text: (-len(text), text))
        border = re.compile("|".join(re.escape(text) for text in longest_first))
        longest = len(longest_first[0])
        held = ""
        for block in blocks:
            *documents, held = border.split(held + block)
            for document in documents:
                yield document
                yield None
            # A separator may straddle two blocks, so its length stays behind.
            keep = min(len(held), longest)
            yield held[: len(held) - keep]
            held = held[len(held) - keep :]
        yield held
        yield None


def find_files(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Files as they are, folders as the text files below them, by name; `-` is stdin.

    Hidden files and folders inside a folder are passed over. Raises `InputError` for a path that
    isn't there or a folder without text.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if _is_text_inside(path, file))
            if not inside:
                raise InputError(
                    f"no text files in `{path}`",
                    hint=f"it looks for names that end in {', '.join(SUFFIXES)}, also packed",
                )
            found.extend(inside)
        elif path == STDIN or path.exists():
            found.append(path)
        else:
            raise InputError(f"no such file: `{path}`")
    return tuple(found)


def _is_text_inside(folder: Path, file: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not hidden and _bare_suffix(file) in SUFFIXES and file.is_file()


def read_text(path: Path, on_read: Callable[[int], None] = lambda count: None) -> Iterator[str]:
    """A file's text in blocks. Raises `InputError` naming the place of a byte that isn't UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, line = 0, 1
    for data in chain(_read_bytes(path, on_read), (b"",)):
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            line += error.object.count(b"\n", 0, error.start)
            raise not_utf8(path, offset - pending + error.start, line, error) from error
        offset += len(data)
        line += text.count("\n")
        if text:
            yield text


def not_utf8(source: Path, offset: int, line: int, error: UnicodeDecodeError) -> InputError:
    """The error for a byte that isn't UTF-8: its offset from 0 and its line from 1 in `source`."""
    byte = error.object[error.start]
    return InputError(
        f"{source_name(source)} is not UTF-8: byte 0x{byte:02x} at offset {offset}, line {line}",
        hint="convert it first, for instance with `iconv -f latin1 -t utf-8`",
    )


def source_name(source: Path) -> str:
    """How messages name a source: a quoted path, or stdin."""
    return "stdin" if source == STDIN else f"`{source}`"


def read_lines(path: Path) -> Iterator[bytes]:
    """A file's lines with their line breaks, each as soon as it is there."""
    with _opened(path) as (_, data):
        yield from data


def read_some(path: Path) -> Iterator[bytes]:
    """A file's bytes, as many at a time as are there."""
    with _opened(path) as (_, data):
        while block := cast("BufferedReader", data).read1(BLOCK):
            yield block


def _read_bytes(path: Path, on_read: Callable[[int], None]) -> Iterator[bytes]:
    with _opened(path) as (raw, data):
        before = 0
        while block := data.read(BLOCK):
            yield block
            # Packed files count as they lie on disk, since that total is known.
            now = raw.tell() if data is not raw else before + len(block)
            on_read(now - before)
            before = now


@contextmanager
def _opened(path: Path) -> Generator[tuple[IO[bytes], IO[bytes]]]:
    """The file as it lies there, and unpacked. Raises `InputError` for what can't be read."""
    if path == STDIN and sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise InputError("there is nothing to read: stdin is closed")
    try:
        with ExitStack() as stack:
            raw = sys.stdin.buffer if path == STDIN else stack.enter_context(path.open("rb"))
            yield raw, _unpacked(path, raw)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot read {source_name(path)}: {reason}") from error


def _unpacked(path: Path, raw: IO[bytes]) -> IO[bytes]:
    if path.suffix == ".xz":
        return cast("IO[bytes]", lzma.open(raw))
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(raw))
    if path.suffix == ".zst":
        return _unpacked_zstd(path, raw)
    return raw


def _unpacked_zstd(path: Path, raw: IO[bytes]) -> IO[bytes]:
    """Zstandard by the standard library (Python 3.14) or by the `zstandard` package."""
    for name in ("compression.zstd", "zstandard"):
        try:
            return cast("IO[bytes]", import_module(name).open(raw, "rb"))
        except ImportError:
            continue
    raise InputError(
        f"`{path}` needs Python 3.14 or the `zstandard` package to be read",
        hint=f"unpack it in a pipe: `zstd -dc {path.name} | lmtool …`",
    )


def _rows(path: Path, on_read: Callable[[int], None]) -> Iterator[str]:
    """The "text" of each row of a .jsonl file; a row that is a plain string is itself the text."""
    for number, line in enumerate(_lines(read_text(path, on_read)), 1):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
        except ValueError as error:
            raise InputError(f"`{path}` line {number} is not JSON: {error}") from error
        text = cast("dict[str, Any]", row).get("text") if isinstance(row, dict) else row
        if not isinstance(text, str):
            raise InputError(f'`{path}` line {number} has no "text"')
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InputError(f"`{path}` line {number} has half a surrogate pair in its text")
        yield text


def _lines(blocks: Iterable[str]) -> Iterator[str]:
    held = ""
    for block in blocks:
        *lines, held = (held + block).split("\n")
        yield from lines
    if held:
        yield held


def _cut(documents: Iterable[str | None], longest: int) -> Iterator[str]:
    """Join blocks up to None and cut them into pieces, where the text allows between pre-tokens.

    Line breaks at a document's ends are left out: they part it from its separator.
    """
    held, fresh = "", True
    for block in documents:
        held += block or ""
        if fresh:
            held = held.lstrip("\n")
        if block is None:
            if last := held.rstrip("\n"):
                yield last
            held, fresh = "", True
            continue
        # Line breaks may yet turn out to end the document, so they wait.
        while len(held.rstrip("\n")) > longest:
            cut = _place_to_cut(held, longest)
            yield held[:cut]
            held, fresh = held[cut:], False


def _place_to_cut(text: str, longest: int) -> int:
    """The last index up to `longest` before a space or line break that follows a word.

    Without one, the index after the last line break, or `longest` itself.
    """
    width = 1 << 8
    while width < longest:
        places = [m.start() for m in _SAFE_CUT.finditer(text, longest - width, longest)]
        if places:
            return places[-1]
        width *= 8
    newline = text.rfind("\n", 0, longest)
    return newline + 1 if newline >= 0 else longest


def spread_sample(pieces: Iterable[str], size: int) -> Iterator[str]:
    """About `size` bytes of `pieces`: those whose hashes are lowest, whatever their order.

    One pass, and no more than the sample and one piece in memory: once the pieces kept reach
    `size` without the highest hash, that one can never come back in.
    """
    kept: list[tuple[int, bytes]] = []  # a heap, the highest hash first
    total = 0
    for piece in pieces:
        data = piece.encode()
        digest = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
        heapq.heappush(kept, (-digest, data))
        total += len(data)
        while total - len(kept[0][1]) >= size:
            total -= len(heapq.heappop(kept)[1])
    for _, data in sorted(kept):
        yield data.decode()


def _bare_suffix(path: Path) -> str:
    """The suffix under the packing: `.jsonl` for `a.jsonl.xz`."""
    return Path(path.stem).suffix if path.suffix in PACKED else path.suffix
