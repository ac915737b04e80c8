"""Train a tokenizer from a corpus (Sennrich et al. 2016, arXiv:1508.07909).

Words are counted, and merges learned from the counts: so the order of files and the number of
threads change nothing. Which pair is merged first among equals is told in `merging`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from ... import InputError
from ..corpus import Corpus
from ..pieces import BYTE_PIECE
from ..recipe import Recipe
from .courses import Course, course_for
from .memory import USUAL
from .samples import Samples

if TYPE_CHECKING:
    import tokenizers

    from ..tokenizer import Tokenizer
    from .counting import Counted
    from .merging import Merges
    from .report import FileReport


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
class Base:
    """A tokenizer to begin with: its pipeline is learned anew, or its merges are continued."""

    tokenizer: Tokenizer
    extend: bool = False

    def course(self, recipe: Recipe) -> Course:
        """How that is done.

        Raises `UsageError` for a kind of tokenizer that can't be learned, and for a recipe that
        leaves nothing to learn.
        """
        from .further import AgainCourse, ExtendCourse

        recipe.check_limits()
        begin = ExtendCourse if self.extend else AgainCourse
        return begin(self.tokenizer, recipe.vocab_size)


@dataclass(frozen=True)
class Training:
    """A trained tokenizer and what it took: the text that was read, and seconds."""

    tokenizer: tokenizers.Tokenizer
    recipe: Recipe
    corpus: Corpus
    text: Counted
    merges: Merges | None
    """None for a vocabulary without merges."""
    samples: Samples
    seconds: float
    base: Base | None = None
    """What it was made from, if it began with another tokenizer."""

    @cached_property
    def files(self) -> tuple[FileReport, ...]:
        """What was read of each file, and how well it is packed, in the order of their paths."""
        from .report import file_reports

        return file_reports(self)

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
        return self.merges is not None and self.merges.stopped

    @property
    def vocab_size(self) -> int:
        """Ids in the vocabulary; fewer than asked for if the text had no more pairs to merge."""
        return self.tokenizer.get_vocab_size()

    def longest(self, count: int = 10) -> list[str]:
        """The longest learned tokens as text, longest first, equals by id."""
        vocabulary = self.tokenizer.get_vocab(with_added_tokens=True)
        added = {one.content for one in self.tokenizer.get_added_tokens_decoder().values()}
        learned = [token for token in vocabulary if len(token) > 1 and token not in added]
        if self.recipe.kind != "bytes":
            learned = [token for token in learned if not BYTE_PIECE.fullmatch(token)]
        learned.sort(key=lambda token: (-len(token), vocabulary[token]))
        return [self.tokenizer.decode([vocabulary[token]]) for token in learned[:count]]


def train(
    corpus: Corpus,
    recipe: Recipe,
    effort: Effort = Effort(),
    merging: Callable[[], AbstractContextManager[Watch]] = lambda: nullcontext(_Nobody()),
    base: Base | None = None,
) -> Training:
    """Train `recipe` on `corpus`; the context `merging` is open while merges are learned.

    With a `base` its pipeline is taken, and of the recipe only sizes and frequencies.

    Raises `UsageError` for an impossible recipe and `InputError` for text that can't be read or
    isn't there.
    """
    from .counting import count_words
    from .splitting import Splitter
    from .workers import end_if_imported

    end_if_imported()
    began = monotonic()
    if base is None:
        recipe.check()
        course = course_for(recipe)
    else:
        course = base.course(recipe)
    samples = Samples(corpus.paths)
    corpus = replace(corpus, on_part=samples.add)
    text = count_words(
        corpus, Splitter(course.pipeline), threads=effort.threads or 0, max_memory=effort.memory
    )
    if not text.characters:
        raise InputError("there is no text to learn from")
    with merging() as watch:
        learned = course.learn(text.words, recipe, effort, watch)
    seconds = monotonic() - began
    return Training(learned.tokenizer, recipe, corpus, text, learned.merges, samples, seconds, base)
