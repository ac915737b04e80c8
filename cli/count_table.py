"""Counts of texts as `wc` prints them, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import InputError

_UNKNOWN_WIDTH = 7
"""Columns for counts of a text whose size shows only at its end; `wc` has seven too."""


@dataclass(frozen=True)
class Count:
    """How long one text is; `file` is None where it has no name, `-` for stdin."""

    file: str | None
    tokens: int
    newlines: int
    characters: int
    bytes: int

    @property
    def ratio(self) -> float | None:
        """Bytes a token; None without tokens."""
        return self.bytes / self.tokens if self.tokens else None

    def record(self, *, ratio: bool = False) -> dict[str, object]:
        """The counts by name, and the `ratio` where that is asked for."""
        counts: dict[str, object] = {
            "tokens": self.tokens,
            "newlines": self.newlines,
            "characters": self.characters,
            "bytes": self.bytes,
        }
        return counts | {"ratio": self.ratio} if ratio else counts


class CountTable:
    """Lines of numbers to the right, names behind."""

    def __init__(self, columns: Sequence[str], files: Sequence[Path] = ()) -> None:
        """`columns` are names of `Count`'s; the size of `files` says how wide they get."""
        self._columns = columns
        self._width = _width_for(files) if len(files) > 1 else 1
        self._named = len(files) > 1 or list(files) not in ([], [Path("-")])

    def line(self, count: Count) -> str:
        """One text's line; the name is left out where there is only stdin."""
        numbers = " ".join(f"{self._written(count, name):>{self._width}}" for name in self._columns)
        name = f" {count.file}" if count.file is not None and self._named else ""
        return f"{numbers}{name}\n"

    def _written(self, count: Count, column: str) -> str:
        if column != "ratio":
            return str(getattr(count, column))
        return "-" if count.ratio is None else f"{count.ratio:.2f}"


def total_of(counts: Sequence[Count]) -> Count:
    """All of `counts` added up."""
    return Count(
        "total",
        sum(one.tokens for one in counts),
        sum(one.newlines for one in counts),
        sum(one.characters for one in counts),
        sum(one.bytes for one in counts),
    )


def as_json(
    model: str,
    counts: Sequence[Count],
    failed: Sequence[tuple[str, InputError]],
    *,
    ratio: bool = False,
) -> dict[str, object]:
    """The counts of each file and their total; `failed` is left out where nothing did."""
    found: dict[str, object] = {
        "model": model,
        "files": [
            {"file": None if one.file == "-" else one.file, **one.record(ratio=ratio)}
            for one in counts
        ],
        "total": total_of(counts).record(ratio=ratio),
    }
    if failed:
        found["failed"] = [{"file": file, "error": error.message} for file, error in failed]
    return found


def _width_for(files: Sequence[Path]) -> int:
    """Columns that the counts of `files` will take at most, as far as their sizes tell."""
    size, width = 0, 1
    for path in files:
        try:
            plain = path.is_file() and path.suffix not in (".gz", ".xz", ".zst")
            size += path.stat().st_size if plain else 0
        except (OSError, ValueError):
            continue  # the error comes when it is read
        width = width if plain else _UNKNOWN_WIDTH
    return max(width, len(str(size)))
