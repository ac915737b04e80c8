"""The Typer app: the table of commands, and `main`, the one way in."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from .. import __version__
from .commands.train_tokenizer import train_tokenizer
from .exits import Exit, explain_failure
from .terminal import Terminal

COMMANDS = {
    "train-tokenizer": train_tokenizer,
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
    app.command(name)(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lmtool {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Run language models and train tokenizers, from the terminal."""


def main() -> None:
    """Run the command line and exit by the contract: errors become one line and a code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command in `arguments` and return its exit code."""
    terminal = Terminal()
    try:
        result: Any = app(args=arguments, prog_name="lmtool", standalone_mode=False)
        terminal.out("")  # a pipe that closed early shows at the last flush
        return int(result or Exit.DONE)
    except BaseException as error:
        usage = getattr(error, "format_message", None)
        if usage is not None:
            terminal.error(_one_line(usage()), _help_hint(error))
            return Exit.USAGE
        return explain_failure(error, terminal, debug="--debug" in arguments)


def _one_line(text: str) -> str:
    line = " ".join(text.split()).rstrip(".")
    return line[:1].lower() + line[1:]


def _help_hint(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", None) or "lmtool"
    return f"`{command} --help` lists what it takes"
