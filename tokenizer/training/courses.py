"""From counted words to a tokenizer: a course for each kind of vocabulary.

A course has the pipeline by which words are found, and learns from their counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..pieces import METASPACE
from ..recipe import UNKNOWN, Kind, Recipe, empty_tokenizer
from .starts import ByteStart, CharacterStart, Start

if TYPE_CHECKING:
    import tokenizers

    from .merging import Merges
    from .train import Effort, Watch

Words = Iterable[tuple[bytes, int]]
"""Distinct words in UTF-8 and how often each occurs, sorted."""


@dataclass(frozen=True)
class Learned:
    """A trained tokenizer; `merges` are None where it has none."""

    tokenizer: tokenizers.Tokenizer
    merges: Merges | None = None


class Course(Protocol):
    """A way to learn a vocabulary."""

    @property
    def pipeline(self) -> tokenizers.Tokenizer:
        """Whose normalizer and pre-tokenizer find the words."""
        ...

    def learn(self, words: Words, recipe: Recipe, effort: Effort, watch: Watch) -> Learned:
        """Learn from `words`; `watch` looks on, and may end it early."""
        ...


def byte_tokens() -> list[str]:
    """The tokens that stand for bytes beside characters: `<0x00>` to `<0xFF>`."""
    return [f"<0x{byte:02X}>" for byte in range(256)]


def merges_from(words: Words, start: Start, recipe: Recipe, effort: Effort, watch: Watch) -> Merges:
    """Learn merges as far as the recipe's vocabulary has room."""
    from .merging import learn_merges

    return learn_merges(
        words,
        start,
        limit=recipe.vocab_size,
        min_frequency=recipe.min_frequency,
        max_length=recipe.max_token_length,
        on_merge=watch.merged,
        stopped=watch.stopped,
        max_memory=effort.memory,
    )


class ByteCourse:
    """BPE over bytes: special tokens, the bytes, merges."""

    def __init__(self, recipe: Recipe) -> None:
        self.pipeline = empty_tokenizer(recipe)

    def learn(self, words: Words, recipe: Recipe, effort: Effort, watch: Watch) -> Learned:
        """See `Course`."""
        from tokenizers import models

        taken = {special: number for number, special in enumerate(recipe.specials)}
        merges = merges_from(words, ByteStart(taken), recipe, effort, watch)
        cast("Any", self.pipeline).model = models.BPE(vocab=merges.ids, merges=merges.pairs)
        return Learned(finish(self.pipeline, recipe), merges)


class CharacterCourse:
    """BPE over characters, with tokens for bytes beneath: special tokens, bytes, characters."""

    def __init__(self, recipe: Recipe) -> None:
        self.pipeline = empty_tokenizer(recipe)

    def learn(self, words: Words, recipe: Recipe, effort: Effort, watch: Watch) -> Learned:
        """See `Course`."""
        from tokenizers import models

        names = [*recipe.specials, *byte_tokens()]
        taken = {name: number for number, name in enumerate(names)}
        start = CharacterStart(taken, recipe.characters, initial=METASPACE)
        merges = merges_from(words, start, recipe, effort, watch)
        cast("Any", self.pipeline).model = models.BPE(
            vocab=merges.ids, merges=merges.pairs, byte_fallback=True, fuse_unk=True
        )
        return Learned(finish(self.pipeline, recipe), merges)


class UnigramCourse:
    """A unigram language model over pieces (Kudo 2018, arXiv:1804.10959), bytes beneath.

    It is trained by sentencepiece, from the sorted words and their counts: the trainer of
    tokenizers gives other pieces each time, since it goes through its words in a random order.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.pipeline = empty_tokenizer(recipe)

    def learn(self, words: Words, recipe: Recipe, effort: Effort, watch: Watch) -> Learned:
        """See `Course`. Raises `UsageError` where sentencepiece isn't installed."""
        from tokenizers import models

        from .unigram import learn_pieces

        names = [*recipe.all_specials, *byte_tokens()]
        pieces = learn_pieces(words, recipe, room=recipe.vocab_size - len(names))
        vocabulary = [(name, 0.0) for name in names] + pieces
        unknown = names.index(UNKNOWN)
        model = models.Unigram(vocabulary, unk_id=unknown, byte_fallback=True)
        cast("Any", self.pipeline).model = model
        return Learned(finish(self.pipeline, recipe))


_COURSES: dict[Kind, Callable[[Recipe], Course]] = {
    "bytes": ByteCourse,
    "characters": CharacterCourse,
    "unigram": UnigramCourse,
}


def course_for(recipe: Recipe) -> Course:
    """How the recipe's kind of vocabulary is learned. Raises `UsageError` for a bad pattern."""
    return _COURSES[recipe.kind](recipe)


def finish(pipeline: tokenizers.Tokenizer, recipe: Recipe) -> tokenizers.Tokenizer:
    """Put the special tokens, and a begin-of-text token if there is one, into a pipeline."""
    from tokenizers import AddedToken, processors

    whole = cast("Any", pipeline)
    specials = recipe.all_specials
    whole.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in specials]
    )
    if recipe.bos is not None:
        whole.post_processor = processors.TemplateProcessing(
            single=f"{recipe.bos} $A",
            pair=f"{recipe.bos} $A {recipe.bos} $B",
            special_tokens=[(recipe.bos, specials.index(recipe.bos))],
        )
    return pipeline
