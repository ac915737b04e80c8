"""Chat templates: messages to the prompt of a checkpoint, as text and as ids. No torch.

What messages say stays text: a special token is only what the template itself writes, also where
a message spells one (`quoting`, `guarded`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from os.path import exists  # unlike Path's, false also for a name that no file can have
from pathlib import Path
from typing import Any

from .. import InputError, ModelError, UsageError
from .guarded import GuardedEncoder
from .quoting import STRENGTHS, Disguise, Strength, disguise_value, weaker
from .reading import read_template
from .rendering import Renderer
from .tokenizer import Bos, Place, Special, Tokenizer

OURS = ("messages", "add_generation_prompt")
"""Variables of a template that nobody else may set."""
_SPOKEN = ("content", "thinking", "reasoning", "reasoning_content")
_REASONING = ("reasoning_content", "thinking", "reasoning")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ROLE = re.compile(r"[\w .-]+")
_TAG = re.compile(r"<([\w-]+)>")


@dataclass(frozen=True)
class Message:
    """One turn of a talk: who speaks ("system", "user", "assistant", "tool") and what.

    `more` is what else a template may look at, such as `tool_calls`: JSON values by name.
    """

    role: str
    content: str
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class ChatPrompt:
    """A rendered prompt: `text` as the template writes it, and its `ids`, BOS included.

    `specials` are the special tokens in the text, by their places.
    """

    text: str
    ids: tuple[int, ...]
    specials: tuple[Place, ...] = ()


@dataclass(frozen=True)
class _Job:
    """What is rendered, several times over."""

    messages: Sequence[Message]
    variables: Mapping[str, Any]
    answer: bool
    """Whether the template is to write the beginning of an answer."""
    prefill: str = ""
    mark: str = ""
    """What is put behind the last message's content, to find its place again."""
    now: datetime = field(default_factory=datetime.now)


