"""A tokenizer's files, read with every fault named: one of any format, and what lies beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .. import ModelError
from .contents import parse_json, read_contents, read_object, read_utf8
from .formats.built import Built, Encoder
from .formats.found import NEEDS, PATTERNS, find_file
from .formats.reading import read_other

if TYPE_CHECKING:
    import tokenizers


@dataclass(frozen=True)
class TokenizerFiles:
    """What a tokenizer's folder says: the pipeline, and the settings around it."""

    pipeline: tokenizers.Tokenizer
    config: dict[str, Any]
    """tokenizer_config.json over special_tokens_map.json."""
    chat_templates: dict[str, str]
    """Jinja sources by name; one that has none is called "default"."""
    path: Path
    """The tokenizer.json, or the file of another format."""
    ends: tuple[str, ...] = ()
    """What either of those files calls the token that ends a text."""
    format: str = "tokenizer.json"
    """What was read, in words."""
    encoder: Encoder | None = None
    """What gives the ids where the pipeline alone would give others than the format's own."""


def read_files(path: Path) -> TokenizerFiles:
    """Read the tokenizer at `path`, a folder or a file of any format, with or without its config.

    Raises `ModelError` for what is missing, damaged, a Git LFS pointer, or of a kind that lmtool
    can't encode exactly as it is meant.
    """
    file = find_file(path)
    if file is None:
        raise _missing(path)
    folder = file.parent
    sources = [
        read_object(folder / name, optional=True)
        for name in ("special_tokens_map.json", "tokenizer_config.json")
    ]
    config = sources[0] | sources[1]
    built = read_other(file, config) or Built(_read_pipeline(file), "tokenizer.json")
    # Left on, these would cut or fill every text to a training-time length.
    built.pipeline.no_truncation()
    built.pipeline.no_padding()
    said = (token_named(one, "eos_token") for one in (built.config, *sources))
    ends = tuple(end for end in said if end is not None)
    return TokenizerFiles(
        built.pipeline,
        built.config | config,
        _chat_templates(folder, config),
        file,
        ends,
        built.format,
        built.encoder,
    )


def token_named(config: dict[str, Any], role: str) -> str | None:
    """The token in a role such as "bos_token", which is stored as text or as an object."""
    value = config.get(role)
    if isinstance(value, dict):
        value = cast("dict[str, Any]", value).get("content")
    return value if isinstance(value, str) else None


def _missing(path: Path) -> ModelError:
    if not path.exists():
        return ModelError(f"no such file or folder: `{path}`")
    alone = [name for name in NEEDS if (path / name).exists()]
    if alone:
        return ModelError(f"`{path}` has {alone[0]}, but no {NEEDS[alone[0]]} beside it")
    return ModelError(
        f"`{path}` has no tokenizer.json or other tokenizer",
        hint=f"it looks for {', '.join(PATTERNS)}",
    )


def _read_pipeline(file: Path) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer

    data = read_contents(file)
    try:
        return Tokenizer.from_buffer(data)
    except Exception as error:  # the binding raises a bare Exception
        parse_json(file, data)
        reason = " ".join(str(error).split())
        raise ModelError(f"`{file}` is not a tokenizer: {reason[:200]}") from error


def read_template(file: Path) -> str:
    """A Jinja file. Raises `ModelError` where it can't be read or isn't UTF-8."""
    return read_utf8(file)


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
