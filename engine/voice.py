"""From ids to text: whole characters, stop texts found and held back."""

from __future__ import annotations

from ..tokenizer.stream import Stream
from .loop import Emission
from .request import Request, Token
from .stop import StopMatcher


class Voice:
    """One sample's way from ids to text."""

    def __init__(self, stream: Stream | None, request: Request) -> None:
        """The voice of a sample of `request`; without a stream it is silent."""
        self._stream = stream
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
            text = "" if ends_silently else self._stream.push(emission.id)
            if sequence.finish is not None:
                text += self._stream.finish()
            text = self._matcher.push(text, len(sequence.generated) > self._stop.min_tokens)
            if self._matcher.stopped:
                sequence.finish = "stop"
                whole = self._whole_anyway
            elif sequence.finish is not None:
                text += self._matcher.finish()
                if sequence.finish == "stop" and self._stop.keep:
                    text += dict(self._stop.spelled).get(emission.id, "")
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
        )

    def rest(self) -> str:
        """What was held back, where the text breaks off."""
        if self._stream is None:
            return ""
        return self._matcher.push(self._stream.finish()) + self._matcher.finish()
