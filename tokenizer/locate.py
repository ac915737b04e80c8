"""From what a user types after -m to a place on disk: a path, `default`, or a repository id."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple, cast

from .. import ModelError

DEFAULT = "default"
"""The name of the model that ships inside the package."""


class Wanted(NamedTuple):
    """Which files of a repository are fetched, as patterns, and which a cached one must have."""

    files: tuple[str, ...]
    required: tuple[str, ...]


MODEL = Wanted(("*.json", "*.safetensors", "*.jinja"), ("config.json", "*.safetensors"))
"""A whole checkpoint; pickled weights are never fetched."""
TOKENIZER = Wanted(
    ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"),
    ("tokenizer.json",),
)
"""The tokenizer alone."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_TRUE = {"1", "ON", "YES", "TRUE"}


def locate(name: str, offline: bool = False, wanted: Wanted = MODEL) -> Path:
    """The folder or file that `name` means.

    `default` is the model inside the package. A path that exists is itself, without a look at the
    network. Anything else that could be a repository id is looked up in huggingface_hub's cache,
    and what is `wanted` of it is fetched if it isn't there, unless `offline`.
    Raises `ModelError` if there is nothing of that name, here or there.
    """
    if name == DEFAULT:
        return default_folder()
    path = Path(name).expanduser()
    if name and path.exists():
        return path
    if not _REPOSITORY.fullmatch(name):
        raise ModelError(f"no such file or folder: `{name}`")
    return _cached(name, wanted) or _fetched(name, offline, wanted)


def default_folder() -> Path:
    """The folder of the model that ships inside the package."""
    folder = Path(__file__).resolve().parents[1] / "models" / "default"
    if not folder.is_dir():
        raise ModelError(
            "this installation has no default model",
            hint="name one with -m: a folder, a tokenizer.json or a repository id",
        )
    return folder


def _cached(name: str, wanted: Wanted) -> Path | None:
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = _snapshot(name, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return folder if all(any(folder.glob(file)) for file in wanted.required) else None


def _fetched(name: str, offline: bool, wanted: Wanted) -> Path:
    if offline or _says_offline("HF_HUB_OFFLINE") or _says_offline("TRANSFORMERS_OFFLINE"):
        raise ModelError(
            f"no such file or folder, and no such repository in the cache: `{name}`",
            hint="offline, it can't be fetched",
        )
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        return _snapshot(name, allow_patterns=list(wanted.files))
    except GatedRepoError as error:
        raise ModelError(
            f"access to `{name}` has to be granted by its owner",
            hint="accept its terms on huggingface.co, then set HF_TOKEN",
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(f"no such file, folder or repository: `{name}`") from error
    except Exception as error:  # whatever the network and its libraries raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(
            f"no such file or folder, and `{name}` can't be fetched: {reason[:200]}",
            hint="a local path starts with ./ or /",
        ) from error


def _snapshot(name: str, **options: object) -> Path:
    import huggingface_hub

    return Path(cast("Any", huggingface_hub).snapshot_download(name, **options))


def _says_offline(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in _TRUE
