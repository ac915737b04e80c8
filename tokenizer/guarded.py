"""Encodes a prompt whose template's special tokens are tokens and whose quoted ones are text."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, cast

from .. import InputError
from .formats.built import Special
from .plain import without
from .quoting import Disguise
from .tokenizer import Place, Tokenizer


class GuardedEncoder:
    """A second pipeline over the same vocabulary, in which chosen tokens can be switched off.

    The library takes special tokens in a text for text, but only all of them, and not the other
    tokens that are matched first, which some checkpoints mark turns with. Here `controls` are all
    special. Stand-ins that are always matched, and in the same way, hold the places of those that
    the template wrote; one of them, the seam, stands for nothing and parts what must not be read
    together.
    """

    def __init__(self, tokenizer: Tokenizer, controls: Collection[str], avoid: str) -> None:
        """`controls` are added tokens of `tokenizer`; stand-ins have no character of `avoid`."""
        from tokenizers import Tokenizer as Library

        own = cast("Any", tokenizer.pipeline)
        library = cast("Any", Library(own.model))
        self._encoder = tokenizer.encoder
        if own.normalizer is not None:
            library.normalizer = own.normalizer
        if own.pre_tokenizer is not None:
            library.pre_tokenizer = own.pre_tokenizer
        added = list(own.get_added_tokens_decoder().values())
        library.add_tokens([token for token in added if token.content not in controls])
        library.add_special_tokens([_like(token) for token in added if token.content in controls])
        free = (chr(code) for code in range(0xE000, 0xF900) if chr(code) not in avoid)
        stand_ins = {_flags(token): next(free) for token in added if token.content in controls}
        self._seam = next(free)
        self.private = (self._seam, *stand_ins.values())
        for flags, letter in stand_ins.items():
            survives = own.normalizer is None or letter in own.normalizer.normalize_str(letter)
            library.add_tokens([_stand_in(letter, *flags, survives)])
        library.add_tokens([_stand_in(self._seam, False, False, False)])
        library.model = without(own.model, [*map(own.token_to_id, controls)])
        self.controls = {own.token_to_id(token): token for token in controls}
        self._library = library
        # Tokens that the model itself lacks got ids of their own here.
        here = library.get_added_tokens_decoder()
        self._ids = {id: own.token_to_id(token.content) for id, token in here.items()}
        self._seam_id: int = library.token_to_id(self._seam)
        self._stand_in_ids: set[int] = {library.token_to_id(word) for word in stand_ins.values()}
        self._spelled_in = {
            own.token_to_id(token.content): stand_ins[_flags(token)]
            for token in added
            if token.content in controls
        }
        self._unknown = {token.id for token in own.model.tokenize(next(free))}
        if tokenizer.encoder is not None:
            self._encoder = tokenizer.encoder.with_specials(
                [_as_special(token, id) for id, token in here.items()]
            )

    def parse(self, text: str) -> list[Place]:
        """The tokens of `text`, its special ones read as such, and nothing put before them."""
        if self._encoder is not None:
            spans = self._encoder.spans(text, parse=True)
            return [Place(self._ids.get(id, id), start, end) for id, start, end in spans]
        self._library.encode_special_tokens = False
        encoded = self._library.encode(text, add_special_tokens=False)
        return [
            Place(self._ids.get(id, id), *span)
            for id, span in zip(encoded.ids, encoded.offsets, strict=True)
        ]

    def encode(self, text: str, disguise: Disguise) -> tuple[list[int], list[Place]]:
        """The ids of a disguised `text`, in which what is disguised is plain text.

        And the special tokens among them, with where they are in the text without its disguise.
        Raises `InputError` where the vocabulary makes a special token out of plain text.
        """
        template, quotes = disguise.collapse(text)
        wrote = self.specials(template)
        joined, places = self._join(template, wrote, quotes, disguise.mark)
        expected = [place.id for place in wrote]
        ids, leaked = self._encode_text(joined, expected)
        if leaked:  # the model itself has the token for a piece: don't let it see it whole
            for token in self.controls.values():
                joined = joined.replace(token, token[0] + self._seam + token[1:])
            ids, leaked = self._encode_text(joined, expected)
        if leaked:
            raise InputError(
                f"the tokenizer makes the special token {self.controls[leaked.pop()]} out of text",
                hint="leave it out of the message",
            )
        return ids, places

    def specials(self, text: str) -> list[Place]:
        """The special tokens that `text` spells."""
        return [place for place in self.parse(text) if self._is_spelled(place, text)]

    def _is_spelled(self, place: Place, text: str) -> bool:
        """Whether a token is a control, and not merely what stands for unknown letters."""
        if place.id in self._unknown:
            return self.controls.get(place.id, "\0") in text[place.start : place.end]
        return place.id in self.controls

    def _encode_text(self, joined: str, expected: list[int]) -> tuple[list[int], set[int]]:
        """The ids of a text with stand-ins for `expected`, and controls that it made besides."""
        if self._encoder is not None:
            found = self._encoder.encode_batch([joined], parse=False)[0]
        else:
            self._library.encode_special_tokens = True
            found = self._library.encode(joined, add_special_tokens=False).ids
        waiting = iter(expected)
        ids: list[int] = []
        leaked: set[int] = set()
        for id in found:
            if id in self._stand_in_ids:
                ids.append(next(waiting))
            elif id != self._seam_id:
                ids.append(self._ids.get(id, id))
                leaked |= {ids[-1]} & self.controls.keys() - self._unknown
        return ids, leaked

    def _join(
        self, template: str, wrote: list[Place], quotes: list[str], mark: str
    ) -> tuple[str, list[Place]]:
        """The text with its quotes and stand-ins for the tokens `wrote`, and where those were."""
        waiting = iter(quotes)
        parts: list[str] = []
        places: list[Place] = []
        end = length = 0
        for place in wrote:
            between = re.sub(mark, lambda _: next(waiting), template[end : place.start])
            token, found = self.controls[place.id], template[place.start : place.end]
            # A token can take the spaces around it, and so will its stand-in.
            parts += (between, found.replace(token, self._spelled_in[place.id]))
            length += len(between)
            places.append(Place(place.id, length, length + place.end - place.start))
            length, end = places[-1].end, place.end
        parts.append(re.sub(mark, lambda _: next(waiting), template[end:]))
        return "".join(parts), places


def _flags(token: Any) -> tuple[bool, bool, bool]:
    """How a token is matched: taking spaces on the left, on the right, after normalization."""
    return token.lstrip, token.rstrip, token.normalized


def _stand_in(
    letter: str, lstrip: bool, rstrip: bool, normalized: bool, survives: bool = True
) -> Any:
    from tokenizers import AddedToken

    # A normalizer that drops private characters must not see it.
    normalized = normalized and survives
    return AddedToken(letter, lstrip=lstrip, rstrip=rstrip, normalized=normalized)


def _as_special(token: Any, id: int) -> Special:
    return Special(
        token.content,
        id,
        token.special,
        token.lstrip,
        token.rstrip,
        token.normalized,
        token.single_word,
    )


def _like(token: Any) -> Any:
    """`token`, but special."""
    from tokenizers import AddedToken

    return AddedToken(
        token.content,
        single_word=token.single_word,
        lstrip=token.lstrip,
        rstrip=token.rstrip,
        normalized=token.normalized,
        special=True,
    )