class ChatTemplate:
    """A checkpoint's chat template, ready to render.

    Its process starts when this is made; `close` ends it, and so does the end of ours.
    """

    def __init__(self, source: str, tokenizer: Tokenizer, name: str) -> None:
        """`source` is Jinja; `name` is what messages call it, "the chat template of `x`"."""
        self.source = source
        self.name = name
        self.tokenizer = tokenizer
        self._renderer = Renderer(source, name)
        self._encoder: GuardedEncoder | None = None

    @classmethod
    def of(
        cls, tokenizer: Tokenizer, file: Path | None = None, *, with_tools: bool = False
    ) -> ChatTemplate:
        """The template in `file`, or else the tokenizer's own: with tools, the one for them.

        `file` may also be the name of one of several that the tokenizer has. Raises `ModelError`
        where there is none.
        """
        own = tokenizer.chat_templates
        if file is not None:
            if not exists(file) and str(file) in own:
                named = f"the chat template `{file}` of `{tokenizer.name}`"
                return cls(own[str(file)], tokenizer, named)
            return cls(read_template(file), tokenizer, f"the chat template `{file}`")
        source = own.get("tool_use") if with_tools else None
        source = source or own.get("default")
        if source is not None:
            return cls(source, tokenizer, f"the chat template of `{tokenizer.name}`")
        if own:
            raise ModelError(
                f"`{tokenizer.name}` has several chat templates and none called default",
                hint=f"--chat-template takes {', '.join(sorted(own))}",
            )
        raise ModelError(
            f"`{tokenizer.name}` has no chat template",
            hint="--chat-template takes one from a file",
        )

    def render(
        self,
        messages: Sequence[Message],
        *,
        answer: bool = True,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """What the template writes; with `answer` also the beginning of an answer.

        `variables` are JSON values that the template may look at, `tools` and `documents` among
        them. Raises `ModelError` for a template that is broken or runs away, `InputError` where it
        refuses the messages.
        """
        return self._render(self._job(messages, variables, answer), None, "all")

    def encode(
        self,
        messages: Sequence[Message],
        *,
        answer: bool = True,
        prefill: str = "",
        variables: Mapping[str, Any] | None = None,
        bos: Bos = "auto",
        special: Special = "text",
        now: datetime | None = None,
    ) -> ChatPrompt:
        """The prompt for an answer to `messages`, one that begins with `prefill`, which it ends in.

        A begin-of-text token is put first by `bos`, unless the template writes it. With `special`
        "parse" special tokens that messages spell are such. `now` is the time that the template
        sees, if not the true one. Raises as `render` does.
        """
        job = self._job(messages, variables, answer, prefill)
        if now is not None:
            job = replace(job, now=now)
        plain = self._written(job, None, "all")
        if special == "parse":
            encoder = self._encoder_for(plain)
            ids = [place.id for place in encoder.parse(plain)]
            return self._prompt(plain, ids, encoder.specials(plain), bos)
        disguise = Disguise(self.controls, [self.source, *_texts(job)])
        text = plain
        for strength in STRENGTHS:
            try:
                text = self._written(job, disguise, strength)
            except (InputError, ModelError):
                if strength == STRENGTHS[-1]:
                    raise
            if disguise.take_off(text) == plain:
                break
        # Where none gives the same, the template looks for special tokens in messages. It must not
        # find any: then what the last one gives is the prompt.
        plain = disguise.take_off(text)
        ids, written = self._encoder_for(plain).encode(text, disguise)
        return self._prompt(plain, ids, written, bos)

    @cached_property
    def controls(self) -> tuple[str, ...]:
        """The tokens that only the template may write.

        Special tokens, and those of the others that the template spells and that are no words or
        spaces: some checkpoints mark turns by such.
        """
        tokenizer = self.tokenizer
        special = [token for id, token in tokenizer.added.items() if id in tokenizer.special_ids]
        others = [
            token
            for id, token in tokenizer.added.items()
            if id not in tokenizer.special_ids and token in self.source
            if len(token) > 2 and any(not (c.isalnum() or c.isspace()) for c in token)
        ]
        return tuple(token for token in (*special, *others) if token)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The ids of `controls`."""
        return frozenset(id for id, token in self.tokenizer.added.items() if token in self.controls)

    @cached_property
    def end_of_turn(self) -> int | None:
        """The token that the template puts behind an answer, if it puts one."""
        talk = (Message("user", "a"), Message("assistant", "b"))
        mark = _free_character([self.source])
        try:
            text = self._render(_Job(talk, {}, answer=False, mark=mark), None, "all")
        except (InputError, ModelError):
            return None
        rest = text.rpartition(mark)[2].lstrip() if mark in text else ""
        found = [token for token in self.controls if rest.startswith(token)]
        if not found:
            return None
        id = self.tokenizer.pipeline.token_to_id(max(found, key=len))
        return None if id == self.tokenizer.bos_id else id

    def close(self) -> None:
        """End the process that renders."""
        self._renderer.close()

    @cached_property
    def _markup(self) -> tuple[str, ...]:
        """Tokens such as <think> and </think>, not special, which answers themselves have."""
        tokenizer = self.tokenizer
        plain = {t for id, t in tokenizer.added.items() if id not in tokenizer.special_ids}
        opening = [match for token in plain if (match := _TAG.fullmatch(token))]
        pairs = [(m[0], f"</{m[1]}>") for m in opening if f"</{m[1]}>" in plain]
        return tuple(token for pair in sorted(pairs) for token in pair)

    def _job(
        self,
        messages: Sequence[Message],
        variables: Mapping[str, Any] | None,
        answer: bool,
        prefill: str = "",
    ) -> _Job:
        """What to render, checked, and how it gets to end in `prefill`."""
        job = _Job(messages, variables or {}, answer, prefill)
        for name in OURS:
            if name in job.variables:
                raise UsageError(f"`{name}` is not for a template argument to set")
        for message in messages:
            if not _ROLE.fullmatch(message.role):
                raise InputError(f"`{message.role}` can't be the role of a message")
        for text in _texts(job):
            if lone := _SURROGATE.search(text):
                raise InputError(f"a message has half a character: U+{ord(lone[0]):04X}")
        if not prefill:
            return job
        turn = Message("assistant", prefill)
        mark = _free_character([self.source, *_texts(job)])
        inside = replace(job, messages=[*messages, turn], answer=False, mark=mark)
        return inside if self._continues(inside) else job

    def _continues(self, job: _Job) -> bool:
        """Whether the last message of `job`, a prefill, comes out as it is, for a model to go on.

        Otherwise the prefill goes behind the beginning of an answer: where a template won't have an
        answer last, or rewrites it, or puts an empty <think></think> before one that thinks.
        """
        try:
            head, found, _ = self._render(job, None, "all").rpartition(job.mark)
        except (InputError, ModelError):
            return False
        text = job.prefill.lstrip()
        opened = _TAG.match(text)
        before = head[: len(head) - len(text)].rstrip()
        return (
            bool(found)
            and head.endswith(text)
            and not (opened and before.endswith(f"</{opened[1]}>"))
        )

    def _written(self, job: _Job, disguise: Disguise | None, strength: Strength) -> str:
        """The prompt's text, up to the end of the prefill."""
        text = self._render(job, disguise, strength)
        if job.mark:
            return text.rpartition(job.mark)[0]
        if disguise is None:
            return text + job.prefill
        return text + disguise.put_on(job.prefill, strength, self._markup)

    def _render(self, job: _Job, disguise: Disguise | None, strength: Strength) -> str:
        """The template's text for `job`, its texts in `disguise`."""
        tokens = self.tokenizer.named_specials
        values: dict[str, Any] = {"tools": None, "documents": None, **tokens, **job.variables}
        messages = [_as_values(message) for message in job.messages]
        if disguise is not None:
            at_edges = weaker(strength, "edges")
            for name, value in job.variables.items():
                level = "tokens"
                if name in ("documents", "tools"):
                    level = strength if name == "documents" else at_edges
                values[name] = disguise_value(value, disguise, level)
            for message in messages:
                kept = self._markup if message["role"] == "assistant" else ()
                for name, value in message.items():
                    if name in _SPOKEN and isinstance(value, str):
                        message[name] = disguise.put_on(value, strength, kept)
                    elif name != "role":
                        message[name] = disguise_value(value, disguise, at_edges)
        if job.mark:
            messages[-1]["content"] += job.mark
        values |= {"messages": messages, "add_generation_prompt": job.answer}
        return self._renderer.render(values, job.now)

    def _encoder_for(self, text: str) -> GuardedEncoder:
        """An encoder whose stand-ins are not in `text`."""
        if self._encoder is None or any(map(text.__contains__, self._encoder.private)):
            self._encoder = GuardedEncoder(self.tokenizer, self.controls, text)
        return self._encoder

    def _prompt(self, text: str, ids: list[int], written: list[Place], bos: Bos) -> ChatPrompt:
        return ChatPrompt(text, tuple(self.tokenizer.put_bos(ids, bos)), tuple(written))


def _as_values(message: Message) -> dict[str, Any]:
    """A message as templates know it; its reasoning by every name that they look for."""
    values = {"role": message.role, "content": message.content, **message.more}
    values = {name: value for name, value in values.items() if value is not None}
    thoughts = [values[name] for name in _REASONING if name in values]
    if thoughts:
        values = {"thinking": thoughts[0], **values, "reasoning_content": thoughts[0]}
    return values


def _texts(job: _Job) -> list[str]:
    """All that strangers wrote of what is rendered."""
    values = [dict(job.variables), *map(_as_values, job.messages)]
    return [job.prefill, json.dumps(values, ensure_ascii=False)]


def _free_character(texts: Collection[str]) -> str:
    """A private character that none of `texts` has."""
    free = (chr(code) for code in range(0xF8FF, 0xDFFF, -1))
    return next(letter for letter in free if not any(letter in text for text in texts))
