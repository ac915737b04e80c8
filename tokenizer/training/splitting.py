"""Text to words: where a pipeline's normalizer and pre-tokenizer say, so that no merge crosses.

Named patterns are split by Python's regular expressions (ASCII text) and by the `regex` module, ten
and five times as fast as tokenizers splits by the same pattern, and only where they agree with it
on every letter. Any other pipeline does it itself.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from ..cut import Cutter
from ..pieces import gpt2_alphabet, steps_of
from ..recipe import PATTERNS

if TYPE_CHECKING:
    from collections.abc import Callable

    import tokenizers

# Each of these matches every letter, and begins a word at each space that isn't in the middle of
# spaces, where the text may be cut in two. For where a space (a single U+0020) follows a letter
# that is none, no part of a pattern has it but as its first: ` ?…`, `[^\r\n\p{L}\p{N}]?…`, `\s+…`,
# `\s*[\r\n]+`. And of several spaces before another letter, `\s+(?!\S)` leaves the last one, while
# `\s*[\r\n]+` ends at a line break before it. The text before the cut is split the same if it
# ends there: nothing looks ahead but `\s+(?!\S)`, which then takes the same spaces up to the end.
# Nothing looks behind, so what follows is split as if the text began there.
_NAMES = ("gpt2", "gpt4", "qwen2", "o200k", "digits")
KNOWN = frozenset(PATTERNS[name] for name in _NAMES)
"""Patterns of which all this is known."""

_SPACE = re.compile(r"(?<=\S) ")
# Where there are no spaces: a word ends before a mark that isn't an apostrophe or a slash, and a
# line break by itself stands apart from the letter that follows, for every pattern in KNOWN.
_WORD_END = re.compile(
    r"(?<=[A-Za-zÀ-ÖØ-öø-ɏЀ-џぁ-ゖァ-ヺ一-龥가-힣])(?=[,.;:!?\"(){}\[\]<>=+*#。、「」！？])"  # noqa: RUF001
    r"|(?<=\S\n)(?=[A-Za-z])"
)


# A space never joins with what stands before it, so text may be normalized in parts cut there.
_FORMS = {"NFC", "NFD", "NFKC", "NFKD"}

# What the classes of the patterns hold of ASCII; the other kinds of letters hold nothing.
_IN_ASCII = {"L": "A-Za-z", "N": "0-9", "Lu": "A-Z", "Ll": "a-z", "s": r"\t-\r "}


class Splitter:
    """Splits by the normalizer and pre-tokenizer of one pipeline."""

    def __init__(self, pipeline: tokenizers.Tokenizer) -> None:
        from tokenizers import Tokenizer, models

        # Without the model: it has no say in this, and may be large.
        bare = cast("Any", Tokenizer(models.BPE()))
        bare.normalizer = cast("Any", pipeline).normalizer
        bare.pre_tokenizer = cast("Any", pipeline).pre_tokenizer
        self._pipeline = bare
        steps = steps_of(bare.pre_tokenizer, "pretokenizers")
        normalizers = steps_of(bare.normalizer, "normalizers")
        kinds = {step["type"] for step in normalizers}
        self.pattern = _known_pattern(steps) if kinds <= _FORMS | {"Lowercase"} else None
        """The pattern, if it is one of those in `KNOWN` and all there is to splitting."""
        self.normalizes = bool(normalizers)
        """Whether text is changed before it is split."""
        self._keeps_ascii = kinds <= _FORMS
        # Taken apart, a letter may end with an accent, which goes with the mark that follows.
        self._cuts_words = kinds <= {"NFC", "NFKC"}
        self.spells_bytes = self.pattern is None and any(
            step["type"] == "ByteLevel" for step in steps + normalizers
        )
        """Whether the letters of `split`'s words stand for bytes."""

    def __reduce__(self) -> tuple[Any, ...]:
        """For processes that are started afresh."""
        return _from_json, (self._pipeline.to_str(),)

    @property
    def parts_at_spaces(self) -> bool:
        """Whether a word surely begins at each space that follows a letter which isn't one."""
        return self.pattern is not None

    def normalize(self, text: str) -> str:
        """The text that is split for `text`."""
        if not self.normalizes or (self._keeps_ascii and text.isascii()):
            return text
        return self._pipeline.normalizer.normalize_str(text)

    def split(self, text: str) -> list[str]:
        """The words of a normalized document, or of one of its parts, as `raw` takes them."""
        if self.pattern is None:
            pre_tokenizer = self._pipeline.pre_tokenizer
            if pre_tokenizer is None:
                return [text] if text else []
            return [word for word, _ in pre_tokenizer.pre_tokenize_str(text)]
        if text.isascii():
            return self._find_ascii_words(text)
        if self._disputed(text):
            return [word for word, _ in self._exact_split.pre_tokenize_str(text)]
        return self._find_words(text)

    def raw(self, word: str) -> bytes:
        """A word of `split` in UTF-8, before letters stand for bytes."""
        if self.spells_bytes:
            return bytes(map(self._alphabet.__getitem__, word))
        return word.encode()

    def words(self, text: str) -> list[bytes]:
        """The words of a document in UTF-8."""
        return list(map(self.raw, self.split(self.normalize(text))))

    def place_to_cut(self, text: str) -> int | None:
        """A late place in `text` where it can be cut in two without changing a word, if any."""
        if self.pattern is None:
            cutter = self._cutter
            return cutter.place(text, 0, len(text)) if cutter.can_cut else None
        place = last_match(_SPACE, text)
        if place is None and self._cuts_words:
            return last_match(_WORD_END, text)
        return place

    def likely_place_to_cut(self, text: str) -> int:
        """A late place where to cut `text` changes hardly a word, or its end."""
        return last_match(_SPACE, text) or last_match(_WORD_END, text) or len(text)

    @cached_property
    def _find_words(self) -> Callable[[str], list[str]]:
        import regex

        assert self.pattern is not None
        return cast("Any", regex.compile(self.pattern)).findall

    @cached_property
    def _find_ascii_words(self) -> Callable[[str], list[str]]:
        # Python's own module is twice as fast as `regex`, once it needn't know Unicode's classes.
        assert self.pattern is not None
        return re.compile(in_ascii(self.pattern), re.ASCII).findall

    @cached_property
    def _disputed(self) -> Callable[[str], Any]:
        from .letters import DISPUTED

        return DISPUTED.search

    @cached_property
    def _exact_split(self) -> Any:
        from tokenizers import Regex, pre_tokenizers

        assert self.pattern is not None
        return pre_tokenizers.Split(Regex(self.pattern), behavior="isolated")

    @cached_property
    def _alphabet(self) -> dict[str, int]:
        return gpt2_alphabet()

    @cached_property
    def _cutter(self) -> Cutter:
        return Cutter(self._pipeline)


