"""Which tokens encoding can produce, and why the others never come (Land and Bartolo 2024).

A token is reached if a text is found whose ids hold it. It never comes if there is a proof:

- its own piece, taken alone, is not what the model makes of it. Within a longer word nothing else
  happens inside the token's borders, since a BPE's merges there would be the same ones in the same
  order, and a unigram model would put the better pieces in its place;
- its bytes are no part of any UTF-8;
- it is the raw byte of a character that has a piece;
- the normalizer, an added token or the pre-tokenizer changes or parts its text wherever it stands.

What has neither is told apart: many texts were tried, and none had it. Special tokens are left
aside: they come from templates, or are parsed.

"Fishing for Magikarp", arXiv:2405.05417.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..spelled import control_ids, token_spellings
from ..tokenizer import Tokenizer
from .borders import Borders, fixed_by_normalizer
from .halves import HalfCharacters, is_whole, possible
from .model_alone import ModelAlone

Reason = Literal["merges", "score", "bytes", "letter", "normalizer", "added", "border", "unfound"]

AROUND = tuple(
    (left, right)
    for right in ("", "a", " ", "1", ".", "\n", "'", "A")
    for left in ("", "a", " ", "1", "a ", "\n", ".", "'", "A", "7 ", "。", "中")
)
"""What is put around a token's text, when the text alone doesn't give it."""
TRIED = 1 << 20
"""Texts that are tried at most, so that a vocabulary full of faults takes no longer than a few
seconds."""


@dataclass(frozen=True)
class Never:
    """A token that no text is known to give. `sure`: it is proved that none does."""

    id: int
    reason: Reason
    sure: bool


@dataclass(frozen=True)
class Reach:
    """What encoding can produce, special tokens aside."""

    alone: int
    """Tokens that their own text gives."""
    beside: dict[int, str]
    """Tokens that only come beside other text: their id, and a text that gives them."""
    halves: list[int]
    """Tokens that begin or end within a character."""
    never: list[Never]
    """Tokens that no text is known to give, by id."""


def find_reach(tokenizer: Tokenizer) -> Reach:
    """Try every token of `tokenizer`, and say why those that don't come don't."""
    size = tokenizer.vocab_size
    left_out = control_ids(tokenizer) | tokenizer.added.keys()
    spelled = token_spellings(tokenizer, size)
    ids = [id for id in range(size) if id not in left_out and tokenizer.knows(id)]
    whole = {id: spelled[id].decode() for id in ids if is_whole(spelled[id])}
    halves = {id: spelled[id] for id in ids if id not in whole}
    alone = _given(tokenizer, whole, "", "")
    search = _Search(tokenizer, spelled)
    left = [id for id in whole if id not in alone]
    hopeless = search.hopeless([*left, *halves], whole)
    beside = _beside(tokenizer, {id: whole[id] for id in left if id not in hopeless})
    half = HalfCharacters(tokenizer)
    beside |= half.find({id: data for id, data in halves.items() if id not in hopeless})
    missing = [id for id in (*left, *halves) if id not in beside]
    never = [hopeless.get(id) or search.explain(id, whole.get(id)) for id in missing]
    return Reach(len(alone), beside, sorted(halves), sorted(never, key=lambda one: one.id))


class _Search:
    """Why tokens don't come."""

    def __init__(self, tokenizer: Tokenizer, spelled: Sequence[bytes]) -> None:
        self._tokenizer = tokenizer
        self._spelled = spelled
        self._model = ModelAlone(tokenizer)
        self._borders = Borders(tokenizer)
        self._matched = [
            token.content
            for token in tokenizer.pipeline.get_added_tokens_decoder().values()
            if not token.special and not token.single_word
        ]

    def hopeless(self, ids: Sequence[int], texts: Mapping[int, str]) -> dict[int, Never]:
        """Those of `ids` that surely never come; `texts` are those of whole characters."""
        found: dict[int, Never] = {}
        for id in ids:
            reason = self._proof(id, texts.get(id))
            if reason is not None:
                found[id] = Never(id, reason, True)
        return found

    def explain(self, id: int, text: str | None) -> Never:
        """Why no text was found that gives `id`, as far as that shows."""
        if text is not None and fixed_by_normalizer(self._tokenizer, text) is not None:
            return Never(id, "normalizer", False)
        if text is not None and self._borders.parts(text) is not None:
            return Never(id, "border", False)
        if self._model.merges_fail(id):
            return Never(id, "merges", False)
        return Never(id, "unfound", False)

    def _proof(self, id: int, text: str | None) -> Reason | None:
        if not possible(self._spelled[id]):
            return "bytes"
        if self._tokenizer.is_byte(id) and text is not None and self._model.knows(text):
            return "letter"
        if self._tokenizer.encoder is not None:
            return None  # what the pipeline does isn't all that happens
        reason = self._model.refuses(id)
        if reason is not None or text is None:
            return reason
        if any(one in text for one in self._matched):
            return "added"
        if fixed_by_normalizer(self._tokenizer, text):
            return "normalizer"
        return "border" if self._borders.parts(text) else None


def _given(tokenizer: Tokenizer, texts: dict[int, str], left: str, right: str) -> set[int]:
    """Those of the tokens that come in the ids of their text, with something around it."""
    encoded = tokenizer.encode_plain([left + text + right for text in texts.values()])
    return {id for id, ids in zip(texts, encoded, strict=True) if id in ids}


def _beside(tokenizer: Tokenizer, texts: dict[int, str]) -> dict[int, str]:
    """A text for each of the tokens that come beside other text."""
    found: dict[int, str] = {}
    tried = 0
    left = dict(texts)
    for before, after in AROUND[1:]:
        if not left or tried > TRIED:
            break
        tried += len(left)
        for id in _given(tokenizer, left, before, after):
            found[id] = before + left.pop(id) + after
    return found
