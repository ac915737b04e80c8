"""What strangers wrote, kept apart from what a template wrote, through the rendering and after.

Before rendering, characters of the strangers' texts are replaced one for one by private ones
(`Disguise`). In what the template makes of them, a special token without a private character is
the template's own. Spaces stay, so that templates trim and split as they would.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain
from typing import Any, Literal, cast

from .. import InputError

Strength = Literal["all", "edges", "tokens"]
"""What is disguised: every character; those that special tokens begin and end with, and special
tokens spelled out; these alone. A template that looks into a text may need the weaker ones."""
STRENGTHS: tuple[Strength, ...] = ("all", "edges", "tokens")

_PRIVATE = (range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))


class Disguise:
    """Replaces what strangers wrote by private characters, and back.

    Each letter of `texts` gets a character that none of them has, so nobody can forge one.
    """

    def __init__(self, controls: Collection[str], texts: Collection[str]) -> None:
        """For the special tokens `controls`, and all that is rendered, the template too.

        Raises `InputError` where there are more letters than private characters.
        """
        letters = {ord(letter) for text in texts for letter in set(text)}
        free = (code for code in chain(*_PRIVATE) if code not in letters)
        self._masks = {code: chr(mask) for code, mask in zip(letters, free, strict=False)}
        last = next(free, None)
        if last is None:
            raise InputError("the messages have more different characters than can be kept apart")
        self.mark = chr(last)
        self._letters = {ord(mask): chr(code) for code, mask in self._masks.items()}
        self._masked = re.compile(f"[{''.join(self._masks.values())}]+")
        self._controls = controls
        self._edges = {
            letter for token in controls for letter in (token[0], token[-1]) if _is_mark(letter)
        }

    def put_on(self, text: str, strength: Strength, except_for: Collection[str] = ()) -> str:
        """`text` disguised; tokens in `except_for` stay as they are, other than at "all"'s edges.

        The text keeps its length.
        """
        if strength == "all":
            if not except_for:
                return self._swap(text, str.isspace)
            kept = re.compile("(" + "|".join(map(re.escape, except_for)) + ")")
            parts = kept.split(text)
            parts[::2] = [self._swap(part, str.isspace) for part in parts[::2]]
            return "".join(parts)
        controls = [token for token in self._controls if token not in except_for]
        text = self._hide_tokens(text, controls)
        if strength == "edges" and not except_for:
            text = self._swap(text, self._is_inner)
        return text

    def take_off(self, text: str) -> str:
        """The text as it was."""
        return text.translate(self._letters)

    def collapse(self, text: str) -> tuple[str, list[str]]:
        """`text` with `mark` for each disguised stretch, and what the stretches say."""
        said = [self.take_off(stretch) for stretch in self._masked.findall(text)]
        return self._masked.sub(self.mark, text), said

    def _is_inner(self, letter: str) -> bool:
        return letter not in self._edges

    def _swap(self, text: str, stays: Callable[[str], bool]) -> str:
        """`text` with each letter swapped but those that stay."""
        kept = {ord(letter) for letter in set(text) if stays(letter)}
        return text.translate({c: mask for c, mask in self._masks.items() if c not in kept})

    def _hide_tokens(self, text: str, controls: Collection[str]) -> str:
        """`text` with tokens that it spells disguised, and at its ends what may be part of one."""
        present = sorted((token for token in controls if token in text), key=len, reverse=True)
        if present:
            pattern = "|".join(map(re.escape, present))
            text = re.sub(pattern, lambda match: self._swap(match[0], str.isspace), text)
        head = max((_overlap(token, text) for token in controls), default=0)
        tail = max((_overlap(text, token) for token in controls), default=0)
        if head:
            text = self._swap(text[:head], str.isspace) + text[head:]
        if tail:
            text = text[:-tail] + self._swap(text[-tail:], str.isspace)
        return text


def disguise_value(value: Any, disguise: Disguise, strength: Strength) -> Any:
    """A JSON value with every text in it disguised; keys, which templates look up, if they must."""
    if isinstance(value, str):
        return disguise.put_on(value, strength)
    if isinstance(value, Mapping):
        pairs = cast("Mapping[str, Any]", value).items()
        return {
            disguise.put_on(key, "tokens"): disguise_value(item, disguise, strength)
            for key, item in pairs
        }
    if isinstance(value, (list, tuple)):
        items = cast("Iterable[Any]", value)
        return [disguise_value(item, disguise, strength) for item in items]
    return value


def weaker(one: Strength, other: Strength) -> Strength:
    """The one of the two that disguises less."""
    return one if STRENGTHS.index(one) > STRENGTHS.index(other) else other


def _overlap(before: str, after: str) -> int:
    """How many characters, not all of a special token, `before` ends with and `after` begins."""
    for length in range(min(len(before), len(after)), 0, -1):
        if before.endswith(after[:length]):
            return length
    return 0


def _is_mark(letter: str) -> bool:
    return not (letter.isalnum() or letter.isspace())
