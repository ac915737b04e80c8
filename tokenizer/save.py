"""What training leaves in a folder: tokenizer.json, tokenizer_config.json and training.json."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, suppress
from pathlib import Path

from .. import LmtoolError, UsageError
from .files import replacing
from .training.report import report
from .training.train import Training

NAMES = ("tokenizer.json", "tokenizer_config.json", "training.json")
"""The files of a trained tokenizer, in the order they are written."""


def check_folder(folder: Path) -> None:
    """Raise an error if `folder` can't be made or written into, before an hour of training.

    `UsageError` where a file is in its place, `LmtoolError` where the system doesn't allow it.
    """
    for path in (folder, *folder.parents):
        if path.exists():
            if not path.is_dir():
                raise UsageError(f"`{path}` is not a folder", hint="-o takes the folder to write")
            if not os.access(path, os.W_OK | os.X_OK):
                raise LmtoolError(f"cannot write into `{path}`: no permission")
            return


def save(training: Training, folder: Path) -> tuple[Path, ...]:
    """Write the tokenizer into `folder`, made if it isn't there, and return the files' paths.

    The files take their places together, once all of them are on the disk. The same text and
    recipe give the same bytes. Raises `LmtoolError` where the disk refuses.
    """
    contents = (
        training.tokenizer.to_str(pretty=True) + "\n",
        _as_json(config_for(training)),
        _as_json(report(training)),
    )
    made = _make_folder(folder)
    paths = tuple(folder / name for name in NAMES)
    try:
        with ExitStack() as stack:
            for path, content in zip(paths, contents, strict=True):
                stack.enter_context(replacing(path)).write(content.encode())
    except BaseException:
        with suppress(OSError):
            for one in made:
                one.rmdir()
        raise
    return paths


_KEPT = ("add_bos_token", "add_eos_token", "chat_template", "model_max_length")
"""Settings of a base tokenizer that hold for what is made from it, beside its tokens' roles."""


def config_for(training: Training) -> dict[str, object]:
    """What transformers wants to know beside tokenizer.json."""
    recipe = training.recipe
    config: dict[str, object] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    if training.base is None:
        config |= {
            "bos_token": recipe.bos,
            "eos_token": recipe.eos,
            "add_bos_token": recipe.bos is not None,
        }
    else:
        base = training.base.tokenizer
        config |= base.named_specials
        config |= {name: base.config[name] for name in _KEPT if name in base.config}
        if base.chat_template is not None:
            config["chat_template"] = base.chat_template
    return config | {"clean_up_tokenization_spaces": False}


def _make_folder(folder: Path) -> list[Path]:
    """The folders that had to be made, `folder` first, then those that it lies in."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LmtoolError(f"cannot make `{folder}`: {error.strerror or error}") from error
    return made


def _as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
