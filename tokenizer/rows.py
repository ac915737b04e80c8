"""Texts from tables: .jsonl, a row a line, and .parquet, one column of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from .. import InputError
from .decoding import Errors, Faults, read_text

_BATCH = 1 << 22
"""Bytes of a Parquet column to have in memory at a time, as far as rows allow."""


def jsonl_texts(
    path: Path,
    field: str,
    on_read: Callable[[int], None],
    errors: Errors = "strict",
    faults: Faults | None = None,
) -> Iterator[str]:
    """The `field` of each row of a .jsonl file; a row that is a plain string is itself the text."""
    for number, line in enumerate(_lines(read_text(path, on_read, errors, faults)), 1):
        if not line.strip():
            continue
        try:
            row: object = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = "nested too deep" if isinstance(error, RecursionError) else error
            raise InputError(f"`{path}` line {number} is not JSON: {reason}") from error
        fields = cast("dict[str, Any]", row) if isinstance(row, dict) else None
        text = cast("object", row) if fields is None else fields.get(field)
        if not isinstance(text, str):
            raise InputError(f'`{path}` line {number} has no "{field}"', hint=_field_hint(fields))
        if not line.isascii() or "\\u" in line:
            _refuse_surrogates(text, path, number)
        yield text


def _refuse_surrogates(text: str, path: Path, number: int) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"`{path}` line {number} has half a surrogate pair in its text") from error


def _field_hint(fields: dict[str, Any] | None) -> str | None:
    """Which of a row's fields hold text."""
    return _choose_from([name for name, value in (fields or {}).items() if isinstance(value, str)])


def _choose_from(names: list[str]) -> str | None:
    if not names:
        return None
    return f"name the field with --text-field; there is {', '.join(names[:8])}"


def _lines(blocks: Iterable[str]) -> Iterator[str]:
    # A line of many blocks is joined once, or the time would grow with its square.
    begun: list[str] = []
    for block in blocks:
        first, *lines = block.split("\n")
        begun.append(first)
        if lines:
            yield "".join(begun)
            *whole, last = lines
            yield from whole
            begun = [last]
    if any(begun):
        yield "".join(begun)


def parquet_texts(path: Path, field: str, on_read: Callable[[int], None]) -> Iterator[str]:
    """The texts of column `field`, rows without one left out; a batch of rows in memory at a time.

    Raises `InputError` where the file is damaged, or has no such column of text, or where
    pyarrow isn't installed.
    """
    try:
        parquet, arrow = import_module("pyarrow.parquet"), import_module("pyarrow")
    except ImportError as error:
        raise InputError(
            f"`{path}` needs the `pyarrow` package to be read",
            hint="`pip install 'lmtool[parquet]'`",
        ) from error
    try:
        with parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
            _check_column(file, arrow, path, field)
            yield from _column(file, field, on_read, path.stat().st_size)
    except (OSError, arrow.ArrowException) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
        raise InputError(
            f"cannot read `{path}`: {reason}",
            hint=None if getattr(error, "errno", None) else "it is damaged, or not Parquet",
        ) from error


def _check_column(file: Any, arrow: Any, path: Path, field: str) -> None:
    schema = file.schema_arrow
    texts = [one.name for one in schema if _is_text(arrow, one.type)]
    if field not in schema.names:
        raise InputError(f"`{path}` has no column `{field}`", hint=_choose_from(texts))
    if field not in texts:
        kind = schema.field(field).type
        raise InputError(f"column `{field}` of `{path}` is {kind}, not text", _choose_from(texts))


def _is_text(arrow: Any, kind: Any) -> bool:
    if arrow.types.is_dictionary(kind):
        kind = kind.value_type
    return arrow.types.is_string(kind) or arrow.types.is_large_string(kind)


def _column(file: Any, field: str, on_read: Callable[[int], None], size: int) -> Iterator[str]:
    facts = file.metadata
    rows = max(1, facts.num_rows)
    weight = sum(facts.row_group(at).total_byte_size for at in range(facts.num_row_groups))
    batch_rows = max(1, min(1 << 14, _BATCH * rows // max(1, weight)))
    done, told = 0, 0
    batches = file.iter_batches(batch_size=batch_rows, columns=[field], use_threads=False)
    for batch in batches:
        for text in batch.column(0).to_pylist():
            if text is not None:
                yield text
        done += batch.num_rows
        # The file is read here and there, so what was read is told by the share of its rows.
        now = size * done // rows
        on_read(now - told)
        told = now
    on_read(size - told)
