"""A small file's contents as bytes, text or JSON, with every fault named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from .. import ModelError

LFS_POINTER = b"version https://git-lfs"
MOST = 1 << 30
"""Bytes that a tokenizer's file has at most: a larger one is something else."""


def read_contents(file: Path) -> bytes:
    """All bytes of a file.

    Raises `ModelError` where it can't be read, is a Git LFS pointer, or is too large to be part
    of a tokenizer.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(MOST + 1)
    except OSError as error:
        raise ModelError(f"cannot read `{file}`: {error.strerror or error}") from error
    if len(data) > MOST:
        raise ModelError(f"`{file}` has more than {MOST:,} bytes: no tokenizer is so large")
    if data.startswith(LFS_POINTER):
        raise ModelError(
            f"`{file}` is a Git LFS pointer, not the file itself",
            hint="`git lfs pull` in its repository fetches it",
        )
    return data


def read_utf8(file: Path) -> str:
    """A text file. Raises `ModelError` where it can't be read or isn't UTF-8."""
    try:
        return read_contents(file).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"`{file}` is not UTF-8: offset {error.start}") from error


def parse_json(file: Path, data: bytes) -> object:
    """What `data`, the contents of `file`, says as JSON. Raises `ModelError` if it says nothing."""
    if not data:
        raise ModelError(f"`{file}` is empty")
    try:
        return json.loads(data)
    except UnicodeDecodeError as error:
        raise ModelError(f"`{file}` is not UTF-8: offset {error.start}") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}, of {len(data)} bytes"
        raise ModelError(f"`{file}` is not JSON: {error.msg} at {place}") from error
    except RecursionError as error:
        raise ModelError(f"`{file}` is not JSON that can be read: nested too deep") from error
    except ValueError as error:  # a number with more digits than Python reads
        raise ModelError(f"`{file}` is not JSON that can be read: {error}") from error


def read_object(file: Path, optional: bool = False) -> dict[str, Any]:
    """A JSON object from a file; empty if the file isn't there and is `optional`."""
    if optional and not file.exists():
        return {}
    value = parse_json(file, read_contents(file))
    if not isinstance(value, dict):
        raise ModelError(f"`{file}` is not a JSON object")
    return cast("dict[str, Any]", value)
