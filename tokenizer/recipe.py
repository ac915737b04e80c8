"""What a tokenizer is made of before any text is read: a `Recipe`, and its pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import UsageError

if TYPE_CHECKING:
    import tokenizers

ALPHABET = 256
"""A byte-level vocabulary starts from every byte, so that no text is ever unknown."""

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD_END = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SPACES = r"\s+(?!\S)|\s+"

PATTERNS: dict[str, str] = {
    # GPT-2 (Radford et al. 2019), encoder.py.
    "gpt2": rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|{_SPACES}",
    # cl100k_base of tiktoken; Llama 3 uses the same, with digits in threes.
    "gpt4": (
        rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|{_SPACES}"
    ),
    # Qwen 2: cl100k with every digit on its own.
    "qwen2": (
        rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|{_SPACES}"
    ),
    # o200k_base of tiktoken: words are cut where lower case turns to upper case.
    "o200k": (
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_WORD_END}"
        rf"|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_WORD_END}"
        rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|{_SPACES}"
    ),
}
"""Named pre-tokenization patterns: no merge crosses a border that the pattern draws."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a trained tokenizer besides its text.

    `pattern` is a name in `PATTERNS` or a regular expression. `specials` take the first ids, in
    the order given. `bos`, if set, is put before every encoded text; `eos` ends a generation.
    """

    vocab_size: int = 32768
    pattern: str = "gpt4"
    specials: tuple[str, ...] = ("<|endoftext|>",)
    bos: str | None = None
    eos: str | None = None
    min_frequency: int = 2
    max_token_length: int | None = None

    @property
    def smallest(self) -> int:
        """The least vocabulary: every byte and every special token has an id."""
        return ALPHABET + len(self.specials)

    def check(self) -> None:
        """Raise `UsageError` if no tokenizer can be made by this recipe."""
        if self.vocab_size < self.smallest:
            raise UsageError(
                f"--vocab-size {self.vocab_size} is too small: every byte and every special "
                f"token needs an id, {self.smallest} in all",
                hint=f"ask for more than {self.smallest}",
            )
        if len(set(self.specials)) < len(self.specials):
            raise UsageError("the same special token is named twice")
        if any(not special.strip() for special in self.specials):
            raise UsageError("a special token may not be empty or blank")
        for role, token in (("--bos", self.bos), ("--eos", self.eos)):
            if token is not None and token not in self.specials:
                raise UsageError(
                    f"{role} {token!r} is not among the special tokens",
                    hint=f"add --special {token!r}",
                )
        if self.min_frequency < 0:
            raise UsageError(f"--min-frequency {self.min_frequency} is below zero")
        if self.max_token_length is not None and self.max_token_length < 2:
            raise UsageError(f"--max-token-length {self.max_token_length} leaves nothing to merge")


def empty_tokenizer(recipe: Recipe) -> tokenizers.Tokenizer:
    """The recipe's pipeline with an untrained model: split by pattern, bytes, BPE, bytes back."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    expression = PATTERNS.get(recipe.pattern, recipe.pattern)
    try:
        split = pre_tokenizers.Split(Regex(expression), behavior="isolated")
    except Exception as error:  # the binding raises a bare Exception for a bad expression
        raise UsageError(
            f"--pattern {recipe.pattern!r} is neither a known name nor a regular expression: "
            f"{error}",
            hint=f"the names are {', '.join(PATTERNS)}",
        ) from error
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    return tokenizer
