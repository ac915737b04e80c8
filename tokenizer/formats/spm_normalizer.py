"""SentencePiece's normalizer, letter for letter: rules, spaces, the space put before a text.

After normalizer.cc of sentencepiece. The library's own `Precompiled` parts a text into graphemes
first, and so composes other letters than SentencePiece does.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ... import ModelError
from .spm_model import SPACE, Model

_SPACES = re.compile("  +")
_NEVER = re.compile(r"(?!)")


class Chunk(NamedTuple):
    """Normalized text, and how many letters of the original it is for."""

    text: str
    length: int


class Rules:
    """A precompiled map: strings and what takes their place, the longest first.

    `data` is a length, a double-array trie (darts-clone) of that many bytes, and the replacements,
    each ended by a zero byte. A trie that leads out of itself leads nowhere.
    """

    def __init__(self, file: Path, data: bytes) -> None:
        size = struct.unpack_from("<I", data)[0] if len(data) >= 4 else -1
        whole = size > 0 and size % 4 == 0 and size <= len(data) - 4
        self._units: Sequence[int] = struct.unpack_from(f"<{size // 4}I", data, 4) if whole else ()
        self._texts = data[4 + size :]
        if not whole or not _is_sound(self._units, self._texts):
            raise ModelError(f"`{file}`: its table of normalization rules is damaged")
        self._seen: set[str] = set()
        self._alone: list[str] = []
        self._first: dict[str, int] = {}
        self._second: set[str] = set()
        self._finder = _NEVER

    def finder(self, text: str) -> re.Pattern[str]:
        """What finds every place of `text` where a rule may begin."""
        new = set(text) - self._seen
        if new:
            self._learn(new)
            self._finder = self._compile()
        return self._finder

    def longest(self, text: str, place: int) -> Chunk | None:
        """The longest rule that applies at a place, if one does."""
        best: tuple[int, int] | None = None
        node: int | None = 0
        for end in range(place, len(text)):
            node, value = self._walk(node, text[end])
            if value is not None:
                best = value, end + 1 - place
            if node is None:
                break
        if best is None:
            return None
        value, length = best
        ended = self._texts.find(b"\0", value)
        found = self._texts[value : ended if ended >= 0 else len(self._texts)]
        return Chunk(found.decode("utf-8", "replace"), length)

    def _learn(self, new: set[str]) -> None:
        """Which letters have a rule alone, and which may begin one with which others."""
        before = dict(self._first)
        for letter in new:
            node, value = self._walk(0, letter)
            if value is not None:
                self._alone.append(letter)
            elif node is not None:
                self._first[letter] = node
        begun = [node for letter, node in self._first.items() if letter not in before]
        for letter in self._seen - self._second:
            if any(self._goes_on(node, letter) for node in begun):
                self._second.add(letter)
        for letter in new:
            if any(self._goes_on(node, letter) for node in self._first.values()):
                self._second.add(letter)
        self._seen |= new

    def _compile(self) -> re.Pattern[str]:
        ways = [_class(self._alone)] if self._alone else []
        if self._second:
            ways.append(f"{_class([*self._first])}(?={_class(sorted(self._second))})")
        return re.compile("|".join(ways)) if ways else _NEVER

    def _goes_on(self, node: int, letter: str) -> bool:
        after, value = self._walk(node, letter)
        return after is not None or value is not None

    def _walk(self, node: int | None, letter: str) -> tuple[int | None, int | None]:
        """From a node over a letter's bytes: the node behind them, and the value found there."""
        if node is None:
            return None, None
        units, value = self._units, None
        for byte in letter.encode("utf-8", "surrogatepass"):
            if node >= len(units):
                return None, None
            unit = units[node]
            node ^= (unit >> 10) << ((unit & 0x200) >> 6)
            node ^= byte
            if node >= len(units):
                return None, None
            unit = units[node]
            if unit & 0x800000FF != byte:
                return None, None
            value = None
            if unit >> 8 & 1:
                leaf = node ^ (unit >> 10) << ((unit & 0x200) >> 6)
                if leaf < len(units):
                    value = units[leaf] & 0x7FFFFFFF
        return node, value


def _is_sound(units: Sequence[int], texts: bytes) -> bool:
    """Whether no unit leads out of the trie, and no value out of the replacements.

    The library's own `Precompiled`, which gets the same table, believes both.
    """
    try:
        texts.decode("utf-8")
    except UnicodeDecodeError:
        return False
    count, room = len(units), len(texts)
    if count % 256 or not texts.endswith(b"\0"):
        return False
    for place, unit in enumerate(units):
        if unit >> 31:
            value = unit & 0x7FFFFFFF
            if value >= room or texts[value] & 0xC0 == 0x80:
                return False
        elif (place ^ (unit >> 10) << ((unit & 0x200) >> 6)) >= count:
            return False
    return True


