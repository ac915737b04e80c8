"""`lmtool chat`: a talk with a model, at a terminal or from a pipe."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ... import InputError, ModelError
from ..chat_options import TemplateOptions
from ..conversation import Conversation
from ..entries import LineReader, Reader
from ..live_settings import ChatSampling, ChatStops, LiveSettings, TalkFiles, TurnSettings
from ..model_options import GuessSettings, ModelSettings
from ..opening import open_draft, open_kept, open_session
from ..option_groups import TalkOptions
from ..options import open_terminal
from ..prompt import argument_text
from ..repl import Repl
from ..signals import arrived
from ..stdin import stdin_kind
from ..talk import Talk
from ..terminal import Terminal
from ..unfold import unfold

if TYPE_CHECKING:
    from ...engine.session import Session

EPILOG = """Examples:

lmtool chat -m ./chat-checkpoint

lmtool chat -m ./chat-checkpoint -s "Answer briefly." --temp 0.8 --load talk.json

printf 'Hello\\nHow tall is a tree?\\n' | lmtool chat -m ./chat-checkpoint > answers.txt"""


@unfold
def chat(
    template: TemplateOptions,
    turn: TurnSettings,
    model: ModelSettings,
    sampling: ChatSampling,
    stops: ChatStops,
    files: TalkFiles,
    guess: GuessSettings,
    talk: TalkOptions,
) -> int:
    """Talk with a model, at a terminal or from a pipe.

    `/help` lists what can be entered besides messages. Without a terminal, each line of stdin is a
    message. Only answers go to stdout.
    """
    terminal = open_terminal(talk.quiet, talk.verbose, talk.color)
    at_terminal = stdin_kind() == "terminal"
    if stdin_kind() == "closed":
        raise InputError("there is nothing to read: stdin is closed")
    template.variables()
    session = open_session(model, terminal)
    open_draft(session, model, guess, terminal)
    settings = LiveSettings(sampling, stops, turn)
    settings.check(session)
    conversation = _begin(session, template, settings, terminal)
    conversation.patient = at_terminal
    reader = _reader(files, terminal) if at_terminal else LineReader(_stdin())
    repl = Repl(conversation, reader, terminal, at_terminal)
    try:
        conversation.warn_of_idle()
        if files.load is not None:
            repl.load(files.load)
        if at_terminal:
            _greet(session, terminal)
        return repl.run()
    finally:
        conversation.template.close()


def _begin(
    session: Session, template: TemplateOptions, settings: LiveSettings, terminal: Terminal
) -> Conversation:
    """A talk in which nothing is said yet. Raises `ModelError` without tokenizer or template."""
    tokenizer = session.tokenizer
    if tokenizer is None:
        raise ModelError(
            f"`{session.card.path}` has no tokenizer.json or other tokenizer",
            hint="a talk needs one",
        )
    opened = template.open_template(tokenizer)
    if opened.end_of_turn is not None:
        session.eos |= {opened.end_of_turn}
    system = template.system.value
    if system is not None and template.system.source != "config file":
        system = argument_text(system, "--system")
    return Conversation(
        session,
        tokenizer,
        opened,
        settings,
        terminal,
        open_kept(),
        template.variables(),
        talk=Talk(system),
    )


def _reader(files: TalkFiles, terminal: Terminal) -> Reader:
    """What reads from the terminal: an editor, or plain lines where it can't move its cursor."""
    stream = _drawable(terminal)
    if stream is None or os.environ.get("TERM", "dumb") in ("dumb", "unknown", ""):
        return LineReader(_stdin(), lambda goes_on: _ask_plainly(stream, goes_on))
    from ..line_editor import LineEditor
    from ..line_history import history_path, open_history

    history: Path | None = None
    if not files.no_history.value:
        history = history_path(os.environ)
        try:
            open_history(history)
        except OSError as error:
            terminal.note(f"no history: cannot write `{history}`: {error.strerror or error}")
            history = None
    return LineEditor(stream, history)


def _stdin() -> IO[bytes]:
    return open(0, "rb", closefd=False)


def _drawable(terminal: Terminal) -> IO[str] | None:
    """A terminal to draw a prompt on, which stdout never is: it holds answers alone."""
    if terminal.stderr.isatty():
        return terminal.stderr
    with suppress(OSError):
        return open("/dev/tty", "w", encoding="utf-8")
    return None


def _ask_plainly(stream: IO[str] | None, goes_on: bool) -> None:
    if stream is not None:
        stream.write(". " if goes_on else "> ")
        stream.flush()


def _greet(session: Session, terminal: Terminal) -> None:
    arrived()
    card = session.card
    terminal.note(
        f"{card.name}: {card.family}, {card.parameters:,} parameters, a context of "
        f"{session.context:,} tokens. /help lists commands, Ctrl-D leaves"
    )
