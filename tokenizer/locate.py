"""From what a user types after -m to a place on disk: a path, `default`, or a repository id."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .. import ModelError
from .repository import Repository, Wanted, find_snapshot, missing, parse_id

if TYPE_CHECKING:
    from .fetch import Watch

DEFAULT = "default"
"""The name of the model that ships inside the package."""

_FILES = (".json", ".model", ".spm", ".tiktoken", ".txt")
"""How tokenizers' files end, and no repository's name."""

_TRUE = {"1", "ON", "YES", "TRUE"}


def locate(
    name: str, offline: bool = False, wanted: Wanted = Wanted.MODEL, watch: Watch | None = None
) -> Path:
    """The folder or file that `name` means.

    `default` is the model inside the package. A path that exists is itself, without a look at the
    network. Anything else that could be a repository id is looked up in Hugging Face's cache, and
    what is `wanted` of it is fetched if it isn't there, unless `offline`; `watch` sees it come.
    Raises `ModelError` if there is nothing of that name, here or there.
    """
    if name == DEFAULT:
        return default_folder()
    path = Path(name).expanduser()
    if name and _exists(path):
        return path
    repository = parse_id(name)
    if repository is None or path.suffix in _FILES:
        raise ModelError(f"no such file or folder: `{name}`")
    snapshot = find_snapshot(repository)
    if snapshot is not None and not missing(snapshot, wanted):
        return snapshot
    if offline or _says_offline("HF_HUB_OFFLINE") or _says_offline("TRANSFORMERS_OFFLINE"):
        raise _not_here(repository, snapshot, wanted)
    from .fetch import fetch

    return fetch(repository, wanted, watch)


def default_folder() -> Path:
    """The folder of the model that ships inside the package."""
    folder = Path(__file__).resolve().parents[1] / "models" / "default"
    if not folder.is_dir():
        raise ModelError(
            "this installation has no default model",
            hint="name one with -m: a folder, a tokenizer.json or a repository id",
        )
    return folder


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _not_here(repository: Repository, snapshot: Path | None, wanted: Wanted) -> ModelError:
    """Why an offline run ends: nothing is cached, or not all of it."""
    hint = "once without --offline and HF_HUB_OFFLINE, to fetch it"
    if snapshot is None:
        return ModelError(
            f"no such file or folder, and no such repository in the cache: `{repository}`",
            hint=f"run it {hint}; `lmtool models` lists what is cached",
        )
    lacks = missing(snapshot, wanted)
    return ModelError(
        f"no such file or folder, and of the repository `{repository}` the cache lacks {lacks[0]}"
        + (f" and {len(lacks) - 1} more" if len(lacks) > 1 else ""),
        hint=f"run it {hint}",
    )


def _says_offline(variable: str) -> bool:
    return os.environ.get(variable, "").upper() in _TRUE
