"""Tokenizers side by side on the same text: what each makes of it, by file and by script.

Text is read once, in batches that no tokenizer minds being cut, and each batch goes through every
tokenizer in turn. Nothing is kept of it but counts, so memory doesn't grow with the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .bulk import BATCH
from .contrast import Contrast, WordCounts, find_contrasts
from .corpus import STDIN, Corpus, Errors
from .fast import WORTH_IT
from .grouping import Cell
from .scripts import SCRIPTS, UNSPACED, ScriptTable
from .subject import Overlap, Subject
from .tokenizer import Special, Tokenizer
from .training.blocks import FileCount

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WARM_UP = 1 << 14
"""Characters encoded before time is taken."""


@dataclass(frozen=True)
class Comparison:
    """What came out. Tokens, subjects and the like stand in the order of the tokenizers."""

    subjects: tuple[Subject, ...]
    files: tuple[FileCount, ...]
    cells: tuple[Cell, ...]
    """Counts for each file and script in it."""
    contrasts: tuple[Contrast, ...]
    """Words that the first tokenizer and each of the others part most differently."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, in the order of their counts."""
        return tuple(file.path for file in self.files)

    def overlaps(self) -> Iterator[tuple[int, int, Overlap]]:
        """Each pair of tokenizers by their places, and what their vocabularies share."""
        for first, one in enumerate(self.subjects):
            for second in range(first + 1, len(self.subjects)):
                yield first, second, one.overlap(self.subjects[second])


def compare(
    tokenizers: Sequence[Tokenizer],
    paths: Sequence[Path],
    *,
    special: Special = "text",
    errors: Errors = "strict",
    text_field: str = "text",
    sample_bytes: int | None = None,
    on_read: Callable[[int], None] = lambda count: None,
) -> Comparison:
    """Put `paths` through `tokenizers`. `on_read` hears of bytes taken from disk.

    `sample_bytes` takes about so many bytes in all, from each file by its size on disk, spread
    over it. Raises `InputError` for what can't be read or isn't text.
    """
    subjects = [Subject(one, special) for one in tokenizers]
    run = _Run(subjects, WORTH_IT if _size(paths, sample_bytes) < WORTH_IT else 0)
    shares = _shares(paths, sample_bytes)
    cells: list[Cell] = []
    files: list[FileCount] = []
    for place, path in enumerate(paths):
        corpus = Corpus(
            (path,),
            on_read=on_read,
            sample_bytes=shares[place],
            errors=errors,
            text_field=text_field,
            exact=True,
        )
        found = run.read(place, _texts(corpus))
        cells += found
        files.append(_counted(path, found, corpus))
    contrasts = find_contrasts(subjects, run.words)
    return Comparison(tuple(subjects), tuple(files), tuple(cells), contrasts)


def _counted(path: Path, cells: Sequence[Cell], corpus: Corpus) -> FileCount:
    """A file in all, with what of it wasn't UTF-8."""
    count = FileCount(path, sum(cell.bytes for cell in cells), sum(c.characters for c in cells))
    for faults in corpus.faults.values():
        count.bad, count.bad_offset, count.bad_line = faults.count, faults.offset, faults.line
    return count


def _size(paths: Sequence[Path], sample_bytes: int | None) -> int:
    """Bytes to read as far as they are known beforehand, packed ones as they lie on disk."""
    size = sum(path.stat().st_size for path in paths if path != STDIN and path.is_file())
    return size if sample_bytes is None else min(size, sample_bytes)


