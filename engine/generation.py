"""A generation under way, as whoever asked for it holds it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from .request import PromptToken, Timings, Token
from .voice import Voice


@dataclass
class Generation:
    """A generation under way: iterate over it for its tokens, then read what it took.

    `prompts` has a list a request, which fills when its prefill is done if the request asked for
    prompt log-probabilities. Texts are decoded together and their tokens come interleaved.
    """

    timings: Timings
    prompts: list[list[PromptToken]]
    _tokens: Generator[Token] = field(repr=False)
    _voices: dict[tuple[int, int], Voice] = field(
        default_factory=dict[tuple[int, int], Voice], repr=False
    )

    def __iter__(self) -> Iterator[Token]:
        """The tokens, each once."""
        return self._tokens

    def rest(self) -> dict[tuple[int, int], tuple[str, tuple[float, ...]]]:
        """What is held back of each text under way, by request and sample, and how sure that is.

        For whoever breaks off: it could have become a stop text, or was half a character.
        """
        return {key: voice.rest() for key, voice in self._voices.items()}

    def close(self) -> None:
        """Break it off, if it isn't over: what was cached until now can then be reused."""
        self._tokens.close()

    @property
    def prompt(self) -> list[PromptToken]:
        """The first request's prompt."""
        return self.prompts[0]