def last_match(pattern: re.Pattern[str], text: str) -> int | None:
    """Where the last match in `text` begins that isn't at its start; the end is looked at first."""
    width = 1 << 8
    while True:
        since = max(1, len(text) - width)
        if found := [match.start() for match in pattern.finditer(text, since)]:
            return found[-1]
        if since == 1:
            return None
        width *= 16


def in_ascii(pattern: str) -> str:
    """A pattern of `KNOWN` with ASCII letters for its classes: it does the same on ASCII text."""
    inside = False
    found: list[str] = []
    for token in re.findall(r"\\p\{\w+\}|\\.|.", pattern):
        if token in "[]":
            inside = token == "["
        if token.startswith(r"\p") or token == r"\s":
            letters = _IN_ASCII.get(token.strip(r"\p{}"), "")
            token = letters if inside else f"[{letters}]"
        elif token == r"\S":
            token = f"[^{_IN_ASCII['s']}]"
        found.append(token)
    return "".join(found)


def _from_json(text: str) -> Splitter:
    from tokenizers import Tokenizer

    return Splitter(Tokenizer.from_str(text))


def _known_pattern(steps: list[dict[str, Any]]) -> str | None:
    """The pattern of a pre-tokenizer that splits by one of `KNOWN`, and maps bytes, no more."""
    match steps:
        case [{"type": "ByteLevel", "use_regex": True, "add_prefix_space": False}]:
            return PATTERNS["gpt2"]
        case [{"type": "Split", "pattern": {"Regex": str(pattern)}} as split, *others] if (
            split["behavior"] == "Isolated" and not split["invert"] and pattern in KNOWN
        ):
            return pattern if all(map(_only_maps, others)) else None
        case _:
            return None


def _only_maps(step: dict[str, Any]) -> bool:
    """Whether a step puts letters for bytes and splits nothing."""
    return step["type"] == "ByteLevel" and not (step["use_regex"] or step["add_prefix_space"])
