"""Train a byte-level BPE tokenizer from a corpus (Sennrich et al. 2016, arXiv:1508.07909).

The merge loop is the tokenizers library's. Its result depends only on how often each pre-token
occurs: the most frequent pair is merged first, among equals the one with the lower ids, and a new
token's id is the next free one. So the order of files and the number of threads change nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from .. import InputError
from .corpus import Corpus
from .recipe import Recipe, empty_tokenizer
from .watch import OnMerge, watching_merges

if TYPE_CHECKING:
    import tokenizers


@dataclass(frozen=True)
class Training:
    """A trained tokenizer and what it took: text read, in characters and UTF-8 bytes, seconds."""

    tokenizer: tokenizers.Tokenizer
    recipe: Recipe
    characters: int
    bytes: int
    seconds: float

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


def train(corpus: Corpus, recipe: Recipe, on_merge: OnMerge | None = None) -> Training:
    """Train `recipe` on `corpus`; `on_merge(done)` is called now and then while it merges.

    Ctrl-C ends it at once. Raises `UsageError` for an impossible recipe and `InputError` for text
    that can't be read or isn't there.
    """
    from tokenizers import trainers
    from tokenizers.pre_tokenizers import ByteLevel

    recipe.check()
    began = monotonic()
    tokenizer = empty_tokenizer(recipe)
    longest = recipe.max_token_length
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocab_size,
        min_frequency=recipe.min_frequency,
        special_tokens=list(recipe.specials),
        initial_alphabet=sorted(ByteLevel.alphabet()),
        # The library's limit is the first length that it refuses.
        max_token_length=None if longest is None else longest + 1,
        show_progress=on_merge is not None,
    )
    text = _Counted(corpus)
    with watching_merges(on_merge, recipe.vocab_size) if on_merge else nullcontext():
        _beside_ctrl_c(lambda: tokenizer.train_from_iterator(text.pieces(), trainer), text.stop)
    if not text.characters:
        raise InputError("there is no text to learn from")
    _put_bos_first(tokenizer, recipe)
    return Training(tokenizer, recipe, text.characters, text.bytes, monotonic() - began)


class _Counted:
    """The corpus's pieces, counted as they pass, until someone says stop."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.characters = 0
        self.bytes = 0
        self.stopped = False

    def pieces(self) -> Iterator[str]:
        for piece in self.corpus.pieces():
            if self.stopped:
                return
            self.characters += len(piece)
            self.bytes += len(piece.encode())
            yield piece

    def stop(self) -> None:
        self.stopped = True


def _beside_ctrl_c(work: Callable[[], None], stop: Callable[[], None]) -> None:
    """Run `work` in a thread and wait for it, so that Ctrl-C is heard meanwhile.

    The merge loop never looks at signals. On Ctrl-C the thread is left behind: it is a daemon,
    and ends with the process.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name="train", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.1)
    except BaseException:
        stop()
        raise
    if raised:
        raise raised[0]


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
