"""How tokens become what is printed: text as it streams, or one JSON object a sample."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from .settings import Setting
from .sink import Sink

if TYPE_CHECKING:
    from ..engine.fit import Fit
    from ..engine.request import Candidate, PromptToken, Timings, Token
    from ..engine.session import ModelCard

PARTING = "---\n"
"""The line between two samples in text."""


@dataclass
class Answer:
    """One sample as it grows; `whole` unless a grammar asks for more."""

    text: str = ""
    tokens: list[Token] = field(default_factory=list["Token"])
    finish: str | None = None
    seed: int = 0
    """What gives this text alone, as the only sample."""
    whole: bool = True
    shown: str = ""
    """The text as it is printed: perhaps in colour."""

    @property
    def shifts(self) -> tuple[int, int]:
        """How often the context was full, and how many tokens have left it."""
        counts = {token.shifted for token in self.tokens} - {0}
        return len(counts), max(counts, default=0)


@dataclass(frozen=True)
class Prompt:
    """What was asked: the text (None without a tokenizer) and the ids that the model sees.

    `fit` tells which those are of all that were given.
    """

    text: str | None
    ids: tuple[int, ...]
    fit: Fit


class Writer(Protocol):
    """Takes answers' news and writes them where they belong."""

    def begin(self) -> None:
        """Nothing is decoded yet."""
        ...

    def news(self, sample: int, text: str) -> None:
        """Sample number `sample` has grown; `text` is what its `shown` has gained."""
        ...

    def end(self) -> None:
        """Every answer has its `finish`."""
        ...

    def broken_off(self) -> None:
        """There will be no more, and not every answer is complete."""
        ...


@dataclass
class TextWriter:
    """Text in the order of samples: the first that isn't finished is live, later ones wait.

    `closing` is what ends the last text: a line break on a terminal, else nothing. Several
    samples each end with a line break and are parted by a line `---`.
    """

    sink: Sink
    answers: Sequence[Answer]
    opening: str = ""
    """What every sample begins with: the prompt, for --echo."""
    live: bool = True
    closing: str = ""
    _current: int = 0
    _started: bool = False

    def begin(self) -> None:
        """See `Writer`."""
        if self.live:
            self._start()

    def news(self, sample: int, text: str) -> None:
        """See `Writer`."""
        if not self.live:
            return
        if sample == self._current and text:
            self.sink.write(text)
        while self._current < len(self.answers) - 1 and self.answers[self._current].finish:
            self._next()

    def end(self) -> None:
        """See `Writer`."""
        if not self.live:
            self.live = True
            self._start(self.answers[0].shown)
        while self._current < len(self.answers) - 1:
            self._next()
        self.sink.write("\n" if len(self.answers) > 1 else self.closing)

    def broken_off(self) -> None:
        """See `Writer`."""
        if not self.live:
            self._start(self.answers[0].shown)
        self.sink.write(self.closing)

    def _start(self, text: str = "") -> None:
        if self.opening or text:
            self.sink.write(self.opening + text)

    def _next(self) -> None:
        self._current += 1
        self.sink.write("\n" + PARTING)
        self._start(self.answers[self._current].shown)


@dataclass
class JsonWriter:
    """Complete objects only: one a line as samples finish, or one document at the end."""

    sink: Sink
    answers: Sequence[Answer]
    describe: Callable[[Answer], Mapping[str, Any]]
    lines: bool = False
    _written: int = 0

    def begin(self) -> None:
        """See `Writer`."""

    def news(self, sample: int, text: str) -> None:
        """See `Writer`."""
        while self.lines and self._written < len(self.answers):
            answer = self.answers[self._written]
            if answer.finish is None:
                return
            self._written += 1
            self.sink.write(as_json(self.describe(answer)) + "\n")

    def end(self) -> None:
        """See `Writer`."""
        if self.lines:
            self.news(0, "")
            return
        objects = [_by_the_line(self.describe(answer)) for answer in self.answers]
        document = "[\n" + ",\n".join(objects) + "\n]" if len(objects) > 1 else objects[0]
        self.sink.write(document + "\n")

    def broken_off(self) -> None:
        """See `Writer`."""


def as_json(value: Any) -> str:
    """JSON that any reader takes: no NaN, whole characters as they are."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _by_the_line(value: Mapping[str, Any]) -> str:
    """A JSON object with a line for each of its own keys, and no line breaks below that."""
    entries = (f"  {as_json(key)}: {as_json(entry)}" for key, entry in value.items())
    return "{\n" + ",\n".join(entries) + "\n}"


@dataclass(frozen=True)
class Describer:
    """Everything that an answer's JSON object tells besides the answer."""

    prompt: Prompt
    seed: int
    timings: Timings
    card: ModelCard
    settings: Mapping[str, Setting[Any]]
    has_text: bool
    token_text: Callable[[int], str | None]
    echo: bool = False
    logprobs: bool = False
    prompt_tokens: Sequence[PromptToken] = ()

    def __call__(self, answer: Answer) -> dict[str, Any]:
        """The contract's object for `answer`."""
        text = (self.prompt.text or "") + answer.text if self.echo else answer.text
        found: dict[str, Any] = {
            "text": text if self.has_text else None,
            "prompt": self.prompt.text,
            "prompt_token_ids": list(self.prompt.ids),
            "token_ids": [token.id for token in answer.tokens],
            "finish_reason": answer.finish,
            "seed": answer.seed,
            "usage": {
                "prompt_tokens": len(self.prompt.ids),
                "completion_tokens": len(answer.tokens),
            },
            "timings": timings_json(self.timings),
            "model": asdict(self.card),
            "settings": {
                name: {"value": one.value, "source": one.source}
                for name, one in self.settings.items()
            },
        }
        if cut := self._cut(answer):
            found["cut"] = cut
        if self.logprobs:
            prompt = self.prompt_tokens if self.echo else ()
            found["logprobs"] = [self.logprob_json(token) for token in (*prompt, *answer.tokens)]
        return found

    def _cut(self, answer: Answer) -> dict[str, Any]:
        """What didn't fit the context: of the prompt, and of the text while it was written."""
        found: dict[str, Any] = {}
        fit = self.prompt.fit
        if fit.dropped:
            found["prompt"] = {"tokens": fit.dropped, "at": fit.head, "of": fit.total}
        times, tokens = answer.shifts
        if times:
            found["shifts"] = {"tokens": tokens, "times": times}
        return found

    def logprob_json(self, token: Token | PromptToken) -> dict[str, Any]:
        """A token's entry in "logprobs"; `logprob` is null for a prompt's first token."""
        return {**self._chosen(token), "top": [self._chosen(other) for other in token.top]}

    def _chosen(self, one: Token | PromptToken | Candidate) -> dict[str, Any]:
        known = one.logprob is not None and math.isfinite(one.logprob)  # JSON has no -inf
        logprob = one.logprob if known else None
        return {"id": one.id, "token": self.token_text(one.id), "logprob": logprob}


def timings_json(timings: Timings) -> dict[str, float | None]:
    """The contract's "timings"."""
    return {
        "load_s": round(timings.load_s, 4),
        "prefill_s": round(timings.prefill_s, 4),
        "decode_s": round(timings.decode_s, 4),
        "prefill_tokens_per_s": _rounded(timings.prefill_tokens_per_s),
        "decode_tokens_per_s": _rounded(timings.decode_tokens_per_s),
    }


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 2)
