"""What a model makes of a token's own piece: whether it could ever come out of it."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any, Literal, cast

from ..tokenizer import Tokenizer

EQUAL = 1e-9
"""Scores that differ by less are taken for equal."""


class ModelAlone:
    """A tokenizer's model without what stands before and after it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._model = cast("Any", tokenizer.pipeline).model
        self._kind = type(self._model).__name__

    def refuses(self, id: int) -> Literal["merges", "score"] | None:
        """Why no word of any kind gives `id`; None where that isn't proved."""
        if self._kind == "BPE" and not self._model.ignore_merges and self.merges_fail(id):
            return "merges"
        if self._kind == "Unigram" and self._better_pieces(id):
            return "score"
        return None

    def knows(self, piece: str) -> bool:
        """Whether the model itself has a piece spelled so."""
        return self._model.token_to_id(piece) is not None

    def merges_fail(self, id: int) -> bool:
        """Whether the merges alone make something else of the piece `id` is."""
        if self._kind != "BPE" or self._tokenizer.is_byte(id):
            return False
        piece = self._tokenizer.piece(id)
        suffix, prefix = self._model.end_of_word_suffix, self._model.continuing_subword_prefix
        if prefix or (suffix and not piece.endswith(suffix)):
            return False  # what stands in the middle of a word isn't spelled as the model reads it
        word = piece.removesuffix(suffix) if suffix else piece
        return [token.id for token in self._merger.tokenize(word)] != [id]

    @cached_property
    def _merger(self) -> Any:
        """The model with merges alone, also where it looks up whole words first."""
        if not self._model.ignore_merges:
            return self._model
        from tokenizers import models

        state: dict[str, Any] = json.loads(self._tokenizer.pipeline.to_str())["model"]
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in state["merges"]]
        return models.BPE(state["vocab"], [(left, right) for left, right in pairs])

    def _better_pieces(self, id: int) -> bool:
        """Whether a unigram model has a likelier way to spell the piece."""
        if self._tokenizer.is_byte(id):
            return False
        parts: list[int] = [token.id for token in self._model.tokenize(self._tokenizer.piece(id))]
        if parts == [id]:
            return False
        return sum(self._scores[part] for part in parts) > self._scores[id] + EQUAL

    @cached_property
    def _scores(self) -> list[float]:
        state = json.loads(self._model.__getstate__())
        return [score for _, score in state["vocab"]]
