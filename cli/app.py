"""The Typer app: the table of commands, and `run`, which no error leaves but as a code."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Annotated, Any

import typer

from .. import __version__
from .commands import count, detokenize, doctor, generate, inspect, tokenize
from .commands.train_tokenizer import train_tokenizer
from .exits import Exit, explain_failure
from .terminal import ColourChoice, Terminal
from .unfold import unfold

COMMANDS = {
    "generate": unfold(generate.generate, os.environ),
    "train-tokenizer": train_tokenizer,
    "tokenize": tokenize.tokenize,
    "detokenize": detokenize.detokenize,
    "count": count.count,
    "inspect": inspect.inspect,
    "doctor": doctor.doctor,
}
EPILOGS = {
    "generate": generate.EPILOG,
    "tokenize": tokenize.EPILOG,
    "detokenize": detokenize.EPILOG,
    "count": count.EPILOG,
    "inspect": inspect.EPILOG,
    "doctor": doctor.EPILOG,
}

app = typer.Typer(
    name="lmtool",
    help="Run language models and train tokenizers, from the terminal.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, command in COMMANDS.items():
    app.command(name, epilog=EPILOGS.get(name))(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lmtool {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Run language models and train tokenizers, from the terminal."""


def run(arguments: list[str]) -> int:
    """Run the command in `arguments` and return its exit code."""
    debug = "--debug" in arguments
    if not debug:
        _hush_libraries()
    terminal = Terminal(colour=_colour_asked(arguments))
    try:
        result: Any = app(args=arguments, prog_name="lmtool", standalone_mode=False)
        terminal.out("")  # a pipe that closed early shows at the last flush
        return int(result or Exit.DONE)
    except BaseException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # the page is printed already
            return Exit.USAGE
        usage = getattr(error, "format_message", None)
        if usage is not None:
            terminal.error(_one_line(usage()), _help_hint(error))
            return Exit.USAGE
        return explain_failure(error, terminal, debug)


def _hush_libraries() -> None:
    """Warnings of the libraries beneath are about their callers' code, not for our users."""
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())


def _colour_asked(arguments: list[str]) -> ColourChoice:
    """What --color says, for errors that come before it is parsed."""
    text = " ".join(arguments)
    for choice in ("always", "never"):
        if f"--color {choice}" in text or f"--color={choice}" in text:
            return choice
    return "auto"


def _one_line(text: str) -> str:
    line = " ".join(text.split()).rstrip(".")
    return line[:1].lower() + line[1:]


def _help_hint(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", None) or "lmtool"
    if command == "lmtool generate" and "extra argument" in str(error):
        return "put the prompt in quotes"
    return f"`{command} --help` lists what it takes"
