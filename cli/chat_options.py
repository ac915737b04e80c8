"""How a prompt becomes a talk: the chat template, what it is told, how the answer begins."""

# ruff: noqa: RUF009  # a setting() is a frozen declaration, safe to share

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from .. import InputError, UsageError
from .prompt import argument_text
from .settings import Flag, Many, Setting, Text, setting

if TYPE_CHECKING:
    from ..tokenizer.chat import ChatPrompt, ChatTemplate, Message
    from ..tokenizer.tokenizer import Tokenizer
    from .option_groups import PromptOptions


@dataclass(frozen=True)
class AnyText:
    """Text, also none: an empty system message keeps a template from writing its own."""

    says: str = "text"

    def accept(self, raw: object) -> str:
        """See `Kind`."""
        if not isinstance(raw, str):
            raise ValueError
        return raw


@dataclass(frozen=True)
class TemplateOptions:
    """Which chat template, and what it may look at."""

    panel: ClassVar[str] = "Chat"

    system: Setting[str | None] = setting(
        *("-s", "--system", "--system-prompt"),
        kind=AnyText(),
        default=None,
        metavar="TEXT",
        help="A system message; uses the chat template.",
    )
    chat_template: Setting[str | None] = setting(
        "--chat-template",
        kind=Text(),
        default=None,
        metavar="FILE",
        help="A Jinja file, or the name of one of the checkpoint's templates, instead of its own.",
    )
    template_arg: Setting[tuple[str, ...]] = setting(
        "--template-arg",
        kind=Many(Text()),
        default=(),
        metavar="K=V",
        help="A variable for the chat template, as JSON or else text (repeatable).",
    )

    def variables(self) -> dict[str, Any]:
        """What --template-arg gives, by name. Raises `UsageError` for what isn't K=V."""
        from ..tokenizer.chat import OURS

        found: dict[str, Any] = {}
        for argument in self.template_arg.value:
            name, equals, raw = argument_text(argument, "--template-arg").partition("=")
            if not equals or not name.isidentifier() or name in OURS:
                raise UsageError(
                    f"`{argument}` is no variable for a chat template",
                    hint="--template-arg enable_thinking=false",
                )
            found[name] = _value(raw)
        return found

    def open_template(self, tokenizer: Tokenizer) -> ChatTemplate:
        """The template to use, its process on its way. Raises `ModelError` without one."""
        from ..tokenizer.chat import ChatTemplate

        file = self.chat_template.value
        return ChatTemplate.of(
            tokenizer, None if file is None else Path(file), with_tools="tools" in self.variables()
        )


@dataclass(frozen=True)
class ChatPromptOptions(TemplateOptions):
    """Whether the prompt is what a user says, and how the answer begins."""

    chat: Setting[bool] = setting(
        "--chat",
        kind=Flag(),
        default=False,
        help="Put the prompt into the checkpoint's chat template, as what a user says.",
    )
    prefill: Annotated[
        str | None,
        typer.Option(
            "--prefill",
            metavar="TEXT",
            help="Let the answer begin with TEXT; what is printed goes on from there.",
            show_default=False,
        ),
    ] = None

    @property
    def on(self) -> bool:
        """Whether the chat template is used: asked for, or needed for what is."""
        given = (self.chat_template, self.template_arg)
        return (
            self.chat.value
            or self.system.value is not None
            or self.prefill is not None
            or any(one.source == "command line" for one in given)
        )

    def check(self, prompt: PromptOptions) -> None:
        """Raise `UsageError` for what makes no sense together, before anything is opened."""
        self.variables()
        if self.on and prompt.token_ids is not None:
            raise UsageError(
                "--token-ids is a prompt as it stands: no chat template fits around it"
            )

    def encode(self, template: ChatTemplate, text: str, prompt: PromptOptions) -> ChatPrompt:
        """The prompt for an answer to a user who says `text`. Raises as `ChatTemplate.encode`."""
        return self.encode_messages(template, [spoken(text)], prompt)

    def encode_messages(
        self,
        template: ChatTemplate,
        messages: Sequence[Message],
        prompt: PromptOptions,
        now: datetime | None = None,
    ) -> ChatPrompt:
        """The prompt for an answer to `messages`, the system message first unless they have one.

        `now` is the time that the template sees, if not the true one.
        """
        from ..tokenizer.chat import Message

        if self.system.value is not None and (not messages or messages[0].role != "system"):
            system = self.system.value
            if self.system.source not in ("config file", "row"):  # those are text already
                system = argument_text(system, "--system", prompt.escape)
            messages = [Message("system", system), *messages]
        return template.encode(
            messages,
            prefill=argument_text(self.prefill or "", "--prefill", prompt.escape),
            variables=self.variables(),
            bos=prompt.bos.value,
            special=prompt.special.value,
            now=now,
        )


@dataclass(frozen=True)
class ChatOptions(ChatPromptOptions):
    """How the prompt becomes a talk, or that it is only shown."""

    show_prompt: Annotated[
        bool,
        typer.Option(
            "--show-prompt",
            help="Print the prompt as the model would get it, and its tokens; generate nothing.",
            show_default=False,
        ),
    ] = False


def spoken(text: str) -> Message:
    """What a user says. Raises `InputError` for nothing."""
    from ..tokenizer.chat import Message

    if not text:
        raise InputError("the prompt is empty", hint="say something to be answered")
    return Message("user", text)


def _value(raw: str) -> Any:
    """A JSON value if it parses, else the text itself."""
    try:
        return json.loads(raw, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return raw


def _refuse(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are no JSON
