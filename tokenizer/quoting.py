"""What strangers wrote, kept apart from what a template wrote, through the rendering and after.

Before rendering, characters of the strangers' texts are replaced one for one by private ones
(`Disguise`). In what the template makes of them, a special token without a private character is
the template's own. Spaces stay, so that templates trim and split as they would.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Literal, cast

from .. import InputError

Strength = Literal["all", "edges", "tokens"]
"""What is disguised: every character; those that special tokens begin and end with, and special
tokens spelled out; these alone. A template that looks into a text may need the weaker ones."""
STRENGTHS: tuple[Strength, ...] = ("all", "edges", "tokens")

_PLANES = (0x100000, 0xF0000)


class Disguise:
    """Replaces what strangers wrote by private characters, and back.

    The characters come from a plane of Unicode that none of `texts` uses, so nobody can forge them.
    """

    def __init__(self, controls: Collection[str], texts: Collection[str]) -> None:
        """For the special tokens `controls`. Raises `InputError` if both planes are in use."""
        for plane in _PLANES:
            taken = re.compile(f"[{chr(plane)}-{chr(plane + 0xFFFF)}]")
            if not any(map(taken.search, texts)):
                break
        else:
            raise InputError(
                "a message has private-use characters of both planes, 15 and 16, of Unicode",
                hint="--special parse takes special tokens in messages for what they spell",
            )
        self._plane = plane
        self._private = taken
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
        return self._private.sub(lambda match: chr(ord(match[0]) - self._plane), text)

    def collapse(self, text: str) -> tuple[str, list[str]]:
        """`text` with each disguised stretch as one character, and what the stretches say."""
        said: list[str] = []

        def note(match: re.Match[str]) -> str:
            said.append(self.take_off(match[0]))
            return self.mark

        return re.sub(f"(?:{self._private.pattern})+", note, text), said

    @property
    def mark(self) -> str:
        """The character that stands for a stretch in `collapse`."""
        return chr(self._plane + 1)

    def _is_inner(self, letter: str) -> bool:
        return letter not in self._edges

    def _swap(self, text: str, stays: Callable[[str], bool]) -> str:
        """`text` with each letter swapped but those that stay."""
        letters = {ord(letter) for letter in set(text) if not stays(letter)}
        return text.translate({code: self._plane + code for code in letters if code < 0xFFFE})

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
