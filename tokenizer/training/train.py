"""Train a byte-level BPE tokenizer from a corpus (Sennrich et al. 2016, arXiv:1508.07909).

Words are counted, and merges learned from the counts: so the order of files and the number of
threads change nothing. Which pair is merged first among equals is told in `merging`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, cast

from ... import InputError
from ..corpus import Corpus
from ..recipe import Recipe, empty_tokenizer
from .memory import USUAL

if TYPE_CHECKING:
    import tokenizers

    from .counting import Counted
    from .merging import Merges


class Watch(Protocol):
    """Somebody who looks on while merges are learned."""

    def merged(self, done: int) -> None:
        """So many merges are done, none at first; called now and then."""

    def stopped(self) -> bool:
        """Whether to make do with the merges so far; asked before each."""
        ...


class _Nobody:
    def merged(self, done: int) -> None:
        pass

    def stopped(self) -> bool:
        return False


@dataclass(frozen=True)
class Effort:
    """What training may take: threads (None: every core) and about how many bytes of memory."""

    threads: int | None = None
    memory: int = USUAL


@dataclass(frozen=True)
class Training:
    """A trained tokenizer and what it took: the text that was read, and seconds."""

    tokenizer: tokenizers.Tokenizer
    recipe: Recipe
    text: Counted
    merges: Merges
    seconds: float

    @property
    def characters(self) -> int:
        """Characters of text, without separators."""
        return self.text.characters

    @property
    def bytes(self) -> int:
        """Bytes of text, as UTF-8, without separators."""
        return self.text.bytes

    @property
    def stopped(self) -> bool:
        """Whether somebody ended it before its time."""
        return self.merges.stopped

    @property
    def vocab_size(self) -> int:
        """Ids in the vocabulary; fewer than asked for if the text had no more pairs to merge."""
        return self.tokenizer.get_vocab_size()

    def longest(self, count: int = 10) -> list[str]:
        """The longest learned tokens as text, longest first, equals by id."""
        vocabulary = self.tokenizer.get_vocab()
        learned = [token for token in vocabulary if token not in self.recipe.specials]
        learned.sort(key=lambda token: (-len(token), vocabulary[token]))
        return [self.tokenizer.decode([vocabulary[token]]) for token in learned[:count]]


def train(
    corpus: Corpus,
    recipe: Recipe,
    effort: Effort = Effort(),
    merging: Callable[[], AbstractContextManager[Watch]] = lambda: nullcontext(_Nobody()),
) -> Training:
    """Train `recipe` on `corpus`; the context `merging` is open while merges are learned.

    Raises `UsageError` for an impossible recipe and `InputError` for text that can't be read or
    isn't there.
    """
    from .counting import count_words
    from .splitting import Splitter

    recipe.check()
    began = monotonic()
    tokenizer = empty_tokenizer(recipe)
    text = count_words(
        corpus, Splitter(tokenizer), threads=effort.threads or 0, max_memory=effort.memory
    )
    if not text.characters:
        raise InputError("there is no text to learn from")
    with merging() as watch:
        merges = _learn(text.words, recipe, effort, watch)
    assemble(tokenizer, recipe, merges)
    return Training(tokenizer, recipe, text, merges, monotonic() - began)


def _learn(
    words: Iterable[tuple[bytes, int]], recipe: Recipe, effort: Effort, watch: Watch
) -> Merges:
    from .merging import learn_merges
    from .starts import ByteStart

    taken = {special: number for number, special in enumerate(recipe.specials)}
    return learn_merges(
        words,
        ByteStart(taken),
        limit=recipe.vocab_size,
        min_frequency=recipe.min_frequency,
        max_length=recipe.max_token_length,
        on_merge=watch.merged,
        stopped=watch.stopped,
        max_memory=effort.memory,
    )


def assemble(tokenizer: tokenizers.Tokenizer, recipe: Recipe, merges: Merges) -> None:
    """Put what was learned, and the special tokens, into an untrained tokenizer."""
    from tokenizers import AddedToken, models

    model = models.BPE(vocab=merges.ids, merges=merges.pairs)
    tokenizer.model = model  # pyright: ignore[reportAttributeAccessIssue]
    specials = [AddedToken(token, special=True, normalized=False) for token in recipe.specials]
    cast("Any", tokenizer).add_special_tokens(specials)
    _put_bos_first(tokenizer, recipe)


def _put_bos_first(tokenizer: tokenizers.Tokenizer, recipe: Recipe) -> None:
    from tokenizers import processors

    if recipe.bos is None:
        return
    template = processors.TemplateProcessing(
        single=f"{recipe.bos} $A",
        pair=f"{recipe.bos} $A {recipe.bos} $B",
        special_tokens=[(recipe.bos, recipe.specials.index(recipe.bos))],
    )
    tokenizer.post_processor = template  # pyright: ignore[reportAttributeAccessIssue]
