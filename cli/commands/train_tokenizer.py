"""`lmtool train-tokenizer`: text in, tokenizer.json and tokenizer_config.json out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ... import UsageError
from .. import training_options as ask
from ..corpus_options import ErrorsHow, tell_faults
from ..options import Color, ColorWhen, Debug, Quiet, Verbose, open_terminal
from ..sources import say_if_typing
from ..token_options import open_tokenizer

if TYPE_CHECKING:
    from ...tokenizer.recipe import Kind
    from ...tokenizer.training.train import Base
    from ..terminal import Terminal


def train_tokenizer(
    files: ask.Files = None,
    output: ask.Output = ...,  # pyright: ignore[reportArgumentType]  # Typer's word for required
    doc_separator: ask.DocSeparator = None,
    errors: ask.Errors = ErrorsHow.strict,
    text_field: ask.TextField = "text",
    sample_bytes: ask.SampleBytes = None,
    pattern: ask.Pattern = None,
    normalization: ask.Normalization = None,
    vocab_size: ask.VocabSize = None,
    min_frequency: ask.MinFrequency = None,
    max_token_length: ask.MaxTokenLength = None,
    byte_fallback: ask.ByteFallback = False,
    unigram: ask.Unigram = False,
    alphabet: ask.Alphabet = None,
    special: ask.SpecialTokens = None,
    bos: ask.BosToken = None,
    eos: ask.EosToken = None,
    again: ask.From = None,
    extend: ask.Extend = None,
    threads: ask.Threads = None,
    max_memory: ask.MaxMemory = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = ColorWhen.auto,
    debug: Debug = False,
) -> None:
    """Train a tokenizer from text.

    The result is the same for any order of files and any number of threads.
    transformers' AutoTokenizer loads it.
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
    if unigram and min_frequency is not None:
        raise UsageError("--min-frequency is about merges, and --unigram makes none")
    recipe = Recipe(
        vocab_size=32768 if vocab_size is None else vocab_size,
        pattern="gpt4" if pattern is None else pattern,
        specials=specials,
        bos=bos,
        eos=specials[0] if eos is None else eos,
        min_frequency=2 if min_frequency is None else min_frequency,
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
            both = "--from learns its kind anew from your text, --extend keeps its tokens"
            hint = both if other == "--from" else "the tokenizer decides that"
            raise UsageError(f"{option} and {other} exclude each other", hint=hint)
    name = again if extend is None else extend
    assert name is not None
    return Base(open_tokenizer(name, False, terminal), extend is not None)
