"""A benchmark's results as they are printed: a table, Markdown, CSV or JSON, row by row."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .answers import as_json
from .sink import Sink

if TYPE_CHECKING:
    from ..engine.bench import Ceiling, Point, Result, Spread, Subject


@dataclass(frozen=True)
class Row:
    """One result, and what it is a result of."""

    subject: Subject
    result: Result
    seed: int

    @property
    def quant(self) -> str:
        """The form that weights are held in, `none` for plain numbers."""
        return self.subject.model.quant or "none"


def row_as_json(row: Row) -> dict[str, Any]:
    """A row by itself: what was measured, the figures, the model and the machine."""
    result, point, model = row.result, row.result.point, row.subject.model
    ceiling, cost = result.ceiling, result.cost
    prefill = decode = None
    if result.prefill is not None:
        prefill = {
            "tokens_per_s": _spread(result.prefill, 2),
            "flops": cost.prompt_flops,
            "share_of_matrix_rate": _spread(result.matrix_share, 4),
        }
    if result.decode is not None:
        decode = {
            "tokens_per_s": _spread(result.decode, 2),
            "bytes_per_step": round(cost.step_bytes),
            "share_of_bandwidth": _spread(result.bandwidth_share, 4),
        }
    measured = {
        "memory_bandwidth": None if ceiling is None else round(ceiling.bandwidth),
        "matrix_rate": None if ceiling is None else round(ceiling.matrix_rate),
    }
    return {
        "quant": model.quant,
        "dtype": model.dtype,
        "compiled": row.subject.compiled,
        "threads": row.subject.machine.threads,
        **asdict(point),
        "prefill": prefill,
        "first_token_s": _spread(result.first_token_s, 6),
        "decode": decode,
        "peak_memory_bytes": result.peak_bytes,
        "error": None if result.error is None else result.error.message,
        "seed": row.seed,
        "repeats": [
            {
                "prefill_s": one.prefill_s,
                "first_token_s": one.first_token_s,
                "decode_s": one.decode_s,
                "memory_bandwidth": one.ceiling.bandwidth,
                "matrix_rate": one.ceiling.matrix_rate,
            }
            for one in result.repeats
        ],
        "model": {**asdict(model), "weight_bytes": row.subject.weight_bytes},
        "machine": {**asdict(row.subject.machine), **measured},
    }


def _spread(spread: Spread | None, digits: int) -> dict[str, float] | None:
    if spread is None:
        return None
    named = {"median": spread.median, "min": spread.low, "max": spread.high}
    return {name: round(value, digits) for name, value in named.items()}


class ReportWriter(Protocol):
    """Takes rows as they are measured."""

    def begin(self) -> None:
        """Nothing is measured yet."""
        ...

    def add(self, row: Row) -> None:
        """One more row."""
        ...

    def end(self) -> None:
        """There are no more, whether all are measured or not."""
        ...


class LinesWriter:
    """A JSON object a line."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def begin(self) -> None:
        """See `ReportWriter`."""

    def add(self, row: Row) -> None:
        """See `ReportWriter`."""
        self._sink.write(as_json(row_as_json(row)) + "\n")

    def end(self) -> None:
        """See `ReportWriter`."""


