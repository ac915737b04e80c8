"""The same ids many times as fast, for corpora: by gigatoken, where it has proved to agree.

tokenizers is the reference for what a tokenizer.json means. Before another library is trusted with
a tokenizer, both encode a probe: letters of every kind and range in every position that splitting
depends on, spaces, line breaks and digits in runs, contractions, and each added token.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from .tokenizer import Special, Tokenizer
from .training.letters import DISPUTED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORTH_IT = 1 << 20
"""Bytes of text from which on proving pays."""
RENEW = 1 << 30
"""Letters after which the encoder is made anew: it remembers every word that it has seen."""


class FastEncoder:
    """Encodes texts alone, nothing put before or after, to arrays of ids.

    `name` is the library that does it, "gigatoken" or "tokenizers", and `reason` why it isn't the
    first, if so. `threads` encode at once, None: one a core.
    """

    def __init__(self, tokenizer: Tokenizer, special: Special, threads: int | None = None) -> None:
        self._tokenizer = tokenizer
        self._special: Special = special
        self._threads = threads or _cores()
        self._json = _as_gigatoken_takes_it(tokenizer, special)
        self._passed = 0
        self.reason: str | None = None
        self._encoder = self._proved()

    @property
    def name(self) -> str:
        """The library that encodes."""
        return "tokenizers" if self._encoder is None else "gigatoken"

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """The ids of each text, uint32."""
        if self._encoder is None:
            return self._encode_exactly(texts)
        self._passed += sum(map(len, texts))
        if self._passed > RENEW:
            self._encoder, self._passed = _load(self._json), 0
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(self._encode_one, texts))

    def _encode_one(self, text: str) -> NDArray[np.uint32]:
        if self._encoder is None or (not text.isascii() and DISPUTED.search(text)):
            return self._encode_exactly([text])[0]
        return self._encoder.encode(text.encode())

    def agrees(self, texts: Sequence[str]) -> bool:
        """Whether both libraries give `texts` the same ids; if not, tokenizers does it from now on.

        For a sample of what is really encoded.
        """
        if self._encoder is None:
            return True
        exact = self._encode_exactly(texts)
        same = all(
            ours.tolist() == its.tolist()
            for ours, its in zip(self.encode(texts), exact, strict=True)
        )
        if not same:
            self._encoder, self.reason = None, "gigatoken gives other ids for this text"
        return same

    def _encode_exactly(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        import numpy as np

        found = self._tokenizer.encode_plain(texts, self._special)
        return [np.array(ids, np.uint32) for ids in found]

    def _proved(self) -> Any:
        """gigatoken's encoder if it gives the probe the ids that it should have, else None."""
        if self._tokenizer.encoder is not None:
            self.reason = f"{self._tokenizer.format}: no library but its own gives the same ids"
            return None
        try:
            encoder = _load(self._json)
        except ImportError:
            self.reason = "gigatoken isn't installed"
            return None
        except Exception as error:  # its errors are of many kinds, and none of them is ours
            said = " ".join(str(error).split())
            self.reason = f"gigatoken doesn't take this tokenizer: {said[:120]}"
            return None
        texts = [*_probe(), *_spelled(self._tokenizer)]
        exact = self._tokenizer.encode_plain(texts, self._special)
        try:
            same = all(
                encoder.encode(text.encode()).tolist() == ids
                for text, ids in zip(texts, exact, strict=True)
            )
        except Exception as error:
            self.reason = f"gigatoken fails on the probe: {str(error)[:120]}"
            return None
        if not same:
            self.reason = "gigatoken gives other ids for the probe"
        return encoder if same else None


def _load(source: str) -> Any:
    from gigatoken import gigatoken_rs

    return cast("Any", gigatoken_rs).load_hf_json(source)


def _as_gigatoken_takes_it(tokenizer: Tokenizer, special: Special) -> str:
    """The tokenizer.json without special tokens where these are text like any other."""
    state: dict[str, Any] = json.loads(tokenizer.pipeline.to_str())
    if special == "text":
        state["added_tokens"] = [one for one in state["added_tokens"] if not one["special"]]
    state["post_processor"] = state["truncation"] = state["padding"] = None
    return json.dumps(state, ensure_ascii=False)


@cache
def _probe() -> tuple[str, ...]:
    """Texts in which letters of every kind stand beside every other kind."""
    contexts = "a{0}b {0}c1{0}{0} {0}\n{0}'s!{0}  {0}  \n"
    lines = [contexts.replace("{0}", letter) for letter in _letters()]
    texts = ["".join(lines[start : start + 64]) for start in range(0, len(lines), 64)]
    # ruff: noqa: RUF001  letters that look alike are the point
    words = ["'s", "'LL", "'ſ", "’t", "1", "12345", "a", "B", "é", "中", "가"]
    marks = [*words, "...", "/", "//", "_"]
    gaps = ["", " ", "  ", "   ", "\n", "\r\n", "\n\n ", " \n", "\t", "\u00a0", "\u3000", "\u2028"]
    mixed = [left + gap + right for left in marks for gap in gaps for right in marks]
    runs = ["".join(mixed[start : start + 200]) for start in range(0, len(mixed), 200)]
    return (*texts, *runs, "", " ", "\n", "a" * 3000, " " * 3000, "\n" * 3000, "中" * 3000)


def _letters() -> Iterator[str]:
    """Both ends of each run of letters of one category, and some of the letters between."""
    for category, first, last in _runs():
        if category not in ("Cn", "Cs"):
            some = range(first, last, 1 if first < 0x250 else 4 if first < 0x3000 else 64)
            yield from (letter for letter in map(chr, some) if not DISPUTED.search(letter))
            if not DISPUTED.search(chr(last)):
                yield chr(last)


@cache
def _runs() -> tuple[tuple[str, int, int], ...]:
    """All code points as runs of one general category: which, from and up to."""
    found: list[tuple[str, int, int]] = []
    start, before = 0, unicodedata.category("\0")
    for number in range(1, sys.maxunicode + 2):
        category = "" if number > sys.maxunicode else unicodedata.category(chr(number))
        if category != before:
            found.append((before, start, number - 1))
            start, before = number, category
    return tuple(found)


def _spelled(tokenizer: Tokenizer) -> Iterator[str]:
    """Every added token between letters, spaces and its like."""
    for token in tokenizer.added.values():
        yield f"a{token}b {token} {token}{token}\n{token}1"
        yield f"x{token.upper()} {token.lower()}{token[:-1]}"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
