"""The loop of a talk: reads entries, runs commands, lets the model answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .. import InputError, LmtoolError, UsageError
from .conversation import Conversation
from .entries import InterruptError, Reader
from .exits import Exit, code_of
from .generation_talk import as_words
from .signals import arrived
from .slash_commands import Command, help_page, read
from .talk_file import load_talk, save_talk
from .terminal import StdoutError, Terminal


class LeaveError(Exception):
    """Somebody wants to go."""


@dataclass
class Repl:
    """Reads from `reader` until its end; `at_terminal` says that a person sits there."""

    conversation: Conversation
    reader: Reader
    terminal: Terminal
    at_terminal: bool = True
    code: int = Exit.DONE
    """What to exit with: of the first thing that went wrong, where nobody was there to see."""
    _warned: bool = field(default=False, init=False)

    def run(self) -> int:
        """Run until the end of the input, or /exit. What goes wrong is one line, and not the end.

        Raises `InputError` for text from a pipe that isn't valid.
        """
        try:
            while True:
                try:
                    self.take()
                except InterruptError as interrupted:
                    if interrupted.empty and self._warned:
                        return Exit.INTERRUPTED
                    self._warned = interrupted.empty
                    if self._warned:
                        self.terminal.reply("Ctrl-C again, Ctrl-D or /exit leaves")
        except EOFError:
            if self.at_terminal:
                self.terminal.reply("")
        except LeaveError:
            pass
        return self.code

    def take(self) -> None:
        """Read one entry and do what it says."""
        try:
            entry = self.reader.read()
            self._warned = False
        except InputError as error:
            if not self.at_terminal:
                raise
            self.terminal.error(error.message, error.hint)
            return
        except KeyboardInterrupt:  # of a plain terminal: its line is gone already
            if not self.at_terminal:
                raise
            arrived()
            self.terminal.reply("")
            raise InterruptError from None
        try:
            wanted = read(entry)
            if isinstance(wanted, Command):
                self._run(wanted)
            elif wanted.strip():
                self._ask(wanted)
        except StdoutError:
            raise
        except LmtoolError as error:
            self._fail(error)

    def load(self, path: Path) -> None:
        """Go on with the talk in the file at `path`. Raises `InputError`; then all stays as it is.

        Its settings become the talk's.
        """
        conversation = self.conversation
        saved = load_talk(path)
        try:
            settings = conversation.settings.with_all(saved.settings)
            settings.check(conversation.session)
        except UsageError as error:
            raise InputError(f"`{path}`: {error.message}") from error
        conversation.begin(saved.talk, settings)
        count = len(saved.talk.said)
        self.terminal.note(f"{count} message{'s' * (count != 1)} from `{path}`")
        name = conversation.session.card.name
        if saved.model not in (None, name):
            self.terminal.warn(f"the talk was held with `{saved.model}`, and this is `{name}`")

    def _ask(self, text: str) -> None:
        self._say_if_cut(self.conversation.ask(text))

    def _say_if_cut(self, outcome: str) -> None:
        if outcome == "cut":
            self.terminal.note("stopped; what there is of the answer stays (/retry, /undo)")
        elif outcome == "taken back":
            self.terminal.note("stopped before the answer began: the message is taken back")

    def _fail(self, error: LmtoolError) -> None:
        self.terminal.error(error.message, error.hint)
        if not self.at_terminal and self.code == Exit.DONE:
            self.code = code_of(error)

    def _run(self, command: Command) -> None:
        actions: dict[str, Callable[[str], None]] = {
            "help": lambda rest: self.terminal.reply(help_page()),
            "reset": self._reset,
            "system": self._system,
            "set": self._set,
            "save": self._save,
            "load": lambda rest: self.load(_path(rest)),
            "undo": self._undo,
            "retry": self._retry,
            "exit": self._exit,
        }
        actions[command.name](command.rest)

    def _reset(self, rest: str) -> None:
        self.conversation.talk.reset()
        self.terminal.note("the talk begins anew")

    def _system(self, rest: str) -> None:
        talk = self.conversation.talk
        if not rest:
            self.terminal.reply(talk.system or "there is no system message")
        else:
            talk.system = None if rest in ('""', "''") else rest

    def _set(self, rest: str) -> None:
        settings = self.conversation.settings
        name, value = _name_and_value(rest)
        if not name:
            completed = self.conversation.effective()
            width = max(map(len, completed))
            for key, one in completed.items():
                self.terminal.reply(f"{key:{width}}  {as_words(one.value)}  ({one.source})")
            return
        if not value:
            key, one = settings.named(name)
            one = self.conversation.effective().get(key, one)
            self.terminal.reply(f"{key}  {as_words(one.value)}  ({one.source})")
            return
        changed = settings.changed(name, value)
        changed.check(self.conversation.session)
        self.conversation.settings = changed
        self.conversation.warn_of_idle()

    def _save(self, rest: str) -> None:
        conversation, path = self.conversation, _path(rest)
        name, given = conversation.session.card.name, conversation.settings.given()
        save_talk(path, conversation.talk, name, given)
        count = len(conversation.talk.said)
        self.terminal.note(f"{count} message{'s' * (count != 1)} in `{path}`")

    def _undo(self, rest: str) -> None:
        if not self.conversation.talk.undo():
            raise UsageError("nothing is said yet that could be taken back")
        count = len(self.conversation.talk.said)
        self.terminal.note(f"taken back; {count or 'no'} message{'s' * (count != 1)} left")

    def _retry(self, rest: str) -> None:
        outcome = self.conversation.retry()
        if outcome is None:
            raise UsageError("nothing is said yet that could be answered again")
        self._say_if_cut(outcome)

    def _exit(self, rest: str) -> None:
        raise LeaveError


def _path(text: str) -> Path:
    """A path as it is typed: quotes around it and a `~` are read."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    if "\0" in text:
        raise InputError("no file has such a name")
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~nobody
        return Path(text)


def _name_and_value(text: str) -> tuple[str, str]:
    """`temp 0.5` and `temp=0.5` in their parts."""
    ends = [place for place in (text.find(mark) for mark in " \t=") if place >= 0]
    if not ends:
        return text, ""
    return text[: min(ends)], text[min(ends) + 1 :].strip().removeprefix("=").strip()
