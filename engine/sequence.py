"""A sample under way."""

from __future__ import annotations

from dataclasses import dataclass, field

from .request import Finish, Request


@dataclass
class Sequence:
    """One sample of a request: its ids so far, how many of them are cached, how it ended."""

    request: Request
    sample: int
    row: int
    cached: int = 0
    generated: list[int] = field(default_factory=list[int])
    finish: Finish | None = None

    @property
    def length(self) -> int:
        """Prompt and generated tokens together."""
        return len(self.request.ids) + len(self.generated)

    @property
    def pending(self) -> tuple[int, ...]:
        """Ids that aren't cached yet."""
        prompt = self.request.ids
        if self.cached >= len(prompt):
            return tuple(self.generated[self.cached - len(prompt) :])
        return (*prompt[self.cached :], *self.generated)

    def recent(self) -> tuple[int, ...]:
        """The ids that the repetition penalty looks at; none where it is off."""
        sampling = self.request.sampling
        if sampling.repetition == 1 or sampling.repeat_last == 0:
            return ()
        count = sampling.repeat_last if sampling.repeat_last > 0 else self.length
        generated = tuple(self.generated[-count:])
        missing = count - len(generated)
        return (*self.request.ids[-missing:], *generated) if missing else generated

    def accept(self, id: int, context: int) -> None:
        """Append a chosen id and see whether it ends the sample."""
        self.generated.append(id)
        stop, request = self.request.stop, self.request
        if id in stop.ids:
            self.finish = "stop"
        elif id in stop.eos:
            self.finish = "eos"
        elif request.max_new is not None and len(self.generated) >= request.max_new:
            self.finish = "length"
        elif self.length >= context:
            self.finish = "context"
