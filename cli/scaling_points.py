"""Points of a scaling law: measured models, and the CSV files that hold them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import InputError

COLUMNS = {
    "model": ("model", "name"),
    "N": ("n", "params", "parameters", "non_embedding"),
    "total": ("total",),
    "D": ("d", "tokens"),
    "L": ("l", "loss"),
    "error": ("error", "loss_error"),
}
"""What a column means, and the names that it may have."""
_STDIN = Path("-")


@dataclass(frozen=True)
class Measured:
    """A model's size and loss; `tokens` is how many it was trained on, `error` its loss's own."""

    name: str
    size: float
    loss: float
    tokens: float | None = None
    error: float | None = None
    total: float | None = None
    """Parameters with embeddings, where they are known."""


@dataclass(frozen=True)
class Table:
    """A CSV file's points, and the columns that nothing was read from."""

    points: list[Measured]
    unused: list[str]


def read_points(path: Path, *, total: bool) -> Table:
    """The points of a CSV file, `-` for stdin; `total`: sizes are those of the column `total`.

    Lines that are empty or begin with `#` are left out. Raises `InputError` naming the line.
    """
    name = "stdin" if path == _STDIN else str(path)
    lines = _lines(path, name)
    if not lines:
        raise InputError(f"`{name}` is empty", hint="its first line names columns, as in: N,D,L")
    first, header = lines[0]
    delimiter = next((mark for mark in ",;\t" if mark in header), ",")
    names = _cells(header, delimiter)
    places, unused = _places(names, f"`{name}`, line {first}")
    if total and "total" not in places:
        raise InputError(
            f"`{name}` has no column `total`", hint="leave --params out to take the column N"
        )
    points = [
        _point(_cells(line, delimiter), len(names), places, total, f"`{name}`, line {number}")
        for number, line in lines[1:]
    ]
    if not points:
        raise InputError(f"`{name}` names columns, but has no points below them")
    return Table(points, unused)


def _lines(path: Path, name: str) -> list[tuple[int, str]]:
    try:
        if path == _STDIN:
            with open(0, "rb", closefd=False) as stream:
                data = stream.read()
        else:
            data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"no such file: `{name}`") from error
    except OSError as error:
        raise InputError(f"cannot read `{name}`: {error.strerror or error}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(
            f"`{name}` is not UTF-8: byte 0x{data[error.start]:02x} in line {line}"
        ) from error
    numbered = enumerate((line.strip() for line in text.splitlines()), 1)
    return [(number, line) for number, line in numbered if line and not line.startswith("#")]


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for row in csv.reader([line], delimiter=delimiter) for cell in row]


def _places(names: Sequence[str], where: str) -> tuple[dict[str, int], list[str]]:
    """Which column is where, and the names of the others."""
    places: dict[str, int] = {}
    unused: list[str] = []
    for place, name in enumerate(names):
        meant = next((one for one, all in COLUMNS.items() if name.lower() in all), None)
        if meant is None:
            unused.append(name)
        elif meant in places:
            raise InputError(f"{where}: two columns say {meant}: {', '.join(names)}")
        else:
            places[meant] = place
    for needed in ("N", "L"):
        if needed not in places:
            raise InputError(
                f"{where}: there is no column {needed} among: {', '.join(names)}",
                hint="N is the parameters, L the loss; D, total, error and model may be there too",
            )
    return places, unused


def _point(
    cells: Sequence[str], columns: int, places: dict[str, int], total: bool, where: str
) -> Measured:
    """What a line of a table of `columns` columns says. Raises `InputError`."""
    if len(cells) <= max(places.values()):
        raise InputError(f"{where} has {len(cells)} cells, too few for the columns of its first")
    if any(cells[columns:]):
        raise InputError(f"{where} has {len(cells)} cells, more than the {columns} columns")
    found = {name: cells[place] for name, place in places.items()}
    numbers = {
        name: _number(text, name, where)
        for name, text in found.items()
        if name != "model" and not (name in ("error", "total") and not text)
    }
    if total and "total" not in numbers:
        raise InputError(f"{where}: there is no total")
    size = numbers["total" if total else "N"]
    return Measured(
        found.get("model") or f"{size:.4g}",
        size,
        numbers["L"],
        numbers.get("D"),
        numbers.get("error"),
        numbers.get("total"),
    )


def _number(text: str, name: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise InputError(f"{where}: {name} is not a number: `{text}`") from error
    if not math.isfinite(value) or value < 0 or (value == 0 and name != "error"):
        raise InputError(f"{where}: {name} must be above 0 and finite: {text}")
    return value


def write_points(points: Sequence[Measured]) -> Iterator[str]:
    """The lines of a CSV file that `read_points` reads. Figures are whole: read, they are equal."""
    for row in (
        ("model", "N", "total", "L"),
        *((one.name, f"{one.size:.17g}", f"{one.total:.17g}", repr(one.loss)) for one in points),
    ):
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(row)
        yield line.getvalue()
