"""From ids to text: whole characters, stop texts found and held back."""

from __future__ import annotations

import math
from collections import deque

from ..tokenizer.stream import Stream
from ..tokenizer.traced import TracedStream
from .loop import Emission
from .request import Request, Token
from .stop import StopMatcher


class Voice:
    """One sample's way from ids to text."""

    def __init__(self, stream: Stream | None, request: Request) -> None:
        """The voice of a sample of `request`; without a stream it is silent."""
        self._stream = stream
        self._traced = TracedStream(stream) if stream and request.traced else None
        self._sure: deque[float] = deque()  # of characters that the matcher holds back
        self._stop = request.stop
        self._whole_anyway = request.grammar is None  # a stop text cuts a grammar's text off
        self._matcher = StopMatcher(request.stop.texts, request.stop.keep)

    def say(self, emission: Emission) -> Token:
        """The token to stream for an emission; a stop text found in it ends the sequence."""
        sequence = emission.sequence
        ends = emission.id in self._stop.eos or emission.id in self._stop.ids
        ends_silently = ends and sequence.finish is not None and not self._stop.keep
        text, whole = "", sequence.whole
        if self._stream is not None:
            text = "" if ends_silently else self._push(emission)
            if sequence.finish is not None:
                text += self._finish()
            text = self._matcher.push(text, len(sequence.generated) > self._stop.min_tokens)
            if self._matcher.stopped:
                sequence.finish = "stop"
                whole = self._whole_anyway
            elif sequence.finish is not None:
                text += self._matcher.finish()
                if sequence.finish == "stop" and self._stop.keep:
                    text += self._spell(emission)
        return Token(
            sequence.sample,
            emission.id,
            text,
            emission.logprob,
            emission.top,
            sequence.finish,
            sequence.number,
            whole,
            sequence.dropped,
            self._sure_of(text),
        )

    def rest(self) -> tuple[str, tuple[float, ...]]:
        """What was held back, where the text breaks off, and how sure it is: see `Token.sure`."""
        text = self._matcher.push(self._finish()) + self._matcher.finish()
        return text, self._sure_of(text)

    def _push(self, emission: Emission) -> str:
        if self._traced is None:
            return self._stream.push(emission.id) if self._stream else ""
        text, sure = self._traced.push(emission.id, _value(emission))
        self._sure.extend(sure)
        return text

    def _finish(self) -> str:
        if self._traced is None:
            return self._stream.finish() if self._stream else ""
        text, sure = self._traced.finish()
        self._sure.extend(sure)
        return text

    def _spell(self, emission: Emission) -> str:
        """The stop text that a special token was named by."""
        text = dict(self._stop.spelled).get(emission.id, "")
        if self._traced is not None:
            self._sure.extend([_value(emission)] * len(text))
        return text

    def _sure_of(self, text: str) -> tuple[float, ...]:
        """How sure the next characters are, if anybody asks."""
        return tuple(self._sure.popleft() for _ in text) if self._traced is not None else ()


def _value(emission: Emission) -> float:
    return -math.inf if emission.logprob is None else emission.logprob
