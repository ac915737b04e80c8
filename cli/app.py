"""The Typer app: the table of commands, and `run`, which no error leaves but as a code."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from .. import __version__
from .completion import OPTIONS, VARIABLE, completion_script, tidy_words
from .configured import add_variables, configured
from .exits import Exit, explain_failure
from .signals import arrived
from .terminal import ColourChoice, Terminal

if TYPE_CHECKING:
    from types import ModuleType


class Listed(NamedTuple):
    """A command in the table: its line on the help page, and how its module is imported.

    The module has a function of the command's name (`-` made `_`) and may have an EPILOG and a
    COMMAND_CLASS.
    """

    help: str
    load: Callable[[], ModuleType]


def _generate() -> ModuleType:
    from .commands import generate

    return generate


def _chat() -> ModuleType:
    from .commands import chat

    return chat


def _batch() -> ModuleType:
    from .commands import batch

    return batch


def _bench() -> ModuleType:
    from .commands import bench

    return bench


def _evaluate() -> ModuleType:
    from .commands import evaluate

    return evaluate


def _score() -> ModuleType:
    from .commands import score

    return score


def _explain() -> ModuleType:
    from .commands import explain

    return explain


def _scaling() -> ModuleType:
    from .commands import scaling

    return scaling


def _train_tokenizer() -> ModuleType:
    from .commands import train_tokenizer

    return train_tokenizer


def _tokenize() -> ModuleType:
    from .commands import tokenize

    return tokenize


def _detokenize() -> ModuleType:
    from .commands import detokenize

    return detokenize


def _count() -> ModuleType:
    from .commands import count

    return count


def _inspect() -> ModuleType:
    from .commands import inspect

    return inspect


def _compare() -> ModuleType:
    from .commands import compare

    return compare


def _quantize() -> ModuleType:
    from .commands import quantize

    return quantize


def _doctor() -> ModuleType:
    from .commands import doctor

    return doctor


def _models() -> ModuleType:
    from .commands import models

    return models


# The help lines stand here too, so that the help page imports no command.
COMMANDS = {
    "generate": Listed("Continue a prompt with a language model.", _generate),
    "chat": Listed("Talk with a model, at a terminal or from a pipe.", _chat),
    "batch": Listed(
        "Answer a file of prompts, a JSON object a row, and go on after whatever stopped it.",
        _batch,
    ),
    "bench": Listed(
        "Measure how fast a model reads prompts and writes tokens on this machine.", _bench
    ),
    "evaluate": Listed(
        "Measure how well models foretell texts: loss, perplexity, bits per byte.", _evaluate
    ),
    "score": Listed(
        "Print how likely each line of text is to a model, or rank choices for a prompt.", _score
    ),
    "explain": Listed(
        "Show why the next word is that one: what each layer gathered and recalled.", _explain
    ),
    "scaling": Listed(
        "Fit the law of size to a family of models: L = E + A / N^alpha, with intervals.", _scaling
    ),
    "train-tokenizer": Listed(
        "Train a tokenizer from text.",
        _train_tokenizer,
    ),
    "tokenize": Listed("Turn text into tokens.", _tokenize),
    "detokenize": Listed(
        "Turn ids back into the text they came from, byte for byte, with nothing added.",
        _detokenize,
    ),
    "count": Listed("Count the tokens of files, as `wc` counts words.", _count),
    "inspect": Listed(
        "Show what a checkpoint is: its stack layer by layer, parameters, memory, tokenizer.",
        _inspect,
    ),
    "compare": Listed(
        "Set tokenizers side by side on text: size, cost, words, vocabularies, what comes back.",
        _compare,
    ),
    "quantize": Listed(
        "Write a checkpoint with its weights in int8 or int4, which loads without the original.",
        _quantize,
    ),
    "doctor": Listed(
        "Examine a checkpoint without loading it: files, shards, weights, vocabulary, memory.",
        _doctor,
    ),
    "models": Listed("List the models that are cached, and the one that ships inside.", _models),
}
_OPTIONS: dict[str, Any] = {
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class _Commands(TyperGroup):
    """The commands by name; only the one that is called is imported."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name in COMMANDS else command, rest


def load_command(name: str) -> Any:
    """The command `name` of the table with all its options."""
    module = COMMANDS[name].load()
    alone = typer.Typer(add_completion=False, **_OPTIONS)
    function = getattr(module, name.replace("-", "_"))
    plain = not getattr(function, "unfolded", False)
    whole = configured(name, function) if plain else function
    kind = getattr(module, "COMMAND_CLASS", None)
    alone.command(name, cls=kind, epilog=getattr(module, "EPILOG", None))(whole)
    command = typer.main.get_command(alone)
    if plain:
        add_variables(name, command)
    return command


def _unloaded() -> None:
    """Stands for a command until it is called."""


app = typer.Typer(
    name="lmtool",
    cls=_Commands,
    help="Run language models and train tokenizers, from the terminal.",
    no_args_is_help=True,
    **_OPTIONS,
)
for name, listed in COMMANDS.items():
    app.command(name, help=listed.help)(_unloaded)


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
    if os.environ.get(VARIABLE):
        return _complete(debug)
    try:
        if arguments[:1] in ([option] for option in OPTIONS):
            terminal.out(completion_script(arguments[0], arguments[1] if arguments[1:] else None))
            return Exit.DONE
        result: Any = app(args=arguments, prog_name="lmtool", standalone_mode=False)
        terminal.out("")  # a pipe that closed early shows at the last flush
        return int(result or Exit.DONE)
    except BaseException as error:
        arrived()
        if type(error).__name__ == "NoArgsIsHelpError":  # the page is printed already
            return Exit.USAGE
        usage = getattr(error, "format_message", None)
        if usage is not None:
            terminal.error(_one_line(usage()), _help_hint(error))
            return Exit.USAGE
        return explain_failure(error, terminal, debug)


def _complete(debug: bool) -> int:
    """Answer a shell's question. What goes wrong is kept from a prompt that is being typed."""
    tidy_words(os.environ)
    try:
        app(args=[], prog_name="lmtool", complete_var=VARIABLE, standalone_mode=False)
    except SystemExit as ended:  # how Typer ends it, with a code that fish's script reads
        return int(ended.code or 0)
    except BaseException:
        arrived()
        if debug:
            raise
    return Exit.FAILURE


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
    line = " ".join(text.split()).rstrip(".").replace(": Value error, ", ": ")
    return line[:1].lower() + line[1:]


def _help_hint(error: BaseException) -> str | None:
    context = getattr(error, "ctx", None)
    command = getattr(context, "command_path", None) or "lmtool"
    if command == "lmtool generate" and "extra argument" in str(error):
        return "put the prompt in quotes"
    if "Did you mean" in str(error):
        return None
    return f"`{command} --help` lists what it takes"
