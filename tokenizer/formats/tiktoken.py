"""tiktoken's rank files: a token in base64 and its rank a line. Meta's tokenizer.model too."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any, cast

from ... import ModelError
from ..contents import read_contents
from .built import Built, Source, Special
from .config_tokens import declared_tokens
from .encodings import BY_NAME, CONTENTS, ENCODINGS, Encoding
from .ranks import rank_pipeline

_LINE = re.compile(rb"[A-Za-z0-9+/=]+ [0-9]+")
_HIGHEST = (1 << 31) - 1
_FAMILIES = {"llama": "llama3", "mllama": "llama3", "llama4": "llama4", "qwen": "qwen"}
"""Encodings by the `model_type` of a checkpoint whose tokenizer is a rank file."""


def is_ranks(head: bytes) -> bool:
    """Whether a file that begins so is a rank file."""
    first, end, _ = head.partition(b"\n")
    return bool(end or len(head) < 64) and _LINE.fullmatch(first.strip()) is not None


def read_tiktoken(source: Source) -> Built:
    """The tokenizer of a rank file.

    Its encoding is known by its contents, by the file's name, or by what lies beside it: a
    tokenizer_config.json that says "encoding": a name, or "pattern": a regular expression, or a
    config.json with a `model_type` that has one. Raises `ModelError` if none says it.
    """
    from tokenizers import normalizers

    data = read_contents(source.file)
    ranks = parse_ranks(source.file, data)
    encoding = _encoding_of(source, data)
    declared = declared_tokens(source)
    specials = encoding.specials(len(ranks))
    if not set(specials.values()) & {one.id for one in declared}:
        declared = [*(Special(text, id) for text, id in specials.items()), *declared]
    pipeline = rank_pipeline(
        source.file,
        ranks,
        encoding.pattern,
        declared,
        normalizers.NFC() if encoding.nfc else None,
    )
    name = f"tiktoken ranks, {encoding.name}" if encoding.name else "tiktoken ranks"
    return Built(pipeline, name, dict(encoding.config))


def parse_ranks(file: Path, data: bytes) -> dict[bytes, int]:
    """Tokens and their ranks. Raises `ModelError` for a line that isn't such a pair."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line:
            continue
        token, _, rank = line.partition(b" ")
        try:
            decoded, value = base64.b64decode(token, validate=True), int(rank)
        except ValueError as error:
            raise ModelError(
                f"`{file}` line {number} is not a token in base64 and its rank: "
                f"{line[:40].decode('utf-8', 'backslashreplace')!r}"
            ) from error
        if not 0 <= value <= _HIGHEST:
            raise ModelError(f"`{file}` line {number}: no token has the rank {value}")
        if ranks.setdefault(decoded, value) != value:
            raise ModelError(f"`{file}` line {number}: this token was there before")
    if not ranks:
        raise ModelError(f"`{file}` has no tokens")
    return ranks


def _encoding_of(source: Source, data: bytes) -> Encoding:
    named = source.config.get("encoding")
    pattern = source.config.get("pattern")
    if isinstance(named, str) and named in BY_NAME:
        return BY_NAME[named]
    if isinstance(pattern, str):
        roles = cast("dict[str, Any]", {})
        return Encoding("", pattern, lambda ranks: {}, roles)
    known = CONTENTS.get(hashlib.sha256(data).hexdigest())
    stem = source.file.name.partition(".")[0].lower().replace("-", "_")
    if stem in BY_NAME:
        # p50k_edit and o200k_harmony have the ranks of another, and more special tokens.
        return BY_NAME[stem]
    if known is not None:
        return BY_NAME[known]
    if source.family in _FAMILIES:
        return BY_NAME[_FAMILIES[source.family]]
    raise ModelError(
        f"`{source.file}` holds tiktoken ranks, but not how a text is split before they apply",
        hint='a tokenizer_config.json beside it with {"encoding": NAME}, or {"pattern": REGEX}, '
        f"says it; or name the file after its encoding: "
        f"{', '.join(one.name for one in ENCODINGS)}",
    )
