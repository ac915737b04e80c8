"""A little of each file of a corpus, kept while it is read, to measure by how well it is packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..corpus import Part

if TYPE_CHECKING:
    import tokenizers

ROOM = 4 << 20
"""Characters that all samples together may have."""

LARGEST = 1 << 18
"""Characters that the sample of one file may have."""

PIECE = 1 << 11
"""Characters of a sample that stand together in the text, or an eighth of its room if less."""

FILES = 1 << 12
"""Files that are measured; of more, the first by their paths."""


class Sample:
    """All of a small file; pieces of a larger one, spread evenly over it.

    What is kept depends on the file's documents alone, not on the parts in which they come.
    """

    def __init__(self, room: int = LARGEST) -> None:
        """Keep at most about `room` characters."""
        self._size = max(1, min(PIECE, room // 8))
        self._most = max(1, room // self._size)
        self._every = 1
        self._place = 0
        self._pieces: dict[int, list[str]] = {}

    @property
    def whole(self) -> bool:
        """Whether nothing was left out."""
        return self._every == 1

    def add(self, text: str, ends: bool) -> None:
        """Read on: `text`, and a document's end behind it if it `ends`."""
        size, every = self._size, self._every
        first = self._place // size
        for number in range(first + -first % every, (self._place + len(text)) // size + 1, every):
            start = max(number * size - self._place, 0)
            stop = (number + 1) * size - self._place
            self._pieces.setdefault(number, [""])[-1] += text[start:stop]
        self._place += len(text)
        last = self._place // size
        if ends and last in self._pieces:
            self._pieces[last].append("")
        while len(self._pieces) > self._most:
            self._every *= 2
            for number in [number for number in self._pieces if number % self._every]:
                del self._pieces[number]

    def texts(self) -> list[str]:
        """What was kept: documents, or parts of them, none empty."""
        found: list[str] = []
        before = -1
        for number, documents in sorted(self._pieces.items()):
            if number == before + 1 and found:
                found[-1] += documents[0]
                found += documents[1:]
            else:
                found += documents
            before = number
        return [text for text in found if text]


class Samples:
    """A sample of each file, all of them together within `ROOM`."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """For a corpus of `paths`."""
        places = sorted(range(len(paths)), key=lambda place: str(paths[place]))[:FILES]
        room = min(LARGEST, ROOM // max(1, len(places)))
        self.files: dict[int, Sample] = {place: Sample(room) for place in places}
        """By place in the corpus's paths."""

    def add(self, part: Part) -> None:
        """Read on in one of the files."""
        if (sample := self.files.get(part.source)) is not None:
            sample.add(part.text, part.ends)


@dataclass(frozen=True)
class Measured:
    """How many tokens so many bytes of text take; the `whole` file, or a sample of it."""

    bytes: int
    tokens: int
    whole: bool

    @property
    def bytes_per_token(self) -> float:
        """Bytes of text for each token."""
        return self.bytes / self.tokens


def measure(sample: Sample, plain: tokenizers.Tokenizer) -> Measured | None:
    """Encode a sample by a `plain_pipeline`; None if it has no text."""
    texts = sample.texts()
    encoded = plain.encode_batch_fast(texts, add_special_tokens=False)
    tokens = sum(len(one) for one in encoded)
    if not tokens:
        return None
    return Measured(sum(len(text.encode()) for text in texts), tokens, sample.whole)
