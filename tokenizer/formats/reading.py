"""From a file of any format to what it holds: the format is told by name and first bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ... import ModelError
from ..contents import parse_json, read_contents, read_object
from .built import Built, Source

_HEAD = 4096
_GPT2 = {
    **{"vocab.json": "vocab.json", "merges.txt": "vocab.json"},
    **{"encoder.json": "encoder.json", "vocab.bpe": "encoder.json"},
}
"""GPT-2's files, and with each the one of the two that holds the vocabulary."""


def read_other(file: Path, config: Mapping[str, Any]) -> Built | None:
    """The tokenizer in a file that isn't a tokenizer.json; None if it can only be one.

    `config` is what the files beside it say. Raises `ModelError` for a file that is damaged, or
    of a kind that lmtool can't encode exactly as it is meant.
    """
    if file.name == "tokenizer.json":
        return None
    if file.name in _GPT2:
        return _gpt2(file.with_name(_GPT2[file.name]), config)
    head = _head(file)
    if head.lstrip()[:1] == b"{" and not file.name.endswith((".model", ".tiktoken")):
        return _json(file, config)
    source = _source(file, config)
    from .tiktoken import is_ranks, read_tiktoken

    if is_ranks(head) or file.name.endswith(".tiktoken"):
        return read_tiktoken(source)
    if file.name.endswith(".txt"):
        from .wordpiece import read_wordpiece

        return read_wordpiece(source)
    if file.name.endswith((".model", ".spm")) or head[:1] == b"\n":
        from .sentencepiece import read_sentencepiece

        return read_sentencepiece(source)
    return None


def _json(file: Path, config: Mapping[str, Any]) -> Built | None:
    """A tekken.json under any name, told from a tokenizer.json by its keys."""
    from .tekken import is_tekken, read_tekken

    fields = parse_json(file, read_contents(file))
    if isinstance(fields, dict) and is_tekken(cast("dict[str, Any]", fields)):
        return read_tekken(_source(file, config))
    return None


def _gpt2(file: Path, config: Mapping[str, Any]) -> Built:
    from .gpt2 import read_gpt2

    if not file.exists():
        raise ModelError(f"no `{file}`, which its merges are of")
    return read_gpt2(_source(file, config))


def _source(file: Path, config: Mapping[str, Any]) -> Source:
    return Source(file, config, read_object(file.parent / "config.json", optional=True))


def _head(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(_HEAD)
    except OSError as error:
        raise ModelError(f"cannot read `{file}`: {error.strerror or error}") from error
