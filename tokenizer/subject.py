"""One tokenizer of a comparison: what it is, and what it did with the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING

from .bulk import Encoded, first_difference
from .cut import cut_text
from .fast import FastEncoder
from .scripts import SCRIPTS, Layout
from .spelled import token_spellings, unknown_id
from .tokenizer import Special, Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass
class Fault:
    """Text of a file that doesn't come back: how many lines, and the first byte's offset."""

    lines: int
    offset: int


@dataclass(frozen=True)
class Overlap:
    """What two vocabularies share, tokens taken as the bytes that they stand for."""

    shared: int
    first: int
    second: int

    @property
    def jaccard(self) -> float:
        """Shared tokens as a share of those that either has."""
        return self.shared / ((self.first + self.second - self.shared) or 1)


class Subject:
    """A tokenizer, and what is added up while text goes through it."""

    def __init__(self, tokenizer: Tokenizer, special: Special) -> None:
        """For `tokenizer`, with special tokens in the text taken as `special` says."""
        import numpy as np

        self.tokenizer = tokenizer
        self.special: Special = special
        self.kind = type(tokenizer.pipeline.model).__name__
        self.spellings = token_spellings(tokenizer, tokenizer.vocab_size)
        self.uses = np.zeros(max(1, tokenizer.vocab_size), np.int64)
        """How often each id came [ids]."""
        self.bytes = 0
        self.timed_bytes = 0
        self.seconds = 0.0
        """How long the library that encodes last took for `timed_bytes`."""
        self.unknown_bytes = 0
        self.faults: dict[int, Fault] = {}
        """By the place of the file among the paths."""
        self._unknown = unknown_id(tokenizer)
        self._fast: FastEncoder | None = None
        # What decoding gives, added tokens too; other kinds of vocabulary are asked text by text.
        in_bytes = tokenizer.spelling == "bytes"
        size = tokenizer.vocab_size
        self._decoded = [tokenizer.token_bytes(id) for id in range(size)] if in_bytes else None
        spelled = self._decoded or self.spellings or [b""]
        self._lengths = np.array([len(one) for one in spelled], np.int64)

    @property
    def encoder(self) -> str:
        """The library that encodes: "tokenizers", or "gigatoken" for long texts if it can."""
        return "tokenizers" if self._fast is None else self._fast.name

    def hasten(self, sample: Sequence[str]) -> None:
        """Let the fastest library encode from now on that gives `sample` the same ids."""
        self._fast = FastEncoder(self.tokenizer, self.special)
        self._fast.agrees(sample)
        self.timed_bytes, self.seconds = 0, 0.0

    def warm_up(self, text: str) -> None:
        """Encode without a look at the clock."""
        self._encode([text])

    def encode(self, texts: Sequence[str], size: int) -> list[NDArray[np.uint32]]:
        """The ids of each text, timed; `size` is how many bytes they have."""
        start = perf_counter()
        encoded = self._encode(texts)
        self.seconds += perf_counter() - start
        self.timed_bytes += size
        self.bytes += size
        return encoded

    def _encode(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        import numpy as np

        if self._fast is None:
            plain = self.tokenizer.encode_plain(texts, self.special)
            return [np.array(ids, np.uint32) for ids in plain]
        pieces = [list(cut_text(text, self.tokenizer.cutter)) for text in texts]
        encoded = iter(self._fast.encode([piece for some in pieces for piece in some]))
        return [np.concatenate([next(encoded) for _ in some]) for some in pieces]

    @property
    def tokens(self) -> int:
        """Tokens of all the text."""
        return int(self.uses.sum())

    @cached_property
    def vocabulary(self) -> frozenset[bytes]:
        """The bytes of every token that stands for text."""
        return frozenset(self.spellings) - {b""}

    @property
    def ordinary(self) -> list[int]:
        """Ids of the tokens that stand for text."""
        return [id for id, spelled in enumerate(self.spellings) if spelled]

    @property
    def unused(self) -> list[int]:
        """Ids of tokens that stand for text and never came."""
        return [id for id in self.ordinary if not self.uses[id]]

    @property
    def unknown_tokens(self) -> int:
        """How often the token for what can't be spelled came."""
        return 0 if self._unknown is None else int(self.uses[self._unknown])

    @property
    def lone_bytes(self) -> int:
        """Bytes of the text that are tokens by themselves, and only a part of their character."""
        return sum(
            int(self.uses[id])
            for id, spelled in enumerate(self.spellings)
            if len(spelled) == 1 and spelled[0] >= 0x80
        )

    def overlap(self, other: Subject) -> Overlap:
        """What this vocabulary and another share."""
        one, two = self.vocabulary, other.vocabulary
        return Overlap(len(one & two), len(one), len(two))

    def add(
        self, encoded: Sequence[NDArray[np.uint32]], texts: Sequence[str], layout: Layout
    ) -> NDArray[np.int64]:
        """Count the ids of `texts`; how many begin in each script [scripts]."""
        import numpy as np

        ids = np.concatenate(encoded)
        self.uses += np.bincount(ids, minlength=len(self.uses))
        begins = self._begins(encoded, texts, layout)
        last = max(0, len(layout.script) - 1)
        return np.bincount(layout.script[np.minimum(begins, last)], minlength=len(SCRIPTS))

    def check(
        self, encoded: Sequence[NDArray[np.uint32]], texts: Sequence[str], place: int, offset: int
    ) -> None:
        """Note the texts that ids don't give back; the first is `offset` bytes into its file."""
        for found, text in zip(encoded, texts, strict=True):
            ids = found.tolist()
            data = text.encode()
            at = None
            if self._decoded is None or b"".join(map(self._decoded.__getitem__, ids)) != data:
                at = first_difference(self.tokenizer, Encoded(text, ids))
            if at is not None:
                fault = self.faults.setdefault(place, Fault(0, offset + at))
                fault.lines += max(1, self._faulty_lines(text))
            offset += len(data)

    def _faulty_lines(self, text: str) -> int:
        """How many lines, each by itself, don't come back."""
        lines = text.splitlines(keepends=True)
        encoded = self.tokenizer.encode_plain(lines, self.special)
        return sum(
            first_difference(self.tokenizer, Encoded(line, ids)) is not None
            for line, ids in zip(lines, encoded, strict=True)
        )

    def _begins(
        self, encoded: Sequence[NDArray[np.uint32]], texts: Sequence[str], layout: Layout
    ) -> NDArray[np.int64]:
        """The character in which each token begins [tokens]."""
        import numpy as np

        begins: list[NDArray[np.int64]] = []
        passed = 0
        for ids, text in zip(encoded, texts, strict=True):
            size = layout.size[passed : passed + len(text)]
            own = self._by_length(ids, size)
            if own is None:
                spans = self.tokenizer.character_spans(text, self.special)[: len(ids)]
                own = np.zeros(len(ids), np.int64)
                own[: len(spans)] = [start for start, _ in spans]
                self._add_unknown(ids.tolist(), spans, text)
            begins.append(own + passed)
            passed += len(text)
        return np.concatenate(begins)

    def _by_length(
        self, ids: NDArray[np.uint32], size: NDArray[np.uint8]
    ) -> NDArray[np.int64] | None:
        """Where tokens begin if their bytes are those of the text, or a space before it and those.

        `size` has the bytes of each character. None where the tokenizer changed the text.
        """
        import numpy as np

        if not len(ids) or self._unknown in ids:
            return None
        lengths = self._lengths[ids]
        ends = np.cumsum(lengths)
        added = int(ends[-1]) - int(size.sum())
        if added and not (added == 1 and self.spellings[int(ids[0])].startswith(b" ")):
            return None
        starts = np.minimum(np.maximum(ends - lengths - added, 0), int(size.sum()) - 1)
        return np.repeat(np.arange(len(size)), size)[starts]

    def _add_unknown(self, ids: Sequence[int], spans: Sequence[tuple[int, int]], text: str) -> None:
        if self._unknown in ids:
            self.unknown_bytes += sum(
                len(text[start:end].encode())
                for id, (start, end) in zip(ids, spans, strict=False)
                if id == self._unknown
            )
