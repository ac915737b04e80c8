"""What every reader makes: a pipeline, and what its files say beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ... import ModelError

if TYPE_CHECKING:
    import tokenizers


class Encoder(Protocol):
    """Text to ids where the library's own pipeline would give others than the format's own."""

    def encode_batch(self, texts: list[str], parse: bool) -> list[list[int]]:
        """The ids of each text alone; special tokens spelled in it are parsed if `parse`."""
        ...

    def spans(self, text: str, parse: bool) -> list[tuple[int, int, int]]:
        """The ids of a text, each with the characters it stands for: from and up to."""
        ...

    def with_specials(self, specials: Sequence[Special]) -> Encoder:
        """The same, but with other special tokens; those that aren't `special` always match."""
        ...


@dataclass(frozen=True)
class Source:
    """Where a tokenizer was found: a file, and what the files beside it say of it."""

    file: Path
    config: Mapping[str, Any]
    """tokenizer_config.json over special_tokens_map.json."""
    model: Mapping[str, Any]
    """The checkpoint's config.json."""

    @property
    def kind(self) -> str | None:
        """Which tokenizer the files say it is: transformers' class, without "Fast"."""
        name = self.config.get("tokenizer_class")
        return name.removesuffix("Fast") if isinstance(name, str) else None

    def role(self, name: str) -> str | None:
        """The token that the config gives a role such as "bos_token"."""
        value = self.config.get(name)
        if isinstance(value, dict):
            value = cast("dict[str, Any]", value).get("content")
        return value if isinstance(value, str) else None

    @property
    def family(self) -> str | None:
        """The `model_type` of the checkpoint's config.json."""
        name = self.model.get("model_type")
        return name if isinstance(name, str) else None


def unknown_kind(source: Source) -> ModelError:
    """The refusal of a tokenizer whose class isn't known to read these files in a known way."""
    return ModelError(
        f"`{source.file}` is of a {source.kind}, and lmtool doesn't know how one splits a text",
        hint="`AutoTokenizer.from_pretrained(…).save_pretrained(…)` of transformers makes a "
        "tokenizer.json, which says it",
    )


@dataclass(frozen=True)
class Built:
    """A tokenizer that was read."""

    pipeline: tokenizers.Tokenizer
    format: str
    """What was read, in words."""
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the format itself says that tokenizer_config.json would say."""
    encoder: Encoder | None = None
    """Set where `pipeline` alone would not give the format's own ids."""


@dataclass(frozen=True)
class Special:
    """A token that is matched before anything else."""

    text: str
    id: int
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    single_word: bool = False


def place_specials(
    file: Path, vocabulary: dict[str, int], specials: Iterable[Special]
) -> list[Special]:
    """Give special tokens their ids in `vocabulary`; the list comes back without repetitions.

    The library numbers added tokens itself unless the model knows them, so the model gets them.
    Raises `ModelError` where an id or a spelling is taken by another token.
    """
    taken = {id: piece for piece, id in vocabulary.items()}
    placed: dict[str, Special] = {}
    for special in specials:
        owner, known = taken.get(special.id), vocabulary.get(special.text)
        if owner not in (None, special.text):
            raise ModelError(
                f"`{file}`: the special token {special.text!r} has the id {special.id}, "
                f"which is that of {owner!r}"
            )
        if known not in (None, special.id):
            raise ModelError(
                f"`{file}`: {special.text!r} has two ids, {known} and {special.id}",
            )
        if not special.text:
            raise ModelError(f"`{file}`: the special token {special.id} has no letters")
        vocabulary[special.text] = special.id
        taken[special.id] = special.text
        placed[special.text] = special
    return list(placed.values())


def add_specials(pipeline: Any, specials: Iterable[Special]) -> None:
    """Let the pipeline match special tokens, in the order of their ids."""
    from tokenizers import AddedToken

    for special in sorted(specials, key=lambda one: one.id):
        token = AddedToken(
            special.text,
            single_word=special.single_word,
            lstrip=special.lstrip,
            rstrip=special.rstrip,
            normalized=special.normalized,
            special=special.special,
        )
        (pipeline.add_special_tokens if special.special else pipeline.add_tokens)([token])
