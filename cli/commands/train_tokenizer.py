"""`lmtool train-tokenizer`: text in, tokenizer.json and tokenizer_config.json out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ... import UsageError
from ..corpus_options import Errors, ErrorsHow, TextField, tell_faults
from ..options import Color, ColorWhen, Debug, Quiet, Verbose, open_terminal
from ..sources import say_if_typing
from ..terminal import Terminal

if TYPE_CHECKING:
    from ...tokenizer.training.train import Training


def train_tokenizer(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Text files, .jsonl, .parquet, packed ones, folders, patterns; none or `-`: stdin."
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for tokenizer.json and its config.")
    ] = ...,  # pyright: ignore[reportArgumentType]  # typer's way to say that it is required
    vocab_size: Annotated[int, typer.Option(help="Ids in all, special tokens among them.")] = 32768,
    pattern: Annotated[
        str, typer.Option(help="Where no merge may cross: gpt2, gpt4, qwen2, o200k, or a regex.")
    ] = "gpt4",
    special: Annotated[
        list[str] | None,
        typer.Option(help="A special token; repeat for more. Default: <|endoftext|>."),
    ] = None,
    bos: Annotated[
        str | None, typer.Option(help="The special token to put before every text.")
    ] = None,
    eos: Annotated[
        str | None, typer.Option(help="The special token that ends a text. Default: the first.")
    ] = None,
    min_frequency: Annotated[int, typer.Option(help="Merge no pair that is rarer.")] = 2,
    max_token_length: Annotated[
        int | None, typer.Option(help="Learn no token of more bytes than this.")
    ] = None,
    doc_separator: Annotated[
        list[str] | None,
        typer.Option(help="Text that parts documents in a file; special tokens do so too."),
    ] = None,
    errors: Errors = ErrorsHow.strict,
    text_field: TextField = "text",
    sample_bytes: Annotated[
        int | None, typer.Option(help="Learn from about this many bytes, spread over the text.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("-t", "--threads", min=1, help="Threads. Default: every core.")
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Memory to take, about: 2G, 800M. Default: 1280M, or half of what is free.",
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = ColorWhen.auto,
    debug: Debug = False,
) -> None:
    """Train a byte-level BPE tokenizer from text.

    The result is the same for any order of files and any number of threads, and transformers'
    AutoTokenizer loads it.
    """
    from ...tokenizer.corpus import STDIN, Corpus, find_files
    from ...tokenizer.recipe import Recipe
    from ...tokenizer.save import check_folder, save
    from ...tokenizer.training.memory import read_size, usual_memory
    from ...tokenizer.training.train import Effort
    from ..training import run_training

    terminal = open_terminal(quiet, verbose, color)
    specials = tuple(special) if special else ("<|endoftext|>",)
    recipe = Recipe(
        vocab_size=vocab_size,
        pattern=pattern,
        specials=specials,
        bos=bos,
        eos=eos or specials[0],
        min_frequency=min_frequency,
        max_token_length=max_token_length,
    )
    recipe.check()
    if sample_bytes is not None and sample_bytes < 1:
        raise UsageError(f"--sample-bytes {sample_bytes} is no text at all")
    check_folder(output)
    separators = (*specials, *(doc_separator or ()))
    paths = find_files(files or [STDIN])
    corpus = Corpus(
        paths, separators, sample_bytes=sample_bytes, errors=errors.value, text_field=text_field
    )
    if STDIN in paths:
        say_if_typing(terminal, "text")
    effort = Effort(threads, read_size(max_memory) if max_memory else usual_memory())
    names = [path.name for path in paths]
    training = run_training(terminal, corpus, recipe, effort, names, output)
    tell_faults(terminal, training.text.files, errors)
    _tell(terminal, training, save(training, names, output))


def _tell(terminal: Terminal, training: Training, written: tuple[Path, ...]) -> None:
    from ..progress import megabytes

    wanted = training.recipe.vocab_size
    if training.vocab_size < wanted:
        terminal.warn(
            f"the text has too few pairs to merge: {training.vocab_size:,} tokens "
            f"instead of {wanted:,}"
        )
    terminal.note(
        f"trained: {training.vocab_size:,} tokens from {megabytes(training.bytes)} of text "
        f"in {training.seconds:.1f} s"
    )
    terminal.detail(f"longest tokens: {', '.join(map(repr, training.longest()))}")
    terminal.note(f"written: {', '.join(map(str, written))}")
