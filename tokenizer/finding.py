"""Which files a corpus is made of: files as named, folders, patterns, stdin."""

from __future__ import annotations

from collections.abc import Iterable
from glob import glob, has_magic
from pathlib import Path

from .. import InputError
from .opening import PACKED, STDIN, bare_suffix

SUFFIXES = (
    *(".txt", ".text", ".md", ".rst", ".jsonl", ".parquet"),
    *(".py", ".csv", ".tsv", ".html", ".xml"),
)
"""What is read from a folder; a file named on the command line is read whatever its name."""


def find_files(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Files as they are, folders as the text files below them, by name; `-` is stdin.

    What isn't there but has `*`, `?` or `[` in it is a pattern, `**` for folders at any depth.
    Hidden files and folders inside a folder are passed over. Raises `InputError` for a path that
    isn't there, a pattern that nothing matches or a folder without text.
    """
    found: list[Path] = []
    for path in paths:
        if path == STDIN or path.exists():
            found.extend(_inside(path))
        elif has_magic(str(path)):
            found.extend(_matching(path))
        else:
            raise InputError(f"no such file: `{path}`")
    return tuple(found)


def _inside(path: Path) -> list[Path]:
    if path == STDIN or not path.is_dir():
        return [path]
    inside = _text_files(path)
    if not inside:
        raise InputError(
            f"no text files in `{path}`",
            hint=f"it looks for names that end in {', '.join(SUFFIXES)}, also packed "
            f"({', '.join(PACKED)})",
        )
    return inside


def _matching(pattern: Path) -> list[Path]:
    """What a pattern matches: files whatever their names, and folders as text files in them."""
    found = {Path(name) for name in glob(str(pattern), recursive=True)}
    files = {path for path in found if not path.is_dir()}
    for folder in found - files:
        # `**` matches folders too, beside the files in them.
        if pattern.name != "**":
            files.update(_text_files(folder))
    if not files:
        raise InputError(f"no file matches `{pattern}`")
    return sorted(files)


def _text_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if _is_text_inside(folder, file))


def _is_text_inside(folder: Path, file: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not hidden and bare_suffix(file) in SUFFIXES and file.is_file()
