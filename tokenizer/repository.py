"""Repositories by their id, and what of one is needed: its files by name. No network."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple, cast

from .. import ModelError
from .formats.found import NEEDS, find_file
from .formats.found import choose as tokenizer_file

MAIN = "main"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")

_ID = re.compile(r"(?P<name>[\w][\w.-]*(?:/[\w][\w.-]*)?)(?:@(?P<revision>[\w.][\w./+-]*))?", re.A)
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Wanted(Enum):
    """What a command needs of a repository."""

    MODEL = "model"
    """A whole checkpoint: config, safetensors, tokenizer. Pickled weights are never fetched."""
    TOKENIZER = "tokenizer"
    """The tokenizer alone."""
    ADAPTER = "adapter"
    """A LoRA adapter: its config and its safetensors."""


class Repository(NamedTuple):
    """A repository and one of its revisions: a branch, a tag or a commit."""

    name: str
    revision: str = MAIN

    def __str__(self) -> str:
        """As it is typed after -m."""
        return self.name if self.revision == MAIN else f"{self.name}@{self.revision}"


def parse_id(text: str) -> Repository | None:
    """The repository that `text` can mean, as in `org/name` or `org/name@v1.0`; else None."""
    found = _ID.fullmatch(text)
    if found is None or ".." in text or "--" in text or text.endswith("/"):
        return None
    return Repository(found["name"], found["revision"] or MAIN)


def cache_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Where huggingface_hub keeps what it has fetched, by the variables that it reads."""
    environ = os.environ if environ is None else environ
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environ.get(variable):
            return _expanded(environ[variable])
    if environ.get("HF_HOME"):
        return _expanded(environ["HF_HOME"]) / "hub"
    base = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _expanded(base) / "huggingface" / "hub"


def _expanded(path: str) -> Path:
    return Path(os.path.expandvars(os.path.expanduser(path)))


def repository_folder(name: str, cache: Path | None = None) -> Path:
    """The folder of the repository `name` in the cache; it need not exist."""
    return (cache or cache_folder()) / f"models--{name.replace('/', '--')}"


def find_snapshot(repository: Repository) -> Path | None:
    """The files of a revision as they lie in the cache, whole or not; None if there are none."""
    folder = repository_folder(repository.name)
    commit = repository.revision
    try:
        commit = (folder / "refs" / repository.revision).read_text("utf-8").strip()
    except (OSError, ValueError):
        if not _COMMIT.fullmatch(commit):
            return None
    snapshot = folder / "snapshots" / commit
    return snapshot if commit and snapshot.is_dir() else None


def cached_names(cache: Path | None = None) -> list[str]:
    """The ids of the repositories of models that the cache holds anything of."""
    try:
        folders = sorted(os.listdir(cache or cache_folder()))
    except OSError:
        return []
    prefix = "models--"
    names = [name[len(prefix) :].replace("--", "/") for name in folders if name.startswith(prefix)]
    return [name for name in names if parse_id(name)]


def choose(names: Collection[str], wanted: Wanted) -> list[str]:
    """Which of a repository's files are fetched, in their order: what names the weights first.

    Of sharded weights these are without the shards, which the index names. Files in folders of
    the repository (`original/`, `onnx/`) are never among them.
    """
    if wanted is Wanted.ADAPTER:
        return [name for name in ADAPTER_FILES if name in names]
    tokenizer = _tokenizer_files(names)
    if wanted is Wanted.TOKENIZER:
        return tokenizer
    others = sorted(name for name in names if _matches(name, ("*.json",)))
    others = [name for name in others if name not in tokenizer and not name.endswith(".index.json")]
    weights = [name for name in (SINGLE, INDEX) if name in names]
    return [*others, *tokenizer, *weights[:1]]


def has_tokenizer(names: Collection[str]) -> bool:
    """Whether a repository with these files has a tokenizer, of whatever format."""
    return tokenizer_file([name for name in names if "/" not in name]) is not None


def _tokenizer_files(names: Collection[str]) -> list[str]:
    """A tokenizer's files. Without tokenizer.json the config too, and last what it is read from."""
    found = sorted(name for name in names if _matches(name, _TOKENIZER_FILES))
    if "tokenizer.json" in names:
        return found
    main = tokenizer_file([name for name in names if "/" not in name])
    last = [name for name in (NEEDS.get(main or ""), main) if name is not None]
    first = [name for name in ("config.json",) if main is not None and name in names]
    return [*first, *(name for name in found if name not in last), *last]


def shards_named(index: Path) -> list[str]:
    """The shards that an index names, each once. Raises `ValueError` if it isn't an index."""
    parsed: Any = json.loads(index.read_bytes())
    weight_map: Any = parsed.get("weight_map") if isinstance(parsed, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(weight_map, dict):
        raise ValueError("no weight_map")
    shards = sorted(set(map(str, cast("dict[str, Any]", weight_map).values())))
    if not all(_matches(name, ("*.safetensors",)) for name in shards):
        raise ValueError("a shard that is no .safetensors file beside it")
    return shards


def missing(folder: Path, wanted: Wanted) -> list[str]:
    """The files that a snapshot lacks to be of use; empty if it has all that are needed."""
    if wanted is Wanted.TOKENIZER:
        try:
            return [] if find_file(folder) is not None else ["tokenizer.json"]
        except ModelError:  # several: reading it says so
            return []
    elif wanted is Wanted.ADAPTER:
        needed = list(ADAPTER_FILES)
    elif (folder / SINGLE).exists() or not (folder / INDEX).exists():
        needed = ["config.json", SINGLE]
    else:
        try:
            needed = ["config.json", *shards_named(folder / INDEX)]
        except (OSError, ValueError, RecursionError):
            needed = ["config.json", SINGLE]
    return [name for name in needed if not (folder / name).exists()]


_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "*.tiktoken",
    "tokenizer.model",
    "*.jinja",
    "chat_template.json",
)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a file at the top of a repository fits one of the patterns."""
    if "/" in name or "\\" in name or name.startswith("."):
        return False
    return any(fnmatchcase(name, pattern) for pattern in patterns)
