"""Encodes a prompt whose template's special tokens are tokens and whose quoted ones are text."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple, cast

from .. import InputError
from .quoting import Disguise
from .tokenizer import Tokenizer


class Place(NamedTuple):
    """A token in a text: its id, from which character and up to which."""

    id: int
    start: int
    end: int


class GuardedEncoder:
    """A second pipeline over the same vocabulary, in which chosen tokens can be switched off.

    The library takes special tokens in a text for text, but only all of them, and not the other
    tokens that are matched first, which some checkpoints mark turns with. Here `controls` are all
    special. Two stand-ins that are always matched hold the places of those that the template
    wrote, one for tokens matched before normalization and one for those after it; a third, the
    seam, stands for nothing and parts what must not be read together.
    """

    def __init__(self, tokenizer: Tokenizer, controls: Collection[str], avoid: str) -> None:
        """`controls` are added tokens of `tokenizer`; stand-ins have no character of `avoid`."""
        from tokenizers import AddedToken
        from tokenizers import Tokenizer as Library

        free = (chr(code) for code in range(0xE000, 0xF900) if chr(code) not in avoid)
        early, late, seam = self.stand_ins = next(free), next(free), next(free)
        own = cast("Any", tokenizer.pipeline)
        library = cast("Any", Library(own.model))
        if own.normalizer is not None:
            library.normalizer = own.normalizer
        if own.pre_tokenizer is not None:
            library.pre_tokenizer = own.pre_tokenizer
        added = list(own.get_added_tokens_decoder().values())
        library.add_tokens([token for token in added if token.content not in controls])
        library.add_special_tokens(
            [_special(token) for token in added if token.content in controls]
        )
        library.add_tokens(
            [AddedToken(word, normalized=word == late) for word in (early, late, seam)]
        )
        self.controls = {own.token_to_id(token): token for token in controls}
        self._library = library
        # Tokens that the model itself lacks got ids of their own here.
        here = library.get_added_tokens_decoder()
        self._ids = {id: own.token_to_id(token.content) for id, token in here.items()}
        self._seam = seam
        self._seam_id: int = library.token_to_id(seam)
        self._stand_in_ids = {library.token_to_id(early), library.token_to_id(late)}
        self._spelled_in = {
            own.token_to_id(token.content): late if token.normalized else early for token in added
        }
        unknown = {tokenizer.named_specials.get("unk_token"), getattr(own.model, "unk_token", None)}
        self._may_leak = {id for id, token in self.controls.items() if token not in unknown}

    def parse(self, text: str) -> list[Place]:
        """The tokens of `text`, its special ones read as such, and nothing put before them."""
        self._library.encode_special_tokens = False
        encoded = self._library.encode(text, add_special_tokens=False)
        return [
            Place(self._ids.get(id, id), *span)
            for id, span in zip(encoded.ids, encoded.offsets, strict=True)
        ]

    def encode(self, text: str, disguise: Disguise) -> list[int]:
        """The ids of a disguised `text`: what is disguised in it is read as plain text.

        Raises `InputError` where the vocabulary makes a special token out of plain text.
        """
        template, quotes = disguise.collapse(text)
        wrote = [place for place in self.parse(template) if place.id in self.controls]
        joined = self._join(template, wrote, quotes, disguise.mark)
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
        return ids

    def _encode_text(self, joined: str, expected: list[int]) -> tuple[list[int], set[int]]:
        """The ids of a text with stand-ins for `expected`, and controls that it made besides."""
        self._library.encode_special_tokens = True
        found: list[int] = self._library.encode(joined, add_special_tokens=False).ids
        waiting = iter(expected)
        ids: list[int] = []
        leaked: set[int] = set()
        for id in found:
            if id in self._stand_in_ids:
                ids.append(next(waiting))
            elif id != self._seam_id:
                ids.append(self._ids.get(id, id))
                leaked |= {ids[-1]} & self._may_leak
        return ids, leaked

    def _join(self, template: str, wrote: list[Place], quotes: list[str], mark: str) -> str:
        """The text with stand-ins for the tokens that `wrote` places, and the quotes put back."""
        parts: list[str] = []
        end = 0
        for place in wrote:
            parts += (template[end : place.start], self._spelled_in[place.id])
            end = place.end
        stretches = "".join([*parts, template[end:]]).split(mark)
        return stretches[0] + "".join(
            quote + stretch for quote, stretch in zip(quotes, stretches[1:], strict=True)
        )


def _special(token: Any) -> Any:
    from tokenizers import AddedToken

    return AddedToken(
        token.content,
        single_word=token.single_word,
        lstrip=token.lstrip,
        rstrip=token.rstrip,
        normalized=token.normalized,
        special=True,
    )
