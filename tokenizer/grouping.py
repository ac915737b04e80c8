"""Counts of a comparison put together: by file, folder, language or script, and all in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .corpus import STDIN
from .languages import language_of

By = Literal["file", "folder", "language", "script"]


@dataclass(frozen=True)
class Cell:
    """What one script of one file has; `tokens` in the order of the tokenizers."""

    file: int
    script: str
    bytes: int
    characters: int
    words: int
    tokens: tuple[int, ...]
    spaced: bool
    """Whether the script is written with spaces, so that it has words to count."""


@dataclass(frozen=True)
class Group:
    """Cells added up under a name."""

    name: str
    bytes: int
    characters: int
    words: int
    tokens: tuple[int, ...]
    word_tokens: tuple[int, ...]
    """Tokens of the scripts that are written with spaces."""
    mostly_spaced: bool
    """Whether such scripts, letters and not only marks, have at least half of the characters."""

    def bytes_per_token(self, place: int) -> float | None:
        """Bytes that a token of tokenizer `place` stands for; None where there is none."""
        return self.bytes / self.tokens[place] if self.tokens[place] else None

    def characters_per_token(self, place: int) -> float | None:
        """Characters that a token stands for; None where there is none."""
        return self.characters / self.tokens[place] if self.tokens[place] else None

    def tokens_per_word(self, place: int) -> float | None:
        """Tokens that a word takes; None where words can't be told by spaces."""
        if not self.words or not self.mostly_spaced:
            return None
        return self.word_tokens[place] / self.words

    def change(self, place: int) -> float | None:
        """How many more tokens than the first tokenizer's, as a share of those."""
        return self.tokens[place] / self.tokens[0] - 1 if self.tokens[0] else None


def grouped(cells: Sequence[Cell], paths: Sequence[Path], by: By, width: int) -> list[Group]:
    """The cells by `by`, in the order of the files; scripts and languages by size.

    `width` is how many tokenizers there are.
    """
    name = _naming(paths, by)
    found: dict[str, list[Cell]] = {}
    if by in ("file", "folder"):
        # An empty file has no cells, but it was there.
        for place in range(len(paths)):
            found.setdefault(name(Cell(place, "", 0, 0, 0, (), False)), [])
    for cell in cells:
        found.setdefault(name(cell), []).append(cell)
    groups = [added_up(key, some, width) for key, some in found.items()]
    if by in ("language", "script"):
        groups.sort(key=lambda group: -group.bytes)
    return groups


def added_up(name: str, cells: Sequence[Cell], width: int) -> Group:
    """All of `cells` as one group."""
    spaced = [cell for cell in cells if cell.spaced]
    lettered = sum(cell.characters for cell in spaced if cell.script != "none")
    characters = sum(cell.characters for cell in cells)
    return Group(
        name,
        sum(cell.bytes for cell in cells),
        characters,
        sum(cell.words for cell in cells),
        tuple(sum(cell.tokens[place] for cell in cells) for place in range(width)),
        tuple(sum(cell.tokens[place] for cell in spaced) for place in range(width)),
        2 * lettered >= characters > 0,
    )


def file_names(paths: Sequence[Path]) -> list[str]:
    """Names for files, as short as they can be told apart: what all folders share is left out."""
    files = [path for path in paths if path != STDIN]
    folders = {path.parent for path in files}
    shared = _shared_parts([folder.parts for folder in folders])
    return [
        "stdin" if path == STDIN else str(Path(*path.parts[min(shared, len(path.parts) - 1) :]))
        for path in paths
    ]


def _shared_parts(paths: Sequence[tuple[str, ...]]) -> int:
    count = 0
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        count += 1
    return count


def _naming(paths: Sequence[Path], by: By) -> Callable[[Cell], str]:
    """What the group of a cell is called."""
    if by == "script":
        return lambda cell: cell.script.replace("_", " ")
    if by == "language":
        languages = [language_of(path) or "no language in the name" for path in paths]
        return lambda cell: languages[cell.file]
    if by == "folder":
        folders = ["stdin" if path == STDIN else str(path.parent) for path in paths]
        return lambda cell: folders[cell.file]
    names = file_names(paths)
    return lambda cell: names[cell.file]
