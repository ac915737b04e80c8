"""The same ids many times as fast, for corpora: by gigatoken, where it has proved to agree.

tokenizers is the reference for what a tokenizer.json means. Before another library is trusted with
a tokenizer, both encode a probe: letters of every kind and range in every position that splitting
depends on, spaces, line breaks and digits in runs, contractions, and each added token.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from .cut import cut_text
from .pieces import steps_of
from .tokenizer import Special, Tokenizer
from .training.letters import DISPUTED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORTH_IT = 1 << 20
"""Bytes of text from which on proving pays."""
RENEW = 1 << 30
"""Letters after which the encoder is made anew: it remembers every word that it has seen."""
SHORT = 1 << 12
"""Characters around a letter in doubt that tokenizers encodes."""
BORDER = "\U000f1e2d\U000f1e2e\U0010f1e2d"
"""Put between texts; of private letters, so that hardly a text has it itself."""

# Beyond it are tags and private letters alone, of which there are some below as well.
_LAST = 0x3FFFF

# Pictographs, known or not, are neither letters nor digits to anyone.
_DOUBTFUL = re.compile(f"(?![\U0001f000-\U0001faff])(?:{DISPUTED.pattern})")


class FastEncoder:
    """Encodes texts alone, nothing put before or after, to arrays of ids; threads may share it.

    `name` is the library that does it, "gigatoken" or "tokenizers", and `reason` why it isn't the
    first, if so.
    """

    def __init__(self, tokenizer: Tokenizer, special: Special, size: int | None = None) -> None:
        """For about `size` bytes of text (None: unknown): proving must pay."""
        self._tokenizer = tokenizer
        self._special: Special = special
        self._border_id = tokenizer.vocab_size
        self._passed = 0
        self.reason: str | None = None
        self._json = ""
        self._encoder: Any = None
        if size is not None and size < WORTH_IT:
            self.reason = "the text is too short for a proof to pay"
        else:
            self._encoder = self._proved()

    @property
    def name(self) -> str:
        """The library that encodes."""
        return "tokenizers" if self._encoder is None else "gigatoken"

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """The ids of each text, uint32."""
        encoder = self._encoder
        if encoder is None:
            return self._encode_exactly(texts)
        self._passed += sum(map(len, texts))
        if self._passed > RENEW:
            self._encoder, self._passed = _load(self._json), 0
        if all(map(str.isascii, texts)):
            return self._encode_joined(encoder, texts)
        doubtful = [_is_doubtful(text) for text in texts]
        sure = [text for text, doubt in zip(texts, doubtful, strict=True) if not doubt]
        found = iter(self._encode_joined(encoder, sure))
        return [
            self._encode_doubtful(encoder, text) if doubt else next(found)
            for text, doubt in zip(texts, doubtful, strict=True)
        ]

    def agrees(self, texts: Sequence[str]) -> bool:
        """Whether both libraries give `texts` the same ids; if not, tokenizers does it from now on.

        For a sample of what is really encoded.
        """
        if self._encoder is None or _same(self.encode(texts), self._encode_exactly(texts)):
            return True
        self.distrust("gigatoken gave other ids for a sample of the text")
        return False

    def distrust(self, reason: str) -> None:
        """Leave everything to tokenizers from now on."""
        self._encoder, self.reason = None, reason

    def _encode_joined(self, encoder: Any, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        """Many texts at once with a token of our own between them: calls cost more than texts."""
        import numpy as np

        if len(texts) <= 1:
            return [encoder.encode(text.encode()) for text in texts]
        joined = BORDER.join(texts)
        if joined.count(BORDER) >= len(texts):  # a text has it too
            return [encoder.encode(text.encode()) for text in texts]
        ids = encoder.encode(joined.encode())
        borders = np.flatnonzero(ids == self._border_id).tolist()
        starts = [0, *(place + 1 for place in borders)]
        return [ids[start:end] for start, end in zip(starts, [*borders, len(ids)], strict=True)]

    def _encode_doubtful(self, encoder: Any, text: str) -> NDArray[np.uint32]:
        """Letters that the libraries know differently are left to tokenizers, with those around."""
        import numpy as np

        found = [
            self._encode_exactly([part])[0] if _is_doubtful(part) else encoder.encode(part.encode())
            for part in cut_text(text, self._tokenizer.cutter, SHORT)
        ]
        return np.concatenate(found)

    def _encode_exactly(self, texts: Sequence[str]) -> list[NDArray[np.uint32]]:
        import numpy as np

        found = self._tokenizer.encode_plain(texts, self._special)
        return [np.array(ids, np.uint32) for ids in found]

    def _proved(self) -> Any:
        """gigatoken's encoder if it gives the probe the ids that it should have, else None."""
        if self._tokenizer.encoder is not None:
            self.reason = f"{self._tokenizer.format}: no library but its own gives the same ids"
            return None
        self.reason = _known_fault(self._tokenizer, self._special)
        if self.reason is not None:
            return None
        self._json = _as_gigatoken_takes_it(self._tokenizer, self._special, self._border_id)
        try:
            encoder = _load(self._json)
        except ImportError:
            self.reason = "gigatoken isn't installed"
            return None
        except BaseException as error:  # of many kinds, and none of them is ours
            if not _is_a_librarys(error):
                raise
            said = " ".join(str(error).split())
            self.reason = f"gigatoken doesn't take this tokenizer: {said[:120]}"
            return None
        texts = [*_probe(), *_spelled(self._tokenizer)]
        exact = self._encode_exactly(texts)
        try:
            joined = self._encode_joined(encoder, texts)
            alone = [encoder.encode(text.encode()) for text in texts[-8:]]
        except BaseException as error:
            if not _is_a_librarys(error):
                raise
            self.reason = f"gigatoken fails on the probe: {str(error)[:120]}"
            return None
        if _same(joined, exact) and _same(alone, exact[-8:]):
            return encoder
        self.reason = "gigatoken gives other ids for the probe"
        return None