class Normalizer:
    """A model's way from a text to the letters that its pieces are made of."""

    def __init__(self, file: Path, model: Model, symbols: Sequence[str]) -> None:
        """`symbols` are the user-defined ones, which no rule changes."""
        self._rules = Rules(file, model.charsmap) if model.charsmap else None
        self._symbols = [re.escape(one) for one in sorted(symbols, key=len, reverse=True)]
        self._model = model
        self._space = SPACE if model.escape_whitespaces else " "
        # Spaces in a row stay, if they come of one step.
        self._spaced = b"  " in model.charsmap or any(" " in symbol for symbol in symbols)
        self._combined: tuple[re.Pattern[str], re.Pattern[str]] | None = None

    def normalize(self, text: str, prefix: bool = True) -> str:
        """The letters of a whole text, or of one that goes on another where not `prefix`."""
        if not text:
            return ""
        if self._spaced or self._model.whitespace_as_suffix:
            return self.align(text, prefix)[0]
        return self._space_out(self._map(text), prefix)

    def align(self, text: str, prefix: bool = True) -> tuple[str, list[int]]:
        """The same, and for each letter where in `text` what it came from begins; then the end."""
        model, space = self._model, self._space
        chunks = list(self._chunks(text))
        place = first = 0
        if model.remove_extra_whitespaces:
            while first < len(chunks) and chunks[first].text == " ":
                place += chunks[first].length
                first += 1
        if first == len(chunks):
            return "", [0]
        letters: list[str] = []
        places: list[int] = []
        dummy = prefix and model.add_dummy_prefix
        if dummy and not model.whitespace_as_suffix:
            letters.append(space)
            places.append(place)
        after_space = model.remove_extra_whitespaces
        for chunk in chunks[first:]:
            found = chunk.text.lstrip(" ") if after_space else chunk.text
            letters.extend(space if letter == " " else letter for letter in found)
            places.extend([place] * len(found))
            if found:
                after_space = found.endswith(" ")
            after_space = after_space and model.remove_extra_whitespaces
            place += chunk.length
        if model.remove_extra_whitespaces:
            while letters and letters[-1] == space:
                letters.pop()
                place = places.pop()
        if dummy and model.whitespace_as_suffix:
            letters.append(space)
            places.append(place)
        return "".join(letters), [*places, place]

    def _space_out(self, mapped: str, prefix: bool) -> str:
        model, space = self._model, self._space
        before = space if prefix and model.add_dummy_prefix else ""
        if not model.remove_extra_whitespaces:
            return before + mapped.replace(" ", space)
        body = _SPACES.sub(" ", mapped.lstrip(" ")).replace(" ", space)
        return (before + body).rstrip(space)

    def _map(self, text: str) -> str:
        finder = self._find(text)
        if finder is _NEVER or finder.search(text) is None:
            return text
        return "".join(chunk for chunk, _ in self._replaced(text, finder))

    def _chunks(self, text: str) -> Iterator[Chunk]:
        """What each step of SentencePiece's own loop takes."""
        for chunk, taken in self._replaced(text, self._find(text)):
            if taken is None:
                yield from (Chunk(letter, 1) for letter in chunk)
            else:
                yield Chunk(chunk, taken)

    def _replaced(self, text: str, finder: re.Pattern[str]) -> Iterator[tuple[str, int | None]]:
        """Stretches as they are, and between them what is replaced, with the letters it took."""
        place = copied = 0
        while found := finder.search(text, place):
            start = found.start()
            if self._symbols and found.lastgroup == "symbol":
                chunk: Chunk | None = Chunk(found[0], len(found[0]))
            else:
                chunk = self._rules.longest(text, start) if self._rules is not None else None
            if chunk is None:
                place = start + 1
                continue
            if start > copied:
                yield text[copied:start], None
            yield chunk.text, chunk.length
            place = copied = start + chunk.length
        if copied < len(text):
            yield text[copied:], None

    def _find(self, text: str) -> re.Pattern[str]:
        rules = self._rules.finder(text) if self._rules is not None else _NEVER
        if not self._symbols:
            return rules
        if self._combined is None or self._combined[0] is not rules:
            either = f"(?P<symbol>{'|'.join(self._symbols)})|{rules.pattern}"
            self._combined = rules, re.compile(either)
        return self._combined[1]


def _class(letters: Sequence[str]) -> str:
    return f"[{''.join(re.escape(letter) for letter in letters)}]"
