"""Guesses that are told beforehand, and texts made with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lmtool.engine.loop import Emission, Loop
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.request import Request, Sampling, Timings
from lmtool.engine.sequence import Sequence as Text
from lmtool.engine.speculate import Drafter, Guessing, Way
from reference.side_by_side import said

HOT = Sampling(temperature=1.5)
REQUEST = Request((1, 2, 3), 100, HOT)
"""A text that nothing ends before its length."""


@dataclass
class Scripted:
    """Guesses what it is told to for each place of a text, however wrong that is."""

    script: Sequence[int]
    guesses: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """How long the text was at each guess, and how long the guess."""

    def propose(self, sequence: Text, count: int) -> Sequence[int]:
        begin = len(sequence.generated)
        guess = self.script[begin : begin + count]
        self.guesses.append((begin, len(guess)))
        return guess


def guessed(drafter: Drafter, most: int = 8) -> Way:
    return Way(lambda: drafter, most)


def run(
    decoder: Decoder, request: Request, way: Way | None = None
) -> tuple[list[Emission], Timings]:
    timings = Timings()
    texts = said(Loop(decoder, [request], 200, timings, guessing=Guessing((way,)) if way else None))
    return texts[0, 0], timings
