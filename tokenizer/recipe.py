"""What a tokenizer is made of before any text is read: a `Recipe`, and its pipeline."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from .. import UsageError
from .pieces import BYTE_PIECE, METASPACE

if TYPE_CHECKING:
    import tokenizers

ALPHABET = 256
"""A byte-level vocabulary starts from every byte, so that no text is ever unknown."""

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD_END = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SPACES = r"\s+(?!\S)|\s+"
# Scripts whose words no space parts. In Japanese a phrase begins with what is written in kanji or
# katakana and ends with hiragana, so it is cut before the next one, and before and behind marks.
# Bounds keep words short where nobody writes a mark.
_UNSPACED = (
    r"[\p{Han}々〇]{1,8}\p{Hiragana}{0,12}|\p{Hiragana}{1,12}ー*|[\p{Katakana}ー・]{1,16}"
    r"|\p{Thai}{1,24}|\p{Lao}{1,24}|\p{Khmer}{1,24}|\p{Myanmar}{1,24}|\p{Tibetan}{1,24}"
)
_SPACED = (
    r"(?:(?![\p{Han}\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}])"
    r"\p{L})"
)
_CL100K = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|{_SPACES}"
)

PATTERNS: dict[str, str] = {
    # GPT-2 (Radford et al. 2019), encoder.py.
    "gpt2": rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|{_SPACES}",
    # cl100k_base of tiktoken: digits in threes.
    "gpt4": _CL100K,
    # Llama 3's tokenizer.json has the same.
    "llama3": _CL100K,
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
    # GPT-2's words, and every digit on its own.
    "digits": rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+|{_SPACES}",
    # cl100k, but for scripts without spaces, which are cut where the script changes.
    "scripts": (
        rf"{_CONTRACTIONS}|{_UNSPACED}|[^\r\n\p{{L}}\p{{N}}]?{_SPACED}+|\p{{N}}{{1,3}}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|{_SPACES}"
    ),
}
"""Named pre-tokenization patterns: no merge crosses a border that the pattern draws."""


_SPECIAL_LETTER = re.compile(r"[^\w\-. ]")
"""What a regular expression that does anything has; without one it is a name misspelled."""

Kind = Literal["bytes", "characters", "unigram"]
"""What a vocabulary starts from: every byte; or characters, and bytes for those it lacks, which
BPE merges or a unigram model chooses from."""
Normalization = Literal["none", "NFC", "NFD", "NFKC", "NFKD"]
"""What becomes of a text before anything else; "none" alone lets every text come back."""

UNKNOWN = "<unk>"
"""What a unigram model must have an id for, though bytes stand in for it."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a trained tokenizer besides its text.

    `pattern` is a name in `PATTERNS` or a regular expression. `specials` take the first ids, in
    the order given. `bos`, if set, is put before every encoded text; `eos` ends a generation.
    `alphabet` is how many characters may have an id of their own, None: a quarter of the
    vocabulary. Lengths are in bytes, or in characters where the vocabulary starts from these.
    """

    vocab_size: int = 32768
    pattern: str = "gpt4"
    specials: tuple[str, ...] = ("<|endoftext|>",)
    bos: str | None = None
    eos: str | None = None
    min_frequency: int = 2
    max_token_length: int | None = None
    kind: Kind = "bytes"
    normalization: Normalization = "none"
    alphabet: int | None = None

    @property
    def all_specials(self) -> tuple[str, ...]:
        """The special tokens, and the one for what is unknown where there must be one."""
        needed = self.kind == "unigram" and UNKNOWN not in self.specials
        return (*self.specials, UNKNOWN) if needed else self.specials

    @property
    def smallest(self) -> int:
        """The least vocabulary: every byte and every special token has an id.

        Beside characters so has the letter for a space, which could not be told from bytes.
        """
        return ALPHABET + len(self.all_specials) + (self.kind != "bytes")

    @property
    def characters(self) -> int:
        """How many characters may have an id of their own, the letter for a space among them."""
        free = self.vocab_size - self.smallest + 1
        wanted = self.vocab_size // 4 if self.alphabet is None else self.alphabet
        return max(1, min(free, wanted))

    def check(self) -> None:
        """Raise `UsageError` if no tokenizer can be made by this recipe."""
        if self.vocab_size < self.smallest:
            space = "" if self.kind == "bytes" else ", the space"
            raise UsageError(
                f"--vocab-size {self.vocab_size} is too small: every byte{space} and every special "
                f"token needs an id, {self.smallest} in all",
                hint=f"{self.smallest} is the least",
            )
        self._check_specials()
        self.check_limits()
        if self.normalization not in get_args(Normalization):
            raise UsageError(
                f"--normalization {self.normalization!r} is none of those there are",
                hint=f"choose {', '.join(get_args(Normalization))}",
            )
        if self.alphabet is not None and self.kind == "bytes":
            raise UsageError("--alphabet is for --byte-fallback and --unigram: bytes need none")
        if (
            self.alphabet is not None
            and not 0 < self.alphabet <= self.vocab_size - self.smallest + 1
        ):
            raise UsageError(
                f"--alphabet {self.alphabet} has no room in a vocabulary of {self.vocab_size}",
                hint=f"{self.smallest - 1} of its ids are bytes and special tokens",
            )

    def check_limits(self) -> None:
        """Raise `UsageError` if what limits merges lets none through."""
        if self.min_frequency < 0:
            raise UsageError(f"--min-frequency {self.min_frequency} is below zero")
        if self.max_token_length is not None and self.max_token_length < 2:
            raise UsageError(f"--max-token-length {self.max_token_length} leaves nothing to merge")

    def _check_specials(self) -> None:
        for special in self.specials:
            if not special.strip():
                raise UsageError("a special token may not be empty or blank")
            if self.specials.count(special) > 1:
                raise UsageError(f"the same special token is named twice: {special!r}")
            if len(special) == 1:
                raise UsageError(
                    f"--special {special!r} is a letter, and texts would end at each",
                    hint="take something that no text has, such as '<|end|>'",
                )
            if self.kind != "bytes" and BYTE_PIECE.fullmatch(special):
                raise UsageError(f"--special {special!r} is the token of a byte")
        for role, token in (("--bos", self.bos), ("--eos", self.eos)):
            if token is not None and token not in self.specials:
                raise UsageError(
                    f"{role} {token!r} is not among the special tokens",
                    hint=f"add --special {token!r}",
                )


def empty_tokenizer(recipe: Recipe) -> tokenizers.Tokenizer:
    """The recipe's pipeline with an untrained model.

    Bytes: split by pattern, bytes as letters, BPE, bytes back. Characters: split by pattern, `▁`
    for spaces, as SentencePiece has it.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    split = _split_by(recipe.pattern)
    pipeline = cast("Any", Tokenizer(models.BPE()))
    if recipe.normalization != "none":
        pipeline.normalizer = getattr(normalizers, recipe.normalization)()
    if recipe.kind == "bytes":
        spelled: Any = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        pipeline.decoder = decoders.ByteLevel()
    else:
        spelled = pre_tokenizers.Metaspace(METASPACE, prepend_scheme="never", split=False)
        steps = [decoders.Replace(METASPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
        pipeline.decoder = decoders.Sequence(steps)
    pipeline.pre_tokenizer = pre_tokenizers.Sequence([split, spelled])
    return pipeline


def _split_by(pattern: str) -> Any:
    from tokenizers import Regex, pre_tokenizers

    names = f"the names are {', '.join(PATTERNS)}"
    if pattern not in PATTERNS and not _SPECIAL_LETTER.search(pattern):
        raise UsageError(f"no --pattern has the name {pattern!r}", hint=names)
    try:
        return pre_tokenizers.Split(Regex(PATTERNS.get(pattern, pattern)), behavior="isolated")
    except Exception as error:  # the binding raises a bare Exception for a bad expression
        raise UsageError(
            f"--pattern {pattern!r} is neither a known name nor a regular expression: {error}",
            hint=names,
        ) from error
