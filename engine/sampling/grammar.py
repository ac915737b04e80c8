"""A text held to a grammar by llguidance: which ids may follow, whether it may end.

llguidance sees bytes and an end of its own, one past the last id. So a mask is the same whatever
ends a text, and no special token is ever part of one, unless a Lark grammar names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ... import InputError, LmtoolError, ModelError
from ...tokenizer.spelled import control_ids, token_spellings
from ...tokenizer.tokenizer import Tokenizer
from ..grammars.source import lark_text, load_llguidance, new_matcher
from ..request import Grammar, Stop
from . import mask as masks

if TYPE_CHECKING:
    import llguidance

SHOWN = 40
"""Bytes of a text that an error shows where the text can't go on."""


class Vocabulary:
    """What each of `size` ids adds to a text, `spellings`, and llguidance's view of it.

    Ids past the tokenizer's own, which padded embeddings have, add nothing and are never allowed.
    """

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        self.name = tokenizer.name
        self.size = size
        self.spellings = token_spellings(tokenizer, size)
        library = load_llguidance()
        self.seen = library.LLTokenizer(library.TokenizerWrapper(_Words(self, tokenizer)))


class _Words:
    """What llguidance asks of a tokenizer; with `no_forcing` it never cuts a text by it."""

    def __init__(self, vocabulary: Vocabulary, tokenizer: Tokenizer) -> None:
        silent = sorted(id for id in control_ids(tokenizer) if id < vocabulary.size)
        self.tokens = [*vocabulary.spellings, b""]
        for id in silent:  # by which a Lark grammar can name them
            self.tokens[id] = tokenizer.piece(id).encode()
        self.eos_token_id = vocabulary.size
        self.bos_token_id = None
        self.special_token_ids = [*silent, vocabulary.size]

    def __call__(self, text: bytes) -> list[int]:
        return []


class Constraint:
    """How far a text has come in a grammar.

    `whole` says whether it may end here, `over` whether it must: nothing can follow.
    """

    def __init__(
        self, grammar: Grammar, vocabulary: Vocabulary, stop: Stop, matcher: llguidance.LLMatcher
    ) -> None:
        self.whole = self.over = False
        self._grammar = grammar
        self._vocabulary = vocabulary
        self._matcher = matcher
        self._stop = stop
        size = vocabulary.size
        self._words = masks.words_for(size + 1)
        eos = [id for id in stop.eos if 0 <= id < size]
        ends = {*eos, *(id for id in stop.ids if 0 <= id < size)}
        self._ends = masks.packed(ends, self._words) if ends else None
        # What ends a text is no part of one, even if it spells something.
        self._open = ~masks.packed(eos, self._words) if eos else None
        self._found: Tensor | None = None
        self._scout: tuple[tuple[int, ...], llguidance.LLMatcher] | None = None
        self._tail = b""

    def fork(self) -> Constraint:
        """Another text that has come as far."""
        return Constraint(self._grammar, self._vocabulary, self._stop, self._matcher.deep_copy())

    @property
    def open_ended(self) -> bool:
        """Whether no id could end the text where it is whole."""
        return self._ends is None

    def mask(self, ahead: Sequence[int] = ()) -> Tensor | None:
        """The ids that may come next, packed [W]; behind `ahead`, a guess, None if it is wrong.

        Raises `ModelError` where the vocabulary can't spell what has to come, `InputError` where
        the grammar gets too complex.
        """
        if ahead:
            return self._behind(tuple(ahead))
        if self._found is None:
            self._found, _ = self._computed(self._matcher)
        return self._found

    def check_start(self) -> None:
        """Raise as `mask` does where no token can begin the text."""
        if not self._computed(self._matcher)[1]:
            raise self._failure(self._matcher)

    def take(self, id: int) -> None:
        """Go on by one id of the text. Raises as `mask` does."""
        self._scout = self._found = None
        if not self._matcher.consume_token(id):
            raise self._failure(self._matcher)
        self._tail = (self._tail + self._vocabulary.spellings[id])[-SHOWN:]
        self.over = self._matcher.is_stopped()
        self.whole = self.over or self._matcher.is_accepting()
        if self.whole and not self.over:
            self._found, more = self._computed(self._matcher)
            self.over = not more

    def right(self, guess: Sequence[int]) -> int:
        """How many ids of a guess fit the grammar."""
        return self._matcher.validate_tokens(list(guess))

    def _behind(self, ahead: tuple[int, ...]) -> Tensor | None:
        """The mask behind a guess, by a copy that goes along with it."""
        if self._scout is None or self._scout[0] != ahead[:-1]:
            self._scout = ((), self._matcher.deep_copy())
        done, scout = self._scout
        for id in ahead[len(done) :]:
            if scout.is_stopped() or not scout.consume_token(id):
                self._scout = None
                return None
        self._scout = (ahead, scout)
        try:
            return None if scout.is_stopped() else self._computed(scout)[0]
        except LmtoolError:  # the guess leads nowhere, which need not be the text's way
            self._scout = None
            return None

    def _computed(self, matcher: llguidance.LLMatcher) -> tuple[Tensor, bool]:
        """The mask where `matcher` stands, and whether the text can go on there."""
        bits = torch.empty(self._words, dtype=torch.int32)
        matcher.unsafe_compute_mask_ptr(bits.data_ptr(), 4 * self._words)
        if matcher.is_error():
            raise self._failure(matcher)
        word, place = divmod(self._vocabulary.size, masks.WORD)
        last = int(bits[word]) & 0xFFFFFFFF
        whole = bool(last >> place & 1)
        bits[word] = last & ((1 << place) - 1)  # nothing lies beyond
        if self._open is not None:
            bits &= self._open
        more = bool(bits.any())
        if not more and not whole:
            raise self._failure(matcher)
        if whole and self._ends is not None:
            bits |= self._ends
        return bits, more

    def _failure(self, matcher: llguidance.LLMatcher) -> LmtoolError:
        name, reason = self._grammar.name, matcher.stop_reason()
        if "TooComplex" in reason or reason.startswith("MaxTokens"):
            return InputError(f"{name}: too complex to follow any further ({reason})")
        where = f"behind `{self._tail.decode('utf-8', 'replace')}`" if self._tail else "to begin"
        return ModelError(
            f"{name}: the vocabulary of `{self._vocabulary.name}` has no token that it allows "
            + where,
            hint="its tokens must be able to spell what the grammar asks for",
        )


def compile_grammar(grammar: Grammar, vocabulary: Vocabulary, stop: Stop) -> Constraint:
    """A text at its beginning under `grammar`, which what `stop` names may end where it is whole.

    Raises `InputError` or `UsageError` for a grammar that doesn't compile, `ModelError` for one
    that the vocabulary can't spell the beginning of.
    """
    matcher = new_matcher(vocabulary.seen, lark_text(grammar))
    if matcher.is_error():
        raise InputError(f"{grammar.name}: {' '.join(matcher.get_error().split())}")
    constraint = Constraint(grammar, vocabulary, stop, matcher)
    constraint.fork().check_start()
    return constraint
