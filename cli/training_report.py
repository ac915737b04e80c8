"""What is said of a tokenizer once it is trained: how well it packs each file, and what it took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .progress import megabytes
from .terminal import Terminal

if TYPE_CHECKING:
    from ..tokenizer.training.report import FileReport
    from ..tokenizer.training.train import Training

_FILES = 5
"""Files that are told of one by one; all of them with -v."""

_TOKENS = 5
"""Tokens or merges that are named; twice as many with -v."""

_WIDTH = 30
"""Characters of a token that are shown."""


def tell_training(terminal: Terminal, training: Training) -> None:
    """Tell of size, time and memory, bytes a token by file, longest tokens, rarest merges."""
    from ..tokenizer.training.report import rarest_merges

    wanted = training.recipe.vocab_size
    if training.vocab_size < wanted:
        terminal.warn(
            f"the text has too few pairs to merge: {training.vocab_size:,} tokens "
            f"instead of {wanted:,}"
        )
    terminal.note(
        f"trained: {training.vocab_size:,} tokens from {megabytes(training.bytes)} of text "
        f"in {training.seconds:.1f} s{_memory()}"
    )
    _tell_files(terminal, training)
    many = 2 * _TOKENS if terminal.verbosity > 0 else _TOKENS
    if longest := training.longest(many):
        terminal.note(f"longest tokens: {', '.join(map(_shown, longest))}")
    if rarest := rarest_merges(training, many):
        merges = (f"{_shown(merge.text)} {merge.count:,}" for merge in rarest)
        terminal.note(f"rarest merges, and how often they occurred: {', '.join(merges)}")


def _memory() -> str:
    from ..tokenizer.training.memory import peak_memory

    peak = peak_memory()
    if peak is None:
        return ""
    own, other = peak
    counting = f", and {megabytes(other)} in each process that counted" if other else ""
    return f", in {megabytes(own)} of memory{counting}"


def _tell_files(terminal: Terminal, training: Training) -> None:
    """Bytes a token, of all the text and of the files where it is least, worst first."""
    from ..tokenizer.training.report import bytes_per_token

    whole = bytes_per_token(training.files)
    if whole is None:
        return
    terminal.note(f"bytes a token: {whole:.2f}")
    files = sorted(
        (one for one in training.files if one.measured is not None),
        key=lambda one: (_rate(one), str(one.count.path)),
    )
    if len(files) < 2:
        return
    shown = files if terminal.verbosity > 0 else files[:_FILES]
    for one in shown:
        sample = "" if one.measured and one.measured.whole else " (of a sample)"
        terminal.note(f"  {_rate(one):.2f} in {_name(one)}{sample}")
    if rest := len(files) - len(shown):
        terminal.note(f"  and {rest:,} more, up to {_rate(files[-1]):.2f}: -v tells all")


def _rate(file: FileReport) -> float:
    return file.measured.bytes_per_token if file.measured else 0.0


def _name(file: FileReport) -> str:
    from ..tokenizer.corpus import source_name

    return source_name(file.count.path)


def _shown(token: str) -> str:
    """A token in quotes, its middle left out if it is long."""
    if len(token) > _WIDTH:
        token = f"{token[: _WIDTH // 2]}…{token[-(_WIDTH // 2 - 1) :]}"
    return repr(token)
