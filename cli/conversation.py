"""A talk under way: each message goes through the chat template, each answer comes as it is made.

The model's keys and values stay cached between turns, so that a turn reads only what is new.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from .. import InputError, LmtoolError
from .live_settings import LiveSettings
from .sampling_options import LARGEST_SEED
from .settings import Setting, listed
from .signals import Stopping, arrived, stoppable
from .talk import Lineage, Said, Talk
from .terminal import Terminal

if TYPE_CHECKING:
    from ..engine.generation import Generation
    from ..engine.kept import KeptCache
    from ..engine.request import Request, Sampling
    from ..engine.session import Session
    from ..tokenizer.chat import ChatPrompt, ChatTemplate, Message
    from ..tokenizer.tokenizer import Tokenizer

Outcome = Literal["answered", "cut", "taken back"]
"""How a turn ended: with an answer, with a part of one, or before any, as if nothing was said."""


@dataclass
class Conversation:
    """A talk, and the model that answers in it.

    `variables` are what the template may look at besides the messages; `patient` says that Ctrl-C
    stops an answer, and not the command.
    """

    session: Session
    tokenizer: Tokenizer
    template: ChatTemplate
    settings: LiveSettings
    terminal: Terminal
    kept: KeptCache | None = None
    variables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    patient: bool = True
    talk: Talk = field(default_factory=Talk)
    _lineage: Lineage = field(default_factory=Lineage)
    _retries: int = 0

    def ask(self, text: str) -> Outcome:
        """Say `text`, and let the answer stream to stdout.

        Raises `LmtoolError` where there is none; the talk is then as it was before.
        """
        self._retries = 0
        self.talk.said.append(Said("user", text))
        return self._answer(len(self.talk.said) - 1)

    def retry(self) -> Outcome | None:
        """Another answer to the last message, by the next seed; None if there is no message."""
        before = list(self.talk.said)
        if not self.talk.take_answer():
            return None
        self._retries += len(before) > len(self.talk.said)
        try:
            outcome = self._answer(len(self.talk.said))
        except BaseException:
            self.talk.said[:] = before
            raise
        if outcome == "taken back":
            self.talk.said[:] = before
        return outcome

    def begin(self, talk: Talk, settings: LiveSettings) -> None:
        """Go on with another talk. What of it is cached by chance is still reused."""
        self.talk, self.settings, self._retries = talk, settings, 0

    def effective(self) -> dict[str, Setting[Any]]:
        """The settings by name, as the next answer will have them."""
        settings = self.settings
        chosen = settings.sampling.completed(self.session.defaults)
        if chosen.seed.source == "random":
            chosen = replace(chosen, seed=settings.sampling.seed)
        return listed(chosen, settings.stops, settings.turn)

    def warn_of_idle(self) -> None:
        """Say which settings do nothing beside the others."""
        asked = self.settings.sampling
        for line in asked.without_effect(asked.completed(self.session.defaults)):
            self.terminal.warn(line)

    def draw_seed(self) -> int:
        """The talk's seed, drawn and said if nobody chose one."""
        chosen = self.settings.sampling.completed(self.session.defaults)
        mine = self.settings.sampling.seed
        if chosen.seed.source == "random" and chosen.seed != mine:
            sampling = replace(self.settings.sampling, seed=chosen.seed)
            self.settings = replace(self.settings, sampling=sampling)
            self.terminal.note(f"seed: {chosen.seed.value}")
        return chosen.seed.value

    def _answer(self, before: int) -> Outcome:
        """Answer the last message; where that fails, the talk goes back to `before` messages."""
        forgotten = self.talk.forgotten
        said: Said | None = None
        try:
            request = self._request()
            said = self._speak(request)
        finally:
            if said is None:
                del self.talk.said[before:]
                self.talk.forgotten = forgotten
        if said is None:
            return "taken back"
        self.talk.said.append(said)
        return "cut" if said.finish == "cut" else "answered"

    def _request(self) -> Request:
        from ..engine.request import Request
        from .stops import stop_for

        stops = self.settings.stops
        return Request(
            ids=self._prompt(),
            max_new=stops.most,
            sampling=self._sampling(),
            stop=stop_for(self.session, stops, stops.texts()),
        )

    def _sampling(self) -> Sampling:
        """How to choose tokens: each retry as the next of several samples."""
        seed = self.draw_seed() + self._retries
        chosen = self.settings.sampling.completed(self.session.defaults)
        if self._retries and chosen.temp.value > 0:
            self.terminal.note(f"seed: {seed}")
        elif self._retries:
            self.terminal.note("temperature 0 gives the same answer again: /set temp 0.8")
        seed = min(seed, LARGEST_SEED)
        return replace(chosen, seed=Setting(seed)).for_engine(self.session)

    def _prompt(self) -> tuple[int, ...]:
        """The talk's ids. Oldest turns are dropped where it is too long and --overflow says so."""
        context, limit, dropped = self.session.context, self.session.context - 1, 0
        while True:
            ids = self._lineage.onto(self._encode().ids, self._spell)
            if len(ids) <= limit:
                break
            if self.settings.turn.overflow.value == "error":
                raise InputError(
                    f"with this message the talk has {len(ids):,} tokens, the context {context:,}: "
                    "no room is left for an answer",
                    hint="/reset begins anew, /undo takes the last turn back, "
                    "`/set overflow truncate-left` drops the oldest",
                )
            before = self.talk.forgotten
            if not self.talk.forget():
                if len(ids) < context:
                    break
                raise InputError(
                    f"this message alone has {len(ids):,} tokens, the context {context:,}: "
                    "no room is left for an answer",
                    hint="shorten it",
                )
            dropped += self.talk.forgotten - before
            limit = context // 2  # or every turn from now on would be read anew
        if dropped:
            self.terminal.warn(
                f"the oldest {dropped} messages are left out, to fit the context of {context:,}"
            )
        return ids

    def _encode(self) -> ChatPrompt:
        from ..tokenizer.chat import Message

        talk, turn = self.talk, self.settings.turn
        messages: list[Message] = []
        if talk.system is not None:
            messages.append(Message("system", talk.system))
        messages += [Message(one.role, one.content) for one in talk.seen]
        return self.template.encode(
            messages,
            variables=self.variables,
            bos=turn.bos.value,
            special=turn.special.value,
        )

    def _spell(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special=False)

    def _speak(self, request: Request) -> Said | None:
        """The answer, written to stdout as it comes; None if it was stopped before it began."""
        generation = self.session.generate(request, self.kept)
        heard = _Heard(self.terminal.out)
        try:
            if self.patient:
                with stoppable() as stopping:
                    self._listen(generation, heard, stopping)
            else:
                self._listen(generation, heard, Stopping())
        except KeyboardInterrupt:
            if not self.patient:
                raise
            arrived()
            heard.finish = "cut"
        except LmtoolError:
            heard.end()
            raise
        finally:
            generation.close()
        if heard.finish == "cut":
            heard.take("".join(text for text, _ in generation.rest().values()))
        if not heard.ids:
            return None
        special = self.tokenizer.special_ids
        self._lineage.grow(request.ids, heard.answer(request.stop.eos), special)
        heard.end()
        self._tell(generation, heard)
        return Said("assistant", heard.text, heard.finish)

    def _listen(self, generation: Generation, heard: _Heard, stopping: Stopping) -> None:
        for token in generation:
            heard.ids.append(token.id)
            heard.finish = token.finish
            heard.take(token.text)
            stopping.at_once = False
            if stopping.asked and token.finish is None:
                heard.finish = "cut"
                return

    def _tell(self, generation: Generation, heard: _Heard) -> None:
        """How it went, as far as it was asked for; and always if there would have been more."""
        timings, terminal = generation.timings, self.terminal
        reused = f", {timings.reused_tokens or 0:,} reused"
        terminal.detail(
            f"prompt: {timings.prompt_tokens:,} read{reused}; answer: {len(heard.ids):,} tokens, "
            f"finish: {heard.finish}"
        )
        if self.settings.turn.timings.value:
            rates = (timings.prefill_tokens_per_s, timings.decode_tokens_per_s)
            speeds = ["" if rate is None else f", {rate:.1f} tokens/s" for rate in rates]
            terminal.note(
                f"prefill: {timings.prompt_tokens} tokens in {timings.prefill_s:.2f} s"
                f"{speeds[0]}{reused}"
            )
            terminal.note(
                f"decode: {timings.decoded_tokens} tokens in {timings.decode_s:.2f} s{speeds[1]}"
            )
        if heard.finish == "length":
            terminal.note("the answer ends at max_tokens: `/set max_tokens N` allows more")
        elif heard.finish == "context":
            terminal.warn("the answer ends with the context, which is full")


@dataclass
class _Heard:
    """An answer as it comes."""

    write: Callable[[str], None]
    ids: list[int] = field(default_factory=list[int])
    parts: list[str] = field(default_factory=list[str])
    finish: str | None = None

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def take(self, text: str) -> None:
        if text:
            self.parts.append(text)
            self.write(text)

    def end(self) -> None:
        """End its last line."""
        if self.ids and not self.text.endswith("\n"):
            self.write("\n")

    def answer(self, eos: frozenset[int]) -> list[int]:
        """Its ids, but for the one that only says that it ends."""
        return self.ids[:-1] if self.ids and self.ids[-1] in eos else self.ids