class ArrayWriter:
    """A JSON array of the same objects, valid as soon as it is closed."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._before = "\n"

    def begin(self) -> None:
        """See `ReportWriter`."""
        self._sink.write("[")

    def add(self, row: Row) -> None:
        """See `ReportWriter`."""
        self._sink.write(self._before + as_json(row_as_json(row)))
        self._before = ",\n"

    def end(self) -> None:
        """See `ReportWriter`."""
        self._sink.write("\n]\n")


class CsvWriter:
    """A line a row, figures without units: tokens a second, seconds, shares of 1, bytes."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def begin(self) -> None:
        """See `ReportWriter`."""
        self._line(CSV)

    def add(self, row: Row) -> None:
        """See `ReportWriter`."""
        found = row_as_json(row)
        self._line([_dig(found, path) for path in CSV.values()])

    def end(self) -> None:
        """See `ReportWriter`."""

    def _line(self, cells: Sequence[Any] | dict[str, str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        self._sink.write(line.getvalue())


CSV = {
    "model": "model.name",
    "parameters": "model.parameters",
    "weight_bytes": "model.weight_bytes",
    "quant": "quant",
    "dtype": "dtype",
    "compiled": "compiled",
    "threads": "threads",
    "batch": "batch",
    "depth": "depth",
    "prompt": "prompt",
    "tokens": "tokens",
    "prefill_tokens_per_s": "prefill.tokens_per_s.median",
    "prefill_min": "prefill.tokens_per_s.min",
    "prefill_max": "prefill.tokens_per_s.max",
    "share_of_matrix_rate": "prefill.share_of_matrix_rate.median",
    "first_token_s": "first_token_s.median",
    "decode_tokens_per_s": "decode.tokens_per_s.median",
    "decode_min": "decode.tokens_per_s.min",
    "decode_max": "decode.tokens_per_s.max",
    "share_of_bandwidth": "decode.share_of_bandwidth.median",
    "peak_memory_bytes": "peak_memory_bytes",
    "memory_bandwidth": "machine.memory_bandwidth",
    "matrix_rate": "machine.matrix_rate",
    "processor": "machine.processor",
    "device": "machine.device",
    "torch": "machine.torch",
    "error": "error",
}
"""A column's name, and where its value stands in a row's JSON object."""


def _dig(found: Any, path: str) -> Any:
    for key in path.split("."):
        found = None if found is None else found[key]
    return found


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, its least width, and its cell in a row."""

    title: str
    width: int
    cell: Callable[[Row], str]


PARAMETERS = (
    Column("quant", 5, lambda row: row.quant),
    Column("dtype", 8, lambda row: row.subject.model.dtype),
    Column("threads", 7, lambda row: str(row.subject.machine.threads)),
    Column("batch", 5, lambda row: str(row.result.point.batch)),
    Column("depth", 6, lambda row: str(row.result.point.depth)),
    Column("prompt", 6, lambda row: str(row.result.point.prompt)),
    Column("tokens", 6, lambda row: str(row.result.point.tokens)),
)
PREFILL = (
    Column("prefill t/s", 13, lambda row: _rate(row.result.prefill)),
    Column("of matrix", 9, lambda row: _percent(row.result.matrix_share)),
    Column("first token", 11, lambda row: _seconds(row.result.first_token_s)),
)
DECODE = (
    Column("decode t/s", 13, lambda row: _rate(row.result.decode)),
    Column("of memory", 9, lambda row: _percent(row.result.bandwidth_share)),
)
MEMORY = (Column("peak", 7, lambda row: size_in_words(row.result.peak_bytes)),)


def columns(varying: set[str], points: Sequence[Point]) -> list[Column]:
    """A table's columns: parameters that vary, prompt and tokens always, figures that exist."""
    found = [c for c in PARAMETERS if c.title in varying | {"prompt", "tokens"}]
    if any(point.prompt for point in points):
        found += PREFILL
    if any(point.tokens for point in points):
        found += DECODE
    return [*found, *MEMORY]


class TableWriter:
    """Aligned text, or Markdown below the line that says of what. Both come row by row."""

    def __init__(
        self, sink: Sink, table: Sequence[Column], *, about: str | None = None, bold: bool = False
    ) -> None:
        """Write `table` to `sink`, as Markdown if there is something to say `about` it."""
        self._sink = sink
        self._table = table
        self._about = about
        self._bold = bold

    def begin(self) -> None:
        """See `ReportWriter`."""
        heads = [f"{column.title:>{column.width}}" for column in self._table]
        if self._about is not None:
            self._sink.write(f"{self._about}\n\n{_markdown(heads)}")
            self._sink.write(_markdown([f"{'-' * (len(head) - 1)}:" for head in heads]))
        else:
            line = "  ".join(heads)
            self._sink.write(f"\x1b[1m{line}\x1b[0m\n" if self._bold else f"{line}\n")

    def add(self, row: Row) -> None:
        """See `ReportWriter`."""
        cells = [f"{column.cell(row):>{column.width}}" for column in self._table]
        self._sink.write(_markdown(cells) if self._about is not None else "  ".join(cells) + "\n")

    def end(self) -> None:
        """See `ReportWriter`."""


def open_report(
    format: str, sink: Sink, table: Sequence[Column], about: str, bold: bool
) -> ReportWriter:
    """The writer for a format; what a table can't hold for want of columns is said in `about`."""
    if format == "json":
        return ArrayWriter(sink)
    if format == "jsonl":
        return LinesWriter(sink)
    if format == "csv":
        return CsvWriter(sink)
    return TableWriter(sink, table, about=about if format == "markdown" else None, bold=bold)


def model_in_words(subject: Subject) -> str:
    """What is measured, in one line."""
    card = subject.model
    compiled = "compiled" if subject.compiled else None
    held = ", ".join(word for word in (card.dtype, card.quant, compiled) if word)
    return (
        f"{card.name} ({card.family}, {card.parameters:,} parameters, {held}, "
        f"{size_in_words(subject.weight_bytes)}), {_threads(subject.machine.threads)}"
    )


def machine_in_words(subject: Subject) -> str:
    """Where it is measured, in one line."""
    machine = subject.machine
    device = "" if machine.device == "cpu" else f", {machine.device}"
    cores = "1 core" if machine.cores == 1 else f"{machine.cores} cores"
    return f"{machine.processor}, {cores}{device}, torch {machine.torch}"


def ceiling_in_words(ceiling: Ceiling) -> str:
    """What this machine can do."""
    memory, rate = ceiling.bandwidth / 1e9, ceiling.matrix_rate / 1e9
    return f"{memory:.1f} GB/s of memory read, {rate:,.0f} GFLOP/s in a large product"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _markdown(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _rate(spread: Spread | None) -> str:
    """The median, and how far the furthest repeat is from it."""
    if spread is None:
        return "-"
    furthest = max(spread.high - spread.median, spread.median - spread.low)
    return f"{number_in_words(spread.median)} ±{furthest / spread.median:.0%}"


def _percent(spread: Spread | None) -> str:
    return "-" if spread is None else f"{spread.median:.0%}"


def _seconds(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    seconds = spread.median
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


def number_in_words(value: float) -> str:
    """A rate to three or four figures."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def size_in_words(count: float | None) -> str:
    """Bytes for people, in powers of ten."""
    if count is None:
        return "-"
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
