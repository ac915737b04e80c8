"""A slow twin of the BPE trainer and encoder, straight from the definition, to compare with.

Each round counts every pair of neighbours anew. The most frequent is merged everywhere; among
equally frequent ones, the pair with the lower left id, then the lower right id.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import regex

Pair = tuple[int, int]


def byte_letters() -> dict[int, str]:
    """GPT-2's printable letter for every byte (Radford et al. 2019, encoder.py)."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    visible += [*range(ord("®"), ord("ÿ") + 1)]
    letters = {byte: chr(byte) for byte in visible}
    for byte in range(256):
        if byte not in letters:
            letters[byte] = chr(256 + len(letters) - len(visible))
    return letters


@dataclass
class NaiveBpe:
    """A trained vocabulary (spelling by id) and its merges in the order they were made."""

    pattern: str
    vocabulary: list[str]
    merges: list[Pair]

    def encode(self, text: str) -> list[int]:
        """Ids of `text`: in every pre-token, apply the earliest merge that fits until none does."""
        ids: list[int] = []
        for word in split(self.pattern, text):
            ids += self.encode_word(word)
        return ids

    def encode_word(self, word: str) -> list[int]:
        """Ids of one pre-token."""
        symbols = [self.vocabulary.index(letter) for letter in spell(word)]
        for pair in self.merges:
            symbols = merge(symbols, pair, self.merged(pair))
        return symbols

    def merged(self, pair: Pair) -> int:
        """The id that stands for both of `pair`."""
        return self.vocabulary.index(self.vocabulary[pair[0]] + self.vocabulary[pair[1]])


def train_naively(
    texts: list[str],
    pattern: str,
    vocab_size: int,
    specials: list[str],
    min_frequency: int = 0,
    max_token_length: int | None = None,
) -> NaiveBpe:
    """Learn merges from `texts` until the vocabulary is full or no pair is frequent enough."""
    counts = Counter(word for text in texts for word in split(pattern, text))
    bpe = NaiveBpe(pattern, [*specials, *sorted(byte_letters().values())], [])
    words = [([bpe.vocabulary.index(x) for x in spell(w)], n) for w, n in counts.items()]
    learn_naively(bpe, words, vocab_size, min_frequency, max_token_length)
    return bpe


def learn_naively(
    bpe: NaiveBpe,
    words: list[tuple[list[int], int]],
    vocab_size: int,
    min_frequency: int = 0,
    max_token_length: int | None = None,
) -> None:
    """Add merges to `bpe` from words, as ids, and how often each occurs."""
    too_long: set[Pair] = set()
    while len(bpe.vocabulary) < vocab_size:
        pairs: Counter[Pair] = Counter()
        for symbols, count in words:
            for pair in pairwise(symbols):
                pairs[pair] += count
        candidates = [(-n, p) for p, n in pairs.items() if p not in too_long]
        if not candidates or -min(candidates)[0] < max(min_frequency, 1):
            break
        best = min(candidates)[1]
        spelled = bpe.vocabulary[best[0]] + bpe.vocabulary[best[1]]
        if max_token_length is not None and len(spelled) > max_token_length:
            too_long.add(best)
            continue
        if spelled not in bpe.vocabulary:
            bpe.vocabulary.append(spelled)
        bpe.merges.append(best)
        words = [(merge(symbols, best, bpe.merged(best)), n) for symbols, n in words]


def split(pattern: str, text: str) -> list[str]:
    """The pre-tokens of `text`; what no pattern matches stands between them as it is."""
    out: list[str] = []
    end = 0
    for match in regex.finditer(pattern, text):
        out += [text[end : match.start()], match.group()]
        end = match.end()
    return [word for word in [*out, text[end:]] if word]


def spell(word: str) -> str:
    """A word in letters for its bytes."""
    letters = byte_letters()
    return "".join(letters[byte] for byte in word.encode())


def merge(symbols: list[int], pair: Pair, merged: int) -> list[int]:
    """`symbols` with each occurrence of `pair`, from the left, replaced by `merged`."""
    out: list[int] = []
    at = 0
    while at < len(symbols):
        found = tuple(symbols[at : at + 2]) == pair
        out.append(merged if found else symbols[at])
        at += 2 if found else 1
    return out
