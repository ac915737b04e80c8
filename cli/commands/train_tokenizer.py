"""`lmtool train-tokenizer`: text in, tokenizer.json and tokenizer_config.json out."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ... import UsageError
from ..completion import complete_model
from ..corpus_options import Errors, ErrorsHow, TextField, tell_faults
from ..options import Color, ColorWhen, Debug, Quiet, Verbose, open_terminal
from ..sources import say_if_typing
from ..terminal import Terminal
from ..token_options import open_tokenizer

if TYPE_CHECKING:
    from ...tokenizer.recipe import Kind
    from ...tokenizer.training.train import Base


class NormalForm(str, Enum):
    """Unicode's normal forms."""

    none = "none"
    NFC = "NFC"
    NFD = "NFD"
    NFKC = "NFKC"
    NFKD = "NFKD"


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
    vocab_size: Annotated[
        int | None,
        typer.Option(help="Ids in all, special tokens among them. Default: 32768, or as --from."),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            help="Where no merge may cross: gpt2, gpt4, llama3, qwen2, o200k, digits, scripts, or "
            "a regex. Default: gpt4."
        ),
    ] = None,
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
    normalization: Annotated[
        NormalForm | None,
        typer.Option(help="Bring text into a normal form first. Default: none."),
    ] = None,
    byte_fallback: Annotated[
        bool,
        typer.Option(
            "--byte-fallback",
            help="Start from characters, not bytes, as SentencePiece does; bytes for rare ones.",
        ),
    ] = False,
    unigram: Annotated[
        bool,
        typer.Option("--unigram", help="A unigram model over characters instead of merges."),
    ] = False,
    alphabet: Annotated[
        int | None,
        typer.Option(
            min=1, help="Characters with an id of their own. Default: a quarter of the vocabulary."
        ),
    ] = None,
    again: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TOKENIZER",
            autocompletion=complete_model,
            help="Learn this tokenizer's pipeline anew: its splitting, its special tokens.",
        ),
    ] = None,
    extend: Annotated[
        str | None,
        typer.Option(
            metavar="TOKENIZER",
            autocompletion=complete_model,
            help="Add merges to this tokenizer; all its ids stay. --vocab-size counts them too.",
        ),
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
    """Train a tokenizer from text.

    The result is the same for any order of files and any number of threads, and transformers'
    AutoTokenizer loads it.
    """
    from ...tokenizer.corpus import STDIN, Corpus, find_files
    from ...tokenizer.recipe import Recipe
    from ...tokenizer.save import check_folder, save
    from ...tokenizer.training.further import sized
    from ...tokenizer.training.memory import read_size, usual_memory
    from ...tokenizer.training.train import Effort
    from ..training import run_training
    from ..training_report import tell_training

    terminal = open_terminal(quiet, verbose, color)
    kind: Kind = "unigram" if unigram else "characters" if byte_fallback else "bytes"
    specials = tuple(special) if special else ("<|endoftext|>",)
    recipe = Recipe(
        vocab_size=vocab_size or 32768,
        pattern=pattern or "gpt4",
        specials=specials,
        bos=bos,
        eos=eos or specials[0],
        min_frequency=min_frequency,
        max_token_length=max_token_length,
        kind=kind,
        normalization=normalization.value if normalization else "none",
        alphabet=alphabet,
    )
    base = None
    if again is not None or extend is not None:
        chosen: dict[str, object] = {
            "--pattern": pattern,
            "--special": special,
            "--bos": bos,
            "--eos": eos,
            "--normalization": normalization,
            "--byte-fallback": byte_fallback,
            "--unigram": unigram,
            "--alphabet": alphabet if extend is not None else None,
            "--from": again if extend is not None else None,
        }
        base = _base(again, extend, chosen, terminal)
        recipe = sized(recipe, base.tokenizer, vocab_size)
        specials = tuple(base.tokenizer.added.values())
    else:
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
    training = run_training(terminal, corpus, recipe, effort, output, base)
    tell_faults(terminal, training.text.files, errors)
    written = save(training, output)
    tell_training(terminal, training)
    terminal.note(f"written: {', '.join(map(str, written))}")


def _base(
    again: str | None, extend: str | None, chosen: dict[str, object], terminal: Terminal
) -> Base:
    """The tokenizer to begin with. Raises `UsageError` for what it says already."""
    from ...tokenizer.training.train import Base

    option = "--from" if extend is None else "--extend"
    for other, given in chosen.items():
        if given:
            raise UsageError(
                f"{option} and {other} exclude each other", hint="the tokenizer decides that"
            )
    name = again if extend is None else extend
    assert name is not None
    return Base(open_tokenizer(name, False, terminal), extend is not None)
