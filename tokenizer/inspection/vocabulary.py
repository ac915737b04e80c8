"""A vocabulary counted: holes, lengths, lone bytes, tokens that are spelled alike."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..spelled import control_ids, token_spellings
from ..tokenizer import Tokenizer


@dataclass(frozen=True)
class Vocabulary:
    """What the ids of a tokenizer are spelled, special tokens aside."""

    spelled: dict[int, bytes]
    """What each id adds in the midst of a text."""
    holes: list[tuple[int, int]]
    """Ids below the highest that stand for nothing: first and last of each run."""
    tokens: int
    """How many ids stand for something, special tokens too."""

    @property
    def lengths(self) -> dict[int, int]:
        """How many tokens there are of each length in bytes."""
        return dict(sorted(Counter(map(len, self.spelled.values())).items()))

    def longest(self, count: int) -> list[int]:
        """Ids of the longest tokens in bytes; among equals the lowest first."""
        return sorted(self.spelled, key=lambda id: (-len(self.spelled[id]), id))[:count]

    @property
    def missing_bytes(self) -> list[int]:
        """Bytes that no token stands for by itself."""
        there = {data[0] for data in self.spelled.values() if len(data) == 1}
        return [byte for byte in range(256) if byte not in there]

    @property
    def alike(self) -> list[tuple[bytes, list[int]]]:
        """Spellings that several ids have, by the first of these ids."""
        ids: dict[bytes, list[int]] = {}
        for id, data in self.spelled.items():
            ids.setdefault(data, []).append(id)
        return [(data, same) for data, same in ids.items() if len(same) > 1 and data]


def read_vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    """Spell every id of `tokenizer`."""
    size = tokenizer.vocab_size
    there = [tokenizer.knows(id) for id in range(size)]
    silent = control_ids(tokenizer)
    spelled = token_spellings(tokenizer, size)
    speaking = {id: spelled[id] for id in range(size) if there[id] and id not in silent}
    return Vocabulary(speaking, _runs([id for id in range(size) if not there[id]]), sum(there))


def _runs(ids: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for id in ids:
        if runs and runs[-1][1] == id - 1:
            runs[-1] = (runs[-1][0], id)
        else:
            runs.append((id, id))
    return runs


def shown_bytes(data: bytes) -> str:
    """`data` as text, with ⟨E3⟩ for each byte that belongs to no whole character."""
    return data.decode("utf-8", _AS_HEX)


def _as_hex(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    bad = error.object[error.start : error.end]
    return "".join(f"⟨{byte:02X}⟩" for byte in bad), error.end


_AS_HEX = "lmtool-angles"
codecs.register_error(_AS_HEX, _as_hex)
