"""Count the most frequent words of a text ten times as fast as by splitting it.

gigatoken encodes with a vocabulary made for this: the most frequent words, whole, and single bytes
for all others. It splits by the same patterns as tokenizers, and much faster; so nearly all words
come out as one id each, and what lies between them, as bytes, is left to be split as usual. It is
checked on what is really counted before it is trusted, and gets no text with letters on which
versions of Unicode disagree.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..pieces import gpt2_alphabet
from ..recipe import PATTERNS, Recipe, empty_tokenizer
from .letters import DISPUTED
from .splitting import Splitter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_BYTES = 256
_NO_MORE = {"add_prefix_space": False, "trim_offsets": True}
_RENEW = 1 << 18
# Bytes that end a space of Unicode, or may.
_MAY_END_SPACE: Array = np.isin(
    np.arange(_BYTES), [*b"\t\n\v\f\r ", *range(0x80, 0x8B), 0x9F, 0xA0, 0xA8, 0xA9, 0xAF]
)


class FrequentWords:
    """Counts certain words, all of two bytes or more, and says what it can't count."""

    def __init__(self, splitter: Splitter, words: Iterable[str]) -> None:
        """For `words`; `splitter` has one of the patterns in `KNOWN`. Raises what gigatoken does.

        Raises `ImportError` if there is no gigatoken.
        """
        self._splitter = splitter
        self._spelled = [bytes([byte]) for byte in range(_BYTES)]
        self._spelled += [word.encode() for word in words]
        self._border = len(self._spelled)
        self._source = _vocabulary_json(splitter, self._spelled)
        self._encoder = _load(self._source)
        self._counts: Array = np.zeros(self._border + 1, np.int64)
        self._remembered = 0

    def count(self, documents: Iterable[bytes]) -> tuple[list[bytes], list[str], list[bytes]]:
        """Count the words of normalized documents.

        Returns texts between the words counted, each to be split alone; further words; and
        documents that it doesn't take.
        """
        refused: list[bytes] = []
        found: list[Array] = []
        border = np.array([self._border], np.uint32)
        for document in documents:
            if not document.isascii() and DISPUTED.search(document.decode()):
                refused.append(document)
            else:
                found += (self._encoder.encode(document), border)
        if not found:
            return [], [], refused
        ids = np.concatenate(found)
        between, words = self._between(ids)
        # gigatoken remembers every word that it has seen.
        self._remembered += len(between)
        if self._remembered > _RENEW:
            self._encoder, self._remembered = _load(self._source), 0
        return between, words, refused

    def drain(self) -> dict[str, int]:
        """The words counted since the last time."""
        counts: list[int] = self._counts[: self._border].tolist()
        self._counts[:] = 0
        pairs = zip(self._spelled, counts, strict=True)
        return {word.decode(): count for word, count in pairs if count}

    def agrees(self, text: str) -> bool:
        """Whether it gives the words of `text` that `Splitter.split` gives."""
        before: Array = np.array(self._counts)
        self._counts[:] = 0
        between, words, refused = self.count([text.encode()])
        found = Counter(self.drain())
        found.update(words)
        for part in (*between, *refused):
            found.update(self._splitter.split(part.decode()))
        self._counts = before
        return found == Counter(self._splitter.split(text))

    def _between(self, ids: Array) -> tuple[list[bytes], list[str]]:
        """Count what is sure of `ids`; the texts of bytes in a row, and words of some of them.

        A byte by itself is a word, for nothing else has one.
        """
        single: Array = ids < _BYTES
        edges: Array = np.flatnonzero(np.diff(single, prepend=False, append=False))
        starts, ends = edges[::2], edges[1::2]
        long = ends - starts > 1
        starts, ends = starts[long], ends[long]
        inside: Array = np.zeros(len(ids), np.int8)
        inside[starts] = 1
        inside[ends] -= 1  # a border stands last, so no end lies behind the ids
        rare: Array = ids[np.cumsum(inside, dtype=np.int8).astype(bool)].astype(np.uint8)
        self._counts += np.bincount(ids, minlength=self._border + 1)
        self._counts[:_BYTES] -= np.bincount(rare, minlength=_BYTES)
        upto: Array = np.cumsum(ends - starts)
        texts = _pieces(rare.tobytes(), upto.tolist())
        open_ended: Array = _MAY_END_SPACE[rare[upto - 1]] & (ids[ends] != self._border)
        words: list[str] = []
        suspects: list[int] = np.flatnonzero(open_ended).tolist()
        for place in suspects:
            text = texts[place].decode()
            if text[-1].isspace():
                texts[place] = b""
                words += self._split_before(text, ids, int(ends[place]))
        return [text for text in texts if text], words

    def _split_before(self, text: str, ids: Array, at: int) -> list[str]:
        """The words of `text`, which ends with a space, before the ids from `at` on.

        How spaces are split depends on the letter after them.
        """
        after: list[bytes] = []
        while (number := int(ids[at])) != self._border:
            after.append(self._spelled[number])
            at += 1
            # A letter may be cut between bytes, of which it has four at most.
            known = b"".join(after[-4:]).decode(errors="ignore")
            if known and not known.isspace():
                break
        following = b"".join(after).decode(errors="ignore")
        words: list[str] = []
        length = 0
        for word in self._splitter.split(text + following):
            if length >= len(text):
                break
            words.append(word)
            length += len(word)
        return words


def _pieces(data: bytes, ends: list[int]) -> list[bytes]:
    return [data[start:end] for start, end in pairwise((0, *ends))]


def _load(source: str) -> Any:
    from gigatoken import gigatoken_rs

    return cast("Any", gigatoken_rs).load_hf_json(source)


def _vocabulary_json(splitter: Splitter, spelled: list[bytes]) -> str:
    """A tokenizer.json that has words whole where they are `spelled`, and bytes else."""
    assert splitter.pattern is not None
    letters = {byte: letter for letter, byte in gpt2_alphabet().items()}
    state: dict[str, Any] = json.loads(empty_tokenizer(Recipe(pattern=splitter.pattern)).to_str())
    if splitter.pattern == PATTERNS["gpt2"]:
        # The only way of saying it that gigatoken knows.
        state["pre_tokenizer"] = {"type": "ByteLevel", "use_regex": True} | _NO_MORE
    written = (word.decode("latin-1").translate(letters) for word in spelled)
    state["model"]["vocab"] = {word: number for number, word in enumerate(written)}
    state["model"]["ignore_merges"] = True
    return json.dumps(state)
