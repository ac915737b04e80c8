"""Whether a normalizer changes a text, or a pre-tokenizer parts it, wherever it stands."""

from __future__ import annotations

import unicodedata
from functools import cache, lru_cache
from itertools import pairwise, product
from typing import Any, cast

from ..pieces import steps_of
from ..recipe import PATTERNS
from ..tokenizer import Tokenizer
from ..training.letters import DISPUTED
from .pipeline import patterns_of

FORMS = ("NFC", "NFD", "NFKC", "NFKD")

# These part between two characters by nothing but the characters themselves.
_BY_CHARACTER = {"Whitespace", "WhitespaceSplit", "BertPreTokenizer", "Punctuation", "Digits"}

# The states of the named patterns: every one of them is reached by one of these, or two together.
_LETTERS = ("a", "A", "ʰ", "中", "\u0301", "1", " ", "\t", "\n", "!", "'", "/", "s", "l", "r", "v")
_LONGER = ("111", "a'l", "a'r", "a'v", "A'l")


def fixed_by_normalizer(tokenizer: Tokenizer, text: str) -> bool | None:
    """Whether the normalizer surely leaves no such text behind; None where it changes nothing.

    Parts of a text in one of Unicode's forms are in that form themselves (UAX #15), and letters
    are lowered one by one.
    """
    normalizer = cast("Any", tokenizer.pipeline).normalizer
    if normalizer is None or normalizer.normalize_str(text) == text:
        return None
    if any(_never_leaves(step, text) for step in steps_of(normalizer, "normalizers")):
        return True
    return None if _only_adds(tokenizer) else False


def _never_leaves(step: dict[str, Any], text: str) -> bool:
    """Whether no text has `text` in it after this step, which is one of a normalizer's."""
    kind, lone = step["type"], step.get("pattern", {}).get("String", "")
    if kind in FORMS:
        return not unicodedata.is_normalized(kind, text)
    if kind == "Lowercase":
        return any(letter.lower() != letter for letter in text)
    return kind == "Replace" and len(lone) == 1 and lone in text and lone not in step["content"]


def _only_adds(tokenizer: Tokenizer) -> bool:
    """Whether the normalizer does nothing to a text but put something before it."""
    steps = steps_of(cast("Any", tokenizer.pipeline).normalizer, "normalizers")
    return all(step["type"] in ("Prepend", "Replace", *FORMS) for step in steps)


class Borders:
    """The borders that a tokenizer's pre-tokenizer draws."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._pre_tokenizer = cast("Any", tokenizer.pipeline).pre_tokenizer
        steps = steps_of(self._pre_tokenizer, "pretokenizers")
        self._by_character = bool(steps) and all(map(_parts_by_character, steps))
        patterns = patterns_of(tokenizer)
        named = len(patterns) == 1 and patterns[0] in PATTERNS.values()
        only = all(step["type"] == "ByteLevel" or _isolates(step) for step in steps)
        self._pattern = patterns[0] if named and only else None

    def parts(self, text: str) -> bool | None:
        """Whether `text` is surely never within one word; None where it isn't parted at all."""
        if self._pre_tokenizer is None:
            return None
        if len(self._pre_tokenizer.pre_tokenize_str(text)) <= 1:
            return None
        if self._by_character:
            return True
        if self._pattern is None or DISPUTED.search(text):
            return False
        return not within_a_match(self._pattern, text)


def _isolates(step: dict[str, Any]) -> bool:
    return step["type"] == "Split" and step["behavior"] == "Isolated" and not step["invert"]


def _parts_by_character(step: dict[str, Any]) -> bool:
    match step:
        case {"type": "Metaspace", "split": parted}:
            return bool(parted)
        case {"type": "ByteLevel", "use_regex": regex, "add_prefix_space": False}:
            return not regex
        case {"type": "Split", "pattern": {"String": mark}}:
            return len(mark) == 1
        case _:
            return step["type"] in _BY_CHARACTER


def within_a_match(pattern: str, text: str) -> bool:
    """Whether `text` may be a part of something that `pattern` matches.

    For the named patterns, which match every character, so that a word is always a match.
    """
    pairs = map("".join, pairwise(text))
    return all(_joins(pattern, pair) for pair in pairs) and _begins(pattern, text)


@lru_cache(maxsize=1 << 16)
def _joins(pattern: str, pair: str) -> bool:
    """Whether two characters may stand side by side within a match; asked of many texts."""
    return _begins(pattern, pair)


def _begins(pattern: str, text: str) -> bool:
    return any(_goes_on(pattern, start + text) for start in _starts(pattern))


@cache
def _starts(pattern: str) -> tuple[str, ...]:
    """One text for each state of the pattern's, as far as two more letters can tell them apart."""
    after = ["".join(letters) for n in (1, 2) for letters in product(_LETTERS, repeat=n)]
    found: dict[tuple[bool, ...], str] = {}
    for start in ("", *after, *_LONGER):
        if _goes_on(pattern, start):
            state = tuple(_goes_on(pattern, start + more) for more in after)
            found.setdefault(state, start)
    return tuple(found.values())


def _goes_on(pattern: str, text: str) -> bool:
    """Whether a match may begin with `text`, or be it."""
    return _compiled(pattern).fullmatch(text, partial=True) is not None


@cache
def _compiled(pattern: str) -> Any:
    import regex

    return regex.compile(pattern)
