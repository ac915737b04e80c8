"""Text as it comes, and with each of its characters how sure the tokens are that it is made of."""

from __future__ import annotations

import math

from .stream import Stream

Traced = tuple[str, list[float]]
"""Text, and a value for each of its characters."""


class TracedStream:
    """A stream whose tokens have values, which go on to the characters that they give.

    A character of several tokens takes the lowest. So does one that comes with a token that by
    itself gives no text.
    """

    def __init__(self, stream: Stream) -> None:
        """Text by `stream`, which nobody else may feed."""
        self._stream = stream
        self._values: list[float] = []  # of tokens that haven't become text wholly

    def push(self, id: int, value: float) -> Traced:
        """The text that is certain now that `id` has come."""
        if self._stream.speaks(id):
            self._values.append(value)
        return self._trace(self._stream.push(id))

    def finish(self) -> Traced:
        """What was held back, now that no more comes."""
        return self._trace(self._stream.finish())

    def _trace(self, text: str) -> Traced:
        if not text:
            return "", []
        ends = self._stream.ends()
        ends = [0] * (len(self._values) - len(ends)) + ends
        lowest = [math.inf] * len(text)
        begin = 0
        for value, end in zip(self._values, ends, strict=True):
            # One that completes no character has begun the next or goes on with it.
            for place in range(begin, min(max(end, begin + 1), len(text))):
                lowest[place] = min(lowest[place], value)
            begin = end
        # Bytes behind the last whole character are the last token's.
        self._values = self._values[-1:] if self._stream.pending else []
        return text, lowest
