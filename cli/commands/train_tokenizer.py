"""`lmtool train-tokenizer`: text in, tokenizer.json and tokenizer_config.json out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import Color, ColorWhen, Debug, Quiet, Verbose, open_terminal


def train_tokenizer(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Files (.txt .jsonl, also .gz .xz) or folders; none or `-`: stdin."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for tokenizer.json and its config.")
    ] = Path("tokenizer"),
    vocab_size: Annotated[int, typer.Option(help="Ids in all, special tokens among them.")] = 32768,
    pattern: Annotated[
        str, typer.Option(help="Where merges stop: gpt2, gpt4, qwen2, o200k, or a regex.")
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
    sample_bytes: Annotated[
        int | None, typer.Option(help="Learn from about this many bytes, taken evenly.")
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
    from ...tokenizer.train import train, write_tokenizer
    from ..progress import reading

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
    paths = find_files(files or [STDIN])
    size = None if STDIN in paths else sum(path.stat().st_size for path in paths)
    with reading(terminal, "training", size) as advance:
        corpus = Corpus(paths, (*specials, *(doc_separator or ())), advance, sample_bytes)
        training = train(corpus, recipe)
    write_tokenizer(training, output)
    terminal.note(
        f"{output}: {training.vocab_size} tokens from {training.characters} characters "
        f"in {training.seconds:.1f} s"
    )