def _same(some: list[NDArray[np.uint32]], others: list[NDArray[np.uint32]]) -> bool:
    import numpy as np

    return len(some) == len(others) and all(map(np.array_equal, some, others))


def _is_doubtful(text: str) -> bool:
    return not text.isascii() and _DOUBTFUL.search(text) is not None


def _known_fault(tokenizer: Tokenizer, special: Special) -> str | None:
    """What of the tokenizer gigatoken is known to see differently, or nobody has compared."""
    added = tokenizer.pipeline.get_added_tokens_decoder().values()
    kept = [token for token in added if special == "parse" or not token.special]
    if any(token.lstrip or token.rstrip or token.single_word for token in kept):
        return "it has added tokens that take spaces, or are whole words only"
    normalizes = bool(steps_of(cast("Any", tokenizer.pipeline).normalizer, "normalizers"))
    if normalizes and any(token.normalized and token.content.strip(" ") for token in kept):
        return "it has added tokens that are looked for in normalized text"
    # Where special tokens are text, tokenizers still finds them, and nothing that overlaps them.
    left_out = {token.content for token in added} - {token.content for token in kept}
    if any(_overlaps(token.content, other) for token in kept for other in left_out):
        return "it has added tokens that overlap its special ones"
    return None


def _overlaps(token: str, special: str) -> bool:
    """Whether `token` can begin after the start of `special` and before its end."""
    if token[0] not in special[1:]:
        return False
    return token in special or any(
        special.endswith(token[:count]) for count in range(1, min(len(token), len(special)))
    )


def _is_a_librarys(error: BaseException) -> bool:
    """Whether it is no signal: a mistake that Rust meets in itself is no `Exception` either."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _load(source: str) -> Any:
    from gigatoken import gigatoken_rs

    return cast("Any", gigatoken_rs).load_hf_json(source)


def _as_gigatoken_takes_it(tokenizer: Tokenizer, special: Special, border: int) -> str:
    """The tokenizer.json without special tokens where these are text like any other."""
    pipeline = tokenizer.plain if special == "text" else tokenizer.pipeline
    state: dict[str, Any] = json.loads(pipeline.to_str())
    if special == "text":
        state["added_tokens"] = [one for one in state["added_tokens"] if not one["special"]]
    state["added_tokens"].append(
        {"id": border, "content": BORDER, "special": True, "normalized": False}
        | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    )
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
            yield from (letter for letter in map(chr, some) if not _DOUBTFUL.search(letter))
            if not _DOUBTFUL.search(chr(last)):
                yield chr(last)


@cache
def _runs() -> tuple[tuple[str, int, int], ...]:
    """Code points up to `_LAST` as runs of one general category: which, from and up to."""
    found: list[tuple[str, int, int]] = []
    start, before = 0, unicodedata.category("\0")
    for number in range(1, _LAST + 2):
        category = "" if number > _LAST else unicodedata.category(chr(number))
        if category != before:
            found.append((before, start, number - 1))
            start, before = number, category
    return tuple(found)


def _spelled(tokenizer: Tokenizer) -> Iterator[str]:
    """Every added token between letters, spaces and its like."""
    for token in tokenizer.added.values():
        yield f"a{token}b {token} {token}{token}\n{token}1"
        yield f"x{token.upper()} {token.lower()}{token[:-1]}"
