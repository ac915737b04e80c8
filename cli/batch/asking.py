"""From a row to what the engine is asked: its prompt, by whatever rules, and its settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ... import InputError, ModelError
from ..answers import Prompt
from ..chat_options import ChatPromptOptions, spoken
from ..encoding import Encoded, encode_prompt, fit_encoded
from ..prompt import argument_text
from ..requesting import make_request
from .row_settings import RowSettings, row_places
from .rows import Row

if TYPE_CHECKING:
    from ...engine.request import Request
    from ...engine.session import Session
    from ...tokenizer.chat import ChatTemplate, Message
    from ...tokenizer.rendering import Renderer

AS_IT_STANDS = ChatPromptOptions()
PROMPTS = ("prompt", "messages")
"""Fields with what is asked, unless a template says it."""


@dataclass(frozen=True)
class Asked:
    """A row as the engine is asked about it."""

    row: Row
    request: Request
    prompt: Prompt
    settings: RowSettings


class Asking:
    """Makes requests of rows, by the settings of a job.

    `now` is the time that templates see: the job's, since an answer must not depend on the day on
    which its row came up.
    """

    def __init__(
        self,
        session: Session,
        settings: RowSettings,
        template: str | None,
        by_rows: bool,
    ) -> None:
        """`template` is Jinja over a row's fields; with `by_rows` rows may have settings."""
        self.now = datetime.now()
        self._session = session
        self._settings = settings
        self._by_rows = by_rows
        self._template = template

    def ask(self, row: Row) -> Asked:
        """The request for a row. Raises `LmtoolError` for a row that can't be answered."""
        if row.fault is not None:
            raise row.fault
        session = self._session
        settings = self._settings.of_row(row.fields) if self._by_rows else self._settings
        settings = settings.seeded(row.data).completed(session.defaults)
        encoded = self._encoded(row, settings)
        prompt = fit_encoded(session, encoded, settings.prompt, settings.stops.most)
        texts = settings.stops.texts(settings.prompt.escape)
        request = make_request(
            session, prompt.ids, settings.prompt, settings.sampling, settings.stops, texts
        )
        if not settings.stops.ignore_eos.value:
            stop = replace(request.stop, eos=request.stop.eos | encoded.ends)
            request = replace(request, stop=stop)
        request = replace(
            request, logprobs=settings.answer.logprobs.value, grammar=settings.grammar()
        )
        return Asked(row, request, prompt, settings)

    def own(self, row: Row) -> dict[str, Any]:
        """A row's fields that are neither its prompt nor settings, to be carried along."""
        ours = {*(row_places() if self._by_rows else ()), *(() if self._template else PROMPTS)}
        return {name: value for name, value in row.fields.items() if name not in ours}

    def check(self) -> None:
        """Raise `LmtoolError` for what no row could be asked."""
        if self._session.tokenizer is None:
            raise ModelError(
                f"`{self._session.card.path}` has no tokenizer.json or other tokenizer"
            )
        if self._template is not None:
            self._renderer.compile()
        if self._settings.chat.on:
            _ = self._chat

    def close(self) -> None:
        """End the processes that render."""
        for name in ("_chat", "_renderer"):
            if name in self.__dict__:
                self.__dict__[name].close()

    def _encoded(self, row: Row, settings: RowSettings) -> Encoded:
        given = self._given(row)
        path, tokenizer = self._session.card.path, self._session.tokenizer
        if isinstance(given, str) and not settings.chat.on:
            return encode_prompt(given, tokenizer, path, settings.prompt, AS_IT_STANDS)
        messages = [spoken(given)] if isinstance(given, str) else given
        prompt = settings.chat.encode_messages(self._chat, messages, settings.prompt, self.now)
        ends = frozenset(id for id in [self._chat.end_of_turn] if id is not None)
        return Encoded(prompt.text, prompt.ids, prompt.specials, ends)

    def _given(self, row: Row) -> str | list[Message]:
        """What the row says: a text, or the messages of a talk."""
        fields = row.fields
        if self._template is not None:
            return self._renderer.render(dict(fields), self.now)
        prompt, messages = fields.get("prompt"), fields.get("messages")
        if prompt is not None and messages is not None:
            raise InputError("a row has a `prompt` or `messages`, not both")
        if messages is not None:
            return _messages(messages)
        if prompt is None:
            names = ", ".join(list(fields)[:8])
            hint = f"--template makes one of its fields: {names}" if names else None
            raise InputError("the row has no `prompt` and no `messages`", hint=hint)
        if not isinstance(prompt, str):
            raise InputError("the row's `prompt` is no text")
        return prompt

    @cached_property
    def _chat(self) -> ChatTemplate:
        tokenizer = self._session.tokenizer
        assert tokenizer is not None
        return self._settings.chat.open_template(tokenizer)

    @cached_property
    def _renderer(self) -> Renderer:
        from ...tokenizer.rendering import Renderer

        return Renderer(self._template or "", "--template", strict=True)


def read_template(given: str, escape: bool) -> str:
    """The template that --template gives: its text, if it has any Jinja in it, or a file's."""
    if "{{" in given or "{%" in given:
        return argument_text(given, "--template", escape)
    from ...tokenizer.reading import read_template as read

    return read(Path(given))


def _messages(value: object) -> list[Message]:
    from ...tokenizer.chat import Message

    if not isinstance(value, list) or not value:
        raise InputError("the row's `messages` are no list of messages")
    found: list[Message] = []
    for number, entry in enumerate(cast("list[object]", value), 1):
        fields = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        role, content = fields.get("role"), fields.get("content")
        # An assistant that calls a tool may say nothing.
        content = "" if content is None and len(fields) > 2 else content
        if not isinstance(role, str) or not isinstance(content, str):
            raise InputError(f"message {number} of the row needs a role and a content, both text")
        more = {key: one for key, one in fields.items() if key not in ("role", "content")}
        found.append(Message(role, content, more))
    return found
