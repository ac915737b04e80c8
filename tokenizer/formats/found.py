"""Which file of a folder is its tokenizer, and which format a file has. Reads a few bytes."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path

from ... import ModelError

TOKENIZER_JSON = "tokenizer.json"
# What is looked for in a folder, in this order. Where several are there they say the same, and
# the first says most.
PATTERNS = (
    TOKENIZER_JSON,
    "tekken.json",
    "vocab.json",
    "encoder.json",
    "tokenizer.model",
    "*.tiktoken",
    "tiktoken.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "sentencepiece.model",
    "vocab.txt",
)
NEEDS = {"vocab.json": "merges.txt", "encoder.json": "vocab.bpe"}
"""Files that say nothing without the one named here."""


def choose(names: Collection[str]) -> str | None:
    """Which of a folder's files is its tokenizer, if any of them is.

    Raises `ModelError` for several rank files, of which each would be another tokenizer.
    """
    for pattern in PATTERNS:
        found = sorted(name for name in names if fnmatchcase(name, pattern))
        found = [name for name in found if NEEDS.get(name, name) in names]
        if len(found) > 1:
            raise ModelError(
                f"several tokenizers are there: {', '.join(found)}", hint="name the file itself"
            )
        if found:
            return found[0]
    return None


def find_file(path: Path) -> Path | None:
    """The tokenizer's file at `path`, a folder or the file itself; None if there is none."""
    if not path.is_dir():
        return path if path.exists() else None
    try:
        names = {entry.name for entry in path.iterdir() if entry.exists()}
    except OSError as error:
        raise ModelError(f"cannot read `{path}`: {error.strerror or error}") from error
    name = choose(names)
    return None if name is None else path / name


def has_tokenizer(folder: Path) -> bool:
    """Whether a checkpoint's folder holds a tokenizer of any format."""
    return find_file(folder) is not None
