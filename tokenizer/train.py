"""Train a byte-level BPE tokenizer from a corpus (Sennrich et al. 2016, arXiv:1508.07909).

The merge loop is the tokenizers library's. Its result depends only on how often each pre-token
occurs: pairs are merged by falling count, ties by the lower pair of ids, and ids follow the order
of merging. So the order of files and the number of threads change nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from .. import LmtoolError
from .corpus import Corpus
from .files import write_text
from .recipe import Recipe, empty_tokenizer

if TYPE_CHECKING:
    import tokenizers


@dataclass(frozen=True)
class Training:
    """A trained tokenizer and what it took: `characters` read, `seconds`, longest tokens."""

    tokenizer: tokenizers.Tokenizer
    recipe: Recipe
    characters: int
    seconds: float

    @property
    def vocab_size(self) -> int:
        """Ids in the vocabulary; fewer than asked for if the text had no more pairs to merge."""
        return self.tokenizer.get_vocab_size()

    def longest(self, count: int = 10) -> list[str]:
        """The longest learned tokens as text, longest first."""
        vocabulary = self.tokenizer.get_vocab()
        learned = [token for token in vocabulary if token not in self.recipe.specials]
        learned.sort(key=lambda token: (-len(token), vocabulary[token]))
        return [self.tokenizer.decode([vocabulary[token]]) for token in learned[:count]]


def train(corpus: Corpus, recipe: Recipe, progress: bool = False) -> Training:
    """Train `recipe` on `corpus`; with `progress` the merging shows its own bar on stderr.

    Raises `UsageError` for an impossible recipe and `InputError` for text that can't be read.
    """
    from tokenizers import processors, trainers
    from tokenizers.pre_tokenizers import ByteLevel

    recipe.check()
    began = monotonic()
    tokenizer = empty_tokenizer(recipe)
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocab_size,
        min_frequency=recipe.min_frequency,
        special_tokens=list(recipe.specials),
        initial_alphabet=sorted(ByteLevel.alphabet()),
        max_token_length=recipe.max_token_length,
        show_progress=progress,
    )
    characters = 0

    def counted():  # noqa: ANN202
        nonlocal characters
        for piece in corpus.pieces():
            characters += len(piece)
            yield piece

    tokenizer.train_from_iterator(counted(), trainer)
    if recipe.bos is not None:
        template = processors.TemplateProcessing(
            single=f"{recipe.bos} $A",
            pair=f"{recipe.bos} $A {recipe.bos} $B",
            special_tokens=[(recipe.bos, recipe.specials.index(recipe.bos))],
        )
        tokenizer.post_processor = template  # pyright: ignore[reportAttributeAccessIssue]
    return Training(tokenizer, recipe, characters, monotonic() - began)


def write_tokenizer(training: Training, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json into `folder`, made if it isn't there.

    Each file is there whole or not at all. Raises `LmtoolError` where the disk refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LmtoolError(f"cannot make `{folder}`: {error.strerror or error}") from error
    write_text(folder / "tokenizer.json", training.tokenizer.to_str(pretty=True) + "\n")
    write_text(folder / "tokenizer_config.json", _as_json(config_for(training.recipe)))


def config_for(recipe: Recipe) -> dict[str, object]:
    """What transformers wants to know beside tokenizer.json."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": recipe.bos,
        "eos_token": recipe.eos,
        "add_bos_token": recipe.bos is not None,
        "clean_up_tokenization_spaces": False,
    }


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
