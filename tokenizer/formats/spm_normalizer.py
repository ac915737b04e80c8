"""SentencePiece's normalizer, letter for letter: rules, spaces, the space put before a text.

After normalizer.cc of sentencepiece. The library's own `Precompiled` parts a text into graphemes
first, and so composes other letters than SentencePiece does.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ... import ModelError
from .spm_model import SPACE, Model

_SPACES = re.compile("  +")
_NEVER = re.compile(r"(?!)")
_BYTES = (*[1] * 16, *[0] * 8, *[2] * 4, *[3] * 2, 4, 0)
"""How long a letter is in UTF-8, by the first five bits of its first byte."""


class Chunk(NamedTuple):
    """Normalized text, and how many letters of the original it is for."""

    text: str
    length: int


class Rules:
    """A precompiled map: strings and what takes their place, the longest first.

    `data` is a length, a double-array trie (darts-clone) of that many bytes, and the replacements,
    each ended by a zero byte.
    """

    def __init__(self, file: Path, data: bytes) -> None:
        """Raises `ModelError` for a trie that leads out of itself."""
        size = struct.unpack_from("<I", data)[0] if len(data) >= 4 else -1
        whole = size > 0 and size % 4 == 0 and size <= len(data) - 4
        units: Sequence[int] = struct.unpack_from(f"<{size // 4}I", data, 4) if whole else ()
        texts = data[4 + size :]
        if not whole or not _is_sound(units, texts):
            raise ModelError(f"`{file}`: its table of normalization rules is damaged")
        self._units, self._texts = units, texts
        self._children: dict[int, list[tuple[int, int]]] = {}
        for place, unit in enumerate(units):
            label = unit & 0x800000FF
            if 0 < label < 256:
                self._children.setdefault(place ^ label, []).append((label, place))
        self.finder = self._compile()
        """What finds every place where a rule may begin."""

    def longest(self, text: str, place: int) -> Chunk | None:
        """The longest rule that applies at a place, if one does."""
        units = self._units
        base, best = _base(units, 0), None
        for end in range(place, len(text)):
            unit = 0
            for byte in text[end].encode("utf-8", "surrogatepass"):
                node = base ^ byte
                unit = units[node] if node < len(units) else 0
                if not byte or unit & 0x800000FF != byte:
                    return best
                base = _base(units, node)
            if unit >> 8 & 1:
                value = units[base] & 0x7FFFFFFF
                found = self._texts[value : self._texts.index(b"\0", value)]
                best = Chunk(found.decode("utf-8"), end + 1 - place)
        return best

    def _compile(self) -> re.Pattern[str]:
        """Letters that have a rule alone, and those that may begin one with the next letter."""
        alone: set[str] = set()
        first: set[str] = set()
        bases: set[int] = set()
        for letter, place in self._letters(_base(self._units, 0)):
            if self._units[place] >> 8 & 1:
                alone.add(letter)
            else:
                first.add(letter)
                bases.add(_base(self._units, place))
        second = {letter for base in bases for letter, _ in self._letters(base)}
        ways = [_class(alone)] if alone else []
        if first and second:
            ways.append(f"{_class(first)}(?={_class(second)})")
        return re.compile("|".join(ways)) if ways else _NEVER

    def _letters(self, base: int) -> Iterator[tuple[str, int]]:
        """The letters that go on from a place in the trie, and the unit of each one's last byte."""
        waiting = [(base, b"")]
        while waiting:
            base, begun = waiting.pop()
            for byte, place in self._children.get(base, ()):
                letter = begun + bytes([byte])
                if len(letter) == _BYTES[letter[0] >> 3]:
                    with suppress(UnicodeDecodeError):  # which no text has
                        yield letter.decode("utf-8"), place
                elif len(letter) < _BYTES[letter[0] >> 3]:
                    waiting.append((_base(self._units, place), letter))


def _base(units: Sequence[int], place: int) -> int:
    """Where the children of a unit lie: at this place, a label exclusive-or'd to it."""
    unit = units[place]
    return place ^ (unit >> 10) << ((unit & 0x200) >> 6)


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
            continue
        base = _base(units, place)
        if base >= count or (unit >> 8 & 1 and units[base] & 0x7FFFFFFF >= room):
            return False
    return True


class Normalizer:
    """A model's way from a text to the letters that its pieces are made of."""

    def __init__(self, file: Path, model: Model, symbols: Sequence[str]) -> None:
        """`symbols` are the user-defined ones, which no rule changes."""
        self._rules = Rules(file, model.charsmap) if model.charsmap else None
        self._finder = self._rules.finder if self._rules is not None else _NEVER
        if symbols:
            spelled = "|".join(map(re.escape, sorted(symbols, key=len, reverse=True)))
            self._finder = re.compile(f"(?P<symbol>{spelled})|{self._finder.pattern}")
        self._model = model
        self._space = SPACE if model.escape_whitespaces else " "
        # Spaces in a row stay, if they come of one step.
        self._spaced = b"  " in model.charsmap or any(" " in symbol for symbol in symbols)

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
        finder = self._finder
        if finder is _NEVER or finder.search(text) is None:
            return text
        return "".join(chunk for chunk, _ in self._replaced(text, finder))

    def _chunks(self, text: str) -> Iterator[Chunk]:
        """What each step of SentencePiece's own loop takes."""
        for chunk, taken in self._replaced(text, self._finder):
            if taken is None:
                yield from (Chunk(letter, 1) for letter in chunk)
            else:
                yield Chunk(chunk, taken)

    def _replaced(self, text: str, finder: re.Pattern[str]) -> Iterator[tuple[str, int | None]]:
        """Stretches as they are, and between them what is replaced, with the letters it took."""
        place = copied = 0
        while found := finder.search(text, place):
            start = found.start()
            if found.lastgroup == "symbol":
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


def _class(letters: Iterable[str]) -> str:
    return f"[{''.join(map(re.escape, sorted(letters)))}]"
