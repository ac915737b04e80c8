"""A tokenizer's files, read with every fault named: tokenizer.json and what lies beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .. import ModelError

if TYPE_CHECKING:
    import tokenizers

LFS_POINTER = b"version https://git-lfs"

_OTHER_FORMATS = ("tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")


@dataclass(frozen=True)
class TokenizerFiles:
    """What a tokenizer's folder says: the pipeline, and the settings around it."""

    pipeline: tokenizers.Tokenizer
    config: dict[str, Any]
    """tokenizer_config.json over special_tokens_map.json."""
    chat_templates: dict[str, str]
    """Jinja sources by name; one that has none is called "default"."""
    path: Path
    """The tokenizer.json."""
    ends: tuple[str, ...] = ()
    """What either of those files calls the token that ends a text."""


def read_files(path: Path) -> TokenizerFiles:
    """Read the tokenizer at `path`, a folder or a tokenizer.json with or without its config.

    Raises `ModelError` for what is missing, not JSON, a Git LFS pointer or damaged.
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.exists():
        raise _missing(path, file)
    folder = file.parent
    sources = [
        _read_object(folder / name) for name in ("special_tokens_map.json", "tokenizer_config.json")
    ]
    ends = tuple(end for one in sources if (end := token_named(one, "eos_token")) is not None)
    config = sources[0] | sources[1]
    return TokenizerFiles(_read_pipeline(file), config, _chat_templates(folder, config), file, ends)


def token_named(config: dict[str, Any], role: str) -> str | None:
    """The token in a role such as "bos_token", which is stored as text or as an object."""
    value = config.get(role)
    if isinstance(value, dict):
        value = cast("dict[str, Any]", value).get("content")
    return value if isinstance(value, str) else None


def _missing(path: Path, file: Path) -> ModelError:
    if not path.exists():
        return ModelError(f"no such file or folder: `{path}`")
    others = [name for name in _OTHER_FORMATS if (file.parent / name).exists()]
    if others:
        return ModelError(
            f"`{path}` has no tokenizer.json, only {', '.join(others)}",
            hint="`AutoTokenizer.from_pretrained(…).save_pretrained(…)` of transformers makes one",
        )
    return ModelError(f"`{path}` has no tokenizer.json")


def _read_pipeline(file: Path) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer

    data = _read_bytes(file)
    try:
        pipeline = Tokenizer.from_buffer(data)
    except Exception as error:  # the binding raises a bare Exception
        _parse(file, data)
        reason = " ".join(str(error).split())
        raise ModelError(f"`{file}` is not a tokenizer: {reason[:200]}") from error
    # Left on, these would cut or fill every text to a training-time length.
    pipeline.no_truncation()
    pipeline.no_padding()
    return pipeline


def _read_object(file: Path) -> dict[str, Any]:
    """A JSON object from an optional file: empty if the file isn't there."""
    if not file.exists():
        return {}
    value = _parse(file, _read_bytes(file))
    if not isinstance(value, dict):
        raise ModelError(f"`{file}` is not a JSON object")
    return cast("dict[str, Any]", value)


def _read_bytes(file: Path) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read `{file}`: {error.strerror or error}") from error
    if data.startswith(LFS_POINTER):
        raise ModelError(
            f"`{file}` is a Git LFS pointer, not the file itself",
            hint="`git lfs pull` in its repository fetches it",
        )
    return data


def _parse(file: Path, data: bytes) -> object:
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


def read_template(file: Path) -> str:
    """A Jinja file. Raises `ModelError` where it can't be read or isn't UTF-8."""
    data = _read_bytes(file)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"`{file}` is not UTF-8: offset {error.start}") from error


def _chat_templates(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """The config's template or named ones, and over them what stands in files of their own."""
    value = config.get("chat_template")
    found: dict[str, str] = {}
    if isinstance(value, list):
        for item in cast("list[object]", value):
            named = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
            name, source = named.get("name"), named.get("template")
            if isinstance(name, str) and isinstance(source, str):
                found[name] = source
    elif isinstance(value, str):
        found["default"] = value
    file = folder / "chat_template.jinja"
    if file.exists():
        found["default"] = read_template(file)
    for more in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        found[more.stem] = read_template(more)
    return found
