"""The front door: a checkpoint opened for generation. The one file where text meets ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..tokenizer.tokenizer import Tokenizer
from .request import PromptToken, Request, Timings, Token

Overflow = Literal["error", "truncate-left"]


@dataclass(frozen=True)
class ModelCard:
    """What was loaded: the contract's "model" object."""

    name: str
    path: str
    family: str
    parameters: int
    dtype: str
    quant: str | None = None


@dataclass
class Generation:
    """A generation under way: iterate over it for its tokens, then read what it took.

    `prompt` fills when prefill is done, if the request asked for prompt log-probabilities.
    Samples are decoded together and their tokens come interleaved.
    """

    timings: Timings
    prompt: list[PromptToken] = field(default_factory=list[PromptToken])

    def __iter__(self) -> Iterator[Token]: ...


class Session:
    """A loaded checkpoint: `tokenizer` (None if the folder has none), `context` length in tokens,
    `eos` ids of all sources joined, `defaults` of generation_config.json, `card`.
    """

    tokenizer: Tokenizer | None
    context: int
    eos: frozenset[int]
    defaults: dict[str, Any]
    card: ModelCard

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        context: int | None = None,
        threads: int | None = None,
    ) -> Session:
        """Open the checkpoint folder at `path`.

        Raises `ModelError` (missing, damaged, unsupported), `UsageError` (no such device).
        """
        raise AssertionError

    def fit(
        self, ids: Sequence[int], max_new: int | None, overflow: Overflow
    ) -> tuple[tuple[int, ...], int]:
        """`ids` cut to leave room for an answer in the context, and how many were dropped.

        Raises `InputError` with both counts where they don't fit and `overflow` is "error", and
        for an empty prompt or an id outside the vocabulary.
        """
        raise AssertionError

    def generate(self, request: Request) -> Generation:
        """Start on `request`; nothing runs before the first token is asked for."""
        raise AssertionError
