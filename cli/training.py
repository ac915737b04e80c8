"""Training as a person at a terminal sees it: a bar, and Ctrl-C that keeps the merges so far."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .. import UsageError
from .progress import training_bar
from .signals import Stopping, stoppable
from .terminal import Terminal

if TYPE_CHECKING:
    from ..tokenizer.corpus import Corpus
    from ..tokenizer.recipe import Recipe
    from ..tokenizer.training.train import Base, Effort, Training


def run_training(
    terminal: Terminal,
    corpus: Corpus,
    recipe: Recipe,
    effort: Effort,
    folder: Path,
    base: Base | None = None,
) -> Training:
    """Train, with a bar if somebody looks.

    Once there are merges, the first Ctrl-C (or SIGTERM) ends the training, not the command: the
    tokenizer so far is put beside `folder` as `folder.partial`, and the command ends as if by the
    signal. Before that, and from the second one on, it ends at once and nothing is written.
    Raises `UsageError` if a file is where that tokenizer would go.
    """
    from ..tokenizer.training.train import train

    partial = _beside(folder)
    if partial.exists() and not partial.is_dir():
        raise UsageError(
            f"`{partial}` is not a folder", hint="Ctrl-C would leave its tokenizer there; rename it"
        )
    ended = Stopping()

    @contextmanager
    def merging(on_merge: Callable[[int], None]) -> Generator[_Watch]:
        nonlocal ended
        with stoppable("SIGTERM", "SIGHUP") as ended:
            yield _Watch(ended, on_merge)

    with training_bar(terminal, corpus.size, recipe.vocab_size - recipe.smallest) as bar:
        if bar is None:
            training = train(corpus, recipe, effort, lambda: merging(lambda done: None), base)
        else:
            watched = replace(corpus, on_read=bar.read)
            training = train(watched, recipe, effort, lambda: merging(bar.merge), base)
    merges = training.merges
    if merges is not None and merges.dropped_words:
        terminal.warn(
            f"there was no room for {merges.dropped_words:,} rare words, which occur "
            f"{merges.dropped:,} times in all: --max-memory makes room"
        )
    if training.stopped:
        _keep(terminal, training, partial)
        ended.end()
    return training


class _Watch:
    """What the merge loop asks and tells while it works."""

    def __init__(self, stopping: Stopping, on_merge: Callable[[int], None]) -> None:
        self._stopping = stopping
        self._on_merge = on_merge

    def stopped(self) -> bool:
        return self._stopping.asked

    def merged(self, done: int) -> None:
        self._stopping.at_once = done == 0
        self._on_merge(done)


def _beside(folder: Path) -> Path:
    # `.` and `..` say where a folder is but not how it is called.
    named = folder if folder.name not in ("", "..") else Path(os.path.abspath(folder))
    return named.parent / f"{named.name}.partial"


def _keep(terminal: Terminal, training: Training, partial: Path) -> None:
    from ..tokenizer.save import save

    save(training, partial)
    terminal.note(
        f"interrupted: the tokenizer so far, {training.vocab_size:,} tokens, is in `{partial}`"
    )
