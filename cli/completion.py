"""What a shell's Tab key gives: names of models and choices, and the scripts that ask for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from .. import UsageError

VARIABLE = "_LMTOOL_COMPLETE"
"""The environment variable in which a shell's script asks for completions."""
SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
OPTIONS = ("--install-completion", "--show-completion")

_MARKS = (
    *("config.json", "tokenizer.json", "tokenizer.model", "tekken.json", "spiece.model"),
    *("merges.txt", "vocab.txt"),
)
"""Files that make a folder a model's, or a tokenizer's."""

Completer = Callable[[str], "list[Any]"]


def complete_model(incomplete: str) -> list[tuple[str, str]]:
    """Names that a model can have, with what each is: `default`, cached ids, folders here.

    None for what can only be a path: then the shell completes file names by itself.
    """
    if incomplete[:1] in (".", "/", "~"):
        return []
    return [(name, what) for name, what in _models() if name.startswith(incomplete)]


def choices_of(kind: Any) -> Completer | None:
    """What completes a setting of this kind: its names, or a model's; None if nothing does."""
    if getattr(kind, "names_model", False):
        return complete_model
    names: Sequence[str] | None = getattr(kind, "names", None) or getattr(
        getattr(kind, "kind", None), "names", None
    )
    if names is None:
        return None

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return complete


def _models() -> Iterator[tuple[str, str]]:
    from ..tokenizer.repository import cached_names

    yield "default", "the model that ships inside"
    for name in cached_names():
        yield name, "cached"
    try:
        here = sorted(entry.name for entry in os.scandir(".") if entry.is_dir())
    except OSError:
        return
    for name in here:
        if any((Path(name) / file).exists() for file in _MARKS):
            yield name, "a folder here"


def tidy_words(environ: MutableMapping[str, str]) -> None:
    """Undo that bash parts `--model=x` into three words, which Typer then takes for arguments."""
    if environ.get(VARIABLE) != "complete_bash" or "\n" not in environ.get("COMP_WORDS", ""):
        return
    words, place = environ["COMP_WORDS"].split("\n"), int(environ.get("COMP_CWORD") or 0)
    kept: list[str] = []
    moved = place
    for number, word in enumerate(words):
        if word == "=" and kept and kept[-1].startswith("--"):
            if number < place:
                moved -= 1
            else:
                kept.append("")  # nothing after the `=` yet
        else:
            kept.append(word)
    environ["COMP_WORDS"], environ["COMP_CWORD"] = "\n".join(kept), str(moved)


def completion_script(option: str, shell: str | None) -> str:
    """Do what --show-completion or --install-completion asks; the text to print.

    Raises `UsageError` where the shell isn't known, or isn't one of `SHELLS`.
    """
    shell = shell or _shell_around()
    if shell not in SHELLS:
        problem = f"no script for `{shell}`" if shell else "it isn't known which shell this is"
        raise UsageError(problem, hint=f"`lmtool {option} SHELL` takes {', '.join(SHELLS)}")
    typers: Any = import_module("typer.completion")
    if option == "--show-completion":
        script = typers.get_completion_script(
            prog_name="lmtool", complete_var=VARIABLE, shell=shell
        )
        return f"{script}\n"
    _, path = typers.install(shell=shell, prog_name="lmtool", complete_var=VARIABLE)
    return f"written: {path}; it takes effect in the next shell\n"


def _shell_around() -> str | None:
    """The shell that we were started from as Typer finds it, else the one the user logs in with."""
    detect: Any = getattr(import_module("typer.completion"), "_get_shell_name", lambda: None)
    return detect() or Path(os.environ.get("SHELL", "")).name or None