def _shares(paths: Sequence[Path], size: int | None) -> list[int | None]:
    """How many bytes of a sample come from each file."""
    if size is None:
        return [None for _ in paths]
    if any(path == STDIN or not path.is_file() for path in paths):
        return [max(1, size // len(paths)) for _ in paths]
    sizes = [path.stat().st_size for path in paths]
    whole = sum(sizes) or 1
    return [max(1, size * one // whole) for one in sizes]


def _texts(corpus: Corpus) -> Iterator[tuple[str, bool]]:
    """Stretches of text, and whether the text ends with it."""
    if corpus.sample_bytes is not None:
        yield from ((piece, True) for piece in corpus.pieces())
        return
    yield from ((part.text, part.ends) for part in corpus.parts())


@dataclass
class _FileCounts:
    """A file's counts by script: bytes, characters, words [scripts]; tokens [subjects, scripts]."""

    bytes: NDArray[np.int64]
    characters: NDArray[np.int64]
    words: NDArray[np.int64]
    tokens: NDArray[np.int64]


@dataclass
class _Run:
    """A comparison under way."""

    subjects: list[Subject]
    hasten_at: int
    """Bytes after which it pays to look for a faster library to encode with."""
    words: WordCounts = field(default_factory=WordCounts)
    table: ScriptTable = field(default_factory=ScriptTable)
    warm: bool = False
    hastened: bool = False

    def read(self, place: int, texts: Iterable[tuple[str, bool]]) -> list[Cell]:
        """Count one file, the one at `place` among the paths."""
        import numpy as np

        texts_own = np.zeros((3, len(SCRIPTS)), np.int64)
        tokens = np.zeros((len(self.subjects), len(SCRIPTS)), np.int64)
        counts = _FileCounts(texts_own[0], texts_own[1], texts_own[2], tokens)
        offset = 0
        for batch in batches(texts, [subject.tokenizer for subject in self.subjects]):
            offset += self._add(place, offset, batch, counts)
        return [
            Cell(
                place,
                SCRIPTS[code],
                int(counts.bytes[code]),
                int(counts.characters[code]),
                int(counts.words[code]),
                tuple(int(count) for count in counts.tokens[:, code]),
                spaced=SCRIPTS[code] not in UNSPACED,
            )
            for code in np.flatnonzero(counts.bytes + counts.tokens.sum(0))
        ]

    def _add(self, place: int, offset: int, batch: list[str], counts: _FileCounts) -> int:
        """Count a batch, `offset` bytes into its file; its own bytes."""
        layout = self.table.lay_out(batch)
        counts.bytes += layout.bytes
        counts.characters += layout.characters
        counts.words += layout.words
        self._get_ready(batch)
        size = int(layout.bytes.sum())
        for row, subject in enumerate(self.subjects):
            encoded = subject.encode(batch, size)
            counts.tokens[row] += subject.add(encoded, batch, layout)
            subject.check(encoded, batch, place, offset)
        for text in batch:
            self.words.add(text)
        return size

    def _get_ready(self, batch: list[str]) -> None:
        """Before the clock runs: find the library that encodes, and warm it up."""
        sample = batch[0][:WARM_UP]
        if not self.hastened and self.subjects[0].bytes >= self.hasten_at:
            for subject in self.subjects:
                subject.hasten([sample])
            self.hastened, self.warm = True, False
        if not self.warm:
            for subject in self.subjects:
                subject.warm_up(sample)
            self.warm = True


def batches(
    texts: Iterable[tuple[str, bool]], tokenizers: Sequence[Tokenizer]
) -> Iterator[list[str]]:
    """Texts that come in stretches, some at a time: as many as make `BATCH` characters.

    A long text is cut where no tokenizer minds; where there is no such place, it comes whole.
    """
    can_cut = all(tokenizer.cutter.can_cut for tokenizer in tokenizers)
    ready: list[str] = []
    length = 0
    begun: list[str] = []
    held = 0
    try_at = BATCH
    for text, ends in texts:
        begun.append(text)
        held += len(text)
        if ends:
            ready.append("".join(begun))
            length += held
            begun, held, try_at = [], 0, BATCH
        elif can_cut and held >= try_at:
            whole = "".join(begun)
            cut = _place_for_all(whole, tokenizers)
            ready.append(whole[:cut])
            length += cut
            begun, held = [whole[cut:]], len(whole) - cut
            # A text without a place is looked through again when there is twice as much of it.
            try_at = BATCH if cut else 2 * held
        if length >= BATCH:
            yield [text for text in ready if text]
            ready, length = [], 0
    ready.append("".join(begun))
    if any(ready):
        yield [text for text in ready if text]


def _place_for_all(text: str, tokenizers: Sequence[Tokenizer]) -> int:
    """The last place to cut that is sound for every tokenizer, 0 if none is found soon."""
    longest = len(text)
    for _ in range(100):
        place = tokenizers[0].cutter.place(text, 0, longest)
        if place is None:
            return 0
        if all(tokenizer.cutter.is_sound(text, place) for tokenizer in tokenizers[1:]):
            return place
        longest = place
    return 0
