"""Long texts in pieces that encode, one after another, to the very ids of the whole.

A cut is sound where the tokenizer itself parts the text whatever stands around it. We look for
the end of a word before a space or a Japanese mark, or the end of a line, and ask the tokenizer's
own pre-tokenizer, on the letters around that place, whether it parts there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from .pieces import steps_of

if TYPE_CHECKING:
    import tokenizers

LONG = 1 << 15
"""Characters from which on a text is worth cutting, and about how long the pieces get."""
AROUND = 48
"""Characters looked at on either side of a place to cut."""

_PLACES = re.compile(r"(?<=\w)(?=[ \n。、」！？])|(?<=\n)(?=\S)")  # noqa: RUF001  full width
# These change letters one by one or a letter with its accents, and a space bears none here.
_LOCAL_NORMALIZERS = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase"}
_LOCAL_PRE_TOKENIZERS = {"Split", "ByteLevel", "Digits", "Whitespace", "Punctuation"}


class Cutter:
    """Finds sound cuts for one tokenizer."""

    def __init__(self, pipeline: tokenizers.Tokenizer) -> None:
        """For `pipeline`, which is asked only when a long text comes."""
        self._pipeline = cast("Any", pipeline)

    @cached_property
    def can_cut(self) -> bool:
        """Whether the pipeline treats a text's parts alike wherever they stand."""
        normalizers = steps_of(self._pipeline.normalizer, "normalizers")
        splitters = steps_of(self._pipeline.pre_tokenizer, "pretokenizers")
        return (
            bool(splitters)
            and all(step["type"] in _LOCAL_NORMALIZERS for step in normalizers)
            and all(step["type"] in _LOCAL_PRE_TOKENIZERS for step in splitters)
            and not any(step.get("add_prefix_space") for step in splitters)
            and not any(map(_reaches_over, self._pipeline.get_added_tokens_decoder().values()))
        )

    def is_sound(self, text: str, place: int) -> bool:
        """Whether encoding `text` in two parts, cut at `place`, changes no id."""
        left, right = text[max(0, place - AROUND) : place], text[place : place + AROUND]
        split = self._pipeline.pre_tokenizer.pre_tokenize_str
        return split(left + right) == split(left) + [
            (piece, (start + len(left), end + len(left))) for piece, (start, end) in split(right)
        ]

    def place(self, text: str, start: int, longest: int) -> int | None:
        """A sound cut in `text` at most `longest` after `start`, as late as possible."""
        end = start + longest
        for width in (1 << 8, 1 << 11, longest - 1):
            since = max(start + 1, end - width)
            ends = [match.start() for match in _PLACES.finditer(text, since, end)]
            for place in reversed(ends[-8:]):
                if self.is_sound(text, place):
                    return place
        return None


def cut_text(text: str, cutter: Cutter, longest: int = LONG) -> Iterator[str]:
    """`text` in pieces of about `longest` characters, or whole where no cut is sound."""
    start = 0
    if len(text) > 2 * longest and cutter.can_cut:
        while len(text) - start > 2 * longest:
            place = cutter.place(text, start, longest)
            if place is None:
                break
            yield text[start:place]
            start = place
    yield text[start:]


def _reaches_over(token: Any) -> bool:
    """Whether an added token could match across a cut, or take spaces from beyond it."""
    takes_spaces = token.lstrip or (token.rstrip and token.content[-1:].isalnum())
    return takes_spaces or bool(_PLACES.search(token.content))
