"""The commands of a talk: /help and the rest, told apart from messages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

from .. import UsageError
from .entries import Entry

_COMMAND = re.compile(r"/(\S*)\s*(.*)", re.DOTALL)


@dataclass(frozen=True)
class Command:
    """A command's name and what follows it."""

    name: str
    rest: str = ""


HELP: dict[str, tuple[str, str]] = {
    "help": ("", "this list"),
    "reset": ("", "begin anew; the system message stays"),
    "system": ("[TEXT]", 'show the system message, or set it; "" is none'),
    "set": ("[NAME [VALUE]]", "list the settings, show one, or change it (`default` undoes that)"),
    "save": ("FILE", "write the talk to a file, as JSON"),
    "load": ("FILE", "go on with a talk from a file"),
    "undo": ("", "take back the last message and its answer"),
    "retry": ("", "another answer to the last message"),
    "exit": ("", "leave, as Ctrl-D does"),
}
ALIASES = {"?": "help", "quit": "exit", "bye": "exit", "clear": "reset", "regen": "retry"}
NOTES = r"""
Enter sends a message. It goes on in a new line after a \ at the end of one, by Alt-Enter, or
between two \""" of your own. A pasted text is one message. Ctrl-C stops an answer, and at the
prompt clears the line. A message that begins with / is sent with another / or a space before it.
""".replace(r"\"", '"').strip()


def read(entry: Entry) -> Command | str:
    """The command in `entry`, or the message that it is.

    Raises `UsageError` for a command that isn't known, or that has what it doesn't take.
    """
    text = entry.text
    if entry.literal or not text.lstrip().startswith("/"):
        return text
    if not text.startswith("/"):
        return text.lstrip()
    if text.startswith("//"):
        return text[1:]
    match = _COMMAND.fullmatch(text)
    assert match is not None
    name, rest = match[1], match[2].rstrip()
    name = ALIASES.get(name, name)
    if name not in HELP:
        near = get_close_matches(name, [*HELP, *ALIASES], 1)
        hint = f"did you mean /{near[0]}?" if near else "/help lists them"
        raise UsageError(
            f"no command is called `/{name[:60]}`",
            hint=f"{hint} (a message that begins with / needs another before it)",
        )
    if rest and not HELP[name][0]:
        raise UsageError(f"/{name} takes nothing", hint="/help lists the commands")
    if not rest and name in ("save", "load"):
        raise UsageError(f"/{name} takes the name of a file", hint=f"/{name} talk.json")
    return Command(name, rest)


def help_page() -> str:
    """What /help shows."""
    heads = {name: f"/{name} {takes}".rstrip() for name, (takes, _) in HELP.items()}
    width = max(map(len, heads.values()))
    lines = [f"{heads[name]:{width}}  {does}" for name, (_, does) in HELP.items()]
    return "\n".join([*lines, "", NOTES])
