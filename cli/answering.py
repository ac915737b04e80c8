"""Takes a generation's tokens as they come, until every answer is complete or broken off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .answers import Answer, Writer
from .confidence import colour
from .exits import Exit
from .signals import TimeUp, arrived
from .terminal import ClosedPipeError, StdoutError

if TYPE_CHECKING:
    from ..engine.generation import Generation
    from ..engine.request import Token


@dataclass(frozen=True)
class Answering:
    """Fills `answers`, and tells `writer`: as text or, without a tokenizer, as ids.

    `coloured` is --confidence, on something that shows colours.
    """

    answers: Sequence[Answer]
    writer: Writer
    has_text: bool = True
    coloured: bool = False

    def run(self, generation: Generation) -> Exit:
        """Take tokens as they come until every answer is complete or the time is up."""
        code, writer = Exit.DONE, self.writer
        try:
            writer.begin()
            try:
                for token in generation:
                    self._take(token)
            except TimeUp:
                arrived()
                code = Exit.TIMEOUT
                self._take_rest(generation)
            for answer in self.answers:
                answer.finish = answer.finish or ("timeout" if code else "length")
            writer.end()
        except (ClosedPipeError, StdoutError):
            raise
        except BaseException:
            arrived()
            self._take_rest(generation)
            writer.broken_off()
            raise
        return code

    def _take(self, token: Token) -> None:
        answer = self.answers[token.sample]
        text, sure = token.text, token.sure
        if not self.has_text:
            text = f"{' ' if answer.tokens else ''}{token.id}"
            sure = (token.logprob or 0.0,) * len(text)
        answer.tokens.append(token)
        answer.finish, answer.whole = token.finish, token.whole
        self._show(token.sample, text, sure)

    def _take_rest(self, generation: Generation) -> None:
        """What was held back of texts that are broken off."""
        for (_, sample), (text, sure) in generation.rest().items():
            self._show(sample, text, sure)

    def _show(self, sample: int, text: str, sure: Sequence[float]) -> None:
        answer = self.answers[sample]
        shown = colour(text, sure) if self.coloured else text
        answer.text += text
        answer.shown += shown
        self.writer.news(sample, shown)
