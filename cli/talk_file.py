"""A talk as a JSON file: written whole or not at all, and read with suspicion.

The file is {"format": "lmtool talk", "model": name, "system": text or null, "messages": [{"role",
"content", "finish_reason"}], "settings": {name: value}}. Reading also takes what others write: a
bare list of messages, and a system message as the first of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from .. import InputError, LmtoolError
from .talk import ROLES, Said, Talk

FORMAT = "lmtool talk"
LARGEST = 1 << 27
"""Bytes of a file that can be a talk."""
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Saved:
    """What a file holds. `settings` are raw JSON values, by name."""

    talk: Talk
    model: str | None = None
    settings: Mapping[str, object] = field(default_factory=dict[str, object])


def save_talk(path: Path, talk: Talk, model: str, settings: Mapping[str, object]) -> None:
    """Write the talk to `path`, beside it first.

    Raises `LmtoolError` where the disk refuses, `InputError` for a file that is there and is no
    talk: a slip of the finger should not cost somebody's work.
    """
    from ..tokenizer.files import replacing

    if path.is_dir():
        raise InputError(f"`{path}` is a folder", hint="/save takes the name of a file")
    if path.exists() and path.stat().st_size and not _is_ours(path):
        raise InputError(
            f"`{path}` is there and holds something else than a talk", hint="give another name"
        )
    content = {
        "format": FORMAT,
        "model": model,
        "system": talk.system,
        "messages": [_as_json(one) for one in talk.said],
        "settings": dict(settings),
    }
    data = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    with replacing(path) as stream:
        stream.write(data.encode("utf-8"))


def load_talk(path: Path) -> Saved:
    """The talk in the file at `path`. Raises `InputError` that says what is wrong with it."""
    value = _read(path)
    if not isinstance(value, (dict, list)):
        raise InputError(f"`{path}` holds no talk, but {_kind(value)}")
    bare = isinstance(value, list)
    content = cast("dict[str, object]", {"messages": value} if bare else value)
    entries = content.get("messages")
    if not isinstance(entries, list):
        raise InputError(f"`{path}` holds no talk: it has no list of messages")
    model, system, settings = (content.get(name) for name in ("model", "system", "settings"))
    if not isinstance(model, (str, type(None))) or not isinstance(system, (str, type(None))):
        raise InputError(f"`{path}`: model and system must be text")
    if not isinstance(settings, (dict, type(None))):
        raise InputError(f"`{path}`: settings must be an object")
    said: list[Said] = []
    for number, entry in enumerate(cast("list[object]", entries), 1):
        role, content_, finish = _message(entry, f"message {number} of `{path}`")
        if role == "system" and number == 1 and system is None:
            system = content_
        elif role in ROLES:
            said.append(Said(role, content_, finish))
        else:
            raise InputError(f"message {number} of `{path}` is by `{role[:40]}`: a talk has two")
    for text in (model, system):
        _check_letters(text or "", f"`{path}`")
    return Saved(Talk(system or None, said), model, cast("dict[str, object]", settings or {}))


def _message(entry: object, name: str) -> tuple[str, str, str | None]:
    if not isinstance(entry, dict):
        raise InputError(f"{name} is {_kind(entry)}, not an object with role and content")
    fields = cast("dict[str, object]", entry)
    role, content = fields.get("role"), fields.get("content")
    finish = fields.get("finish_reason")
    if not isinstance(role, str) or not isinstance(content, str):
        raise InputError(f"{name} needs a role and a content, both of them text")
    _check_letters(content, name)
    return role, content, finish if isinstance(finish, str) else None


def _read(path: Path) -> object:
    try:
        if not path.is_file():
            missing = "no such file" if not path.exists() else "not a file"
            raise InputError(f"cannot read `{path}`: {missing}")
        if path.stat().st_size > LARGEST:
            raise InputError(f"`{path}` is too large for a talk: {path.stat().st_size:,} bytes")
        return json.loads(path.read_bytes().decode("utf-8-sig"), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read `{path}`: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 at offset {error.start}"
    if isinstance(error, json.JSONDecodeError):
        return f"it is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return f"it is not JSON: {str(error)[:100]}"


def _is_ours(path: Path) -> bool:
    """Whether the file at `path` is a talk, or something that can't be replaced anyhow."""
    if not path.is_file():
        return True
    try:
        load_talk(path)
    except LmtoolError:
        return False
    return True


def _as_json(one: Said) -> dict[str, str]:
    finish = {} if one.finish is None else {"finish_reason": one.finish}
    return {"role": one.role, "content": one.content, **finish}


def _check_letters(text: str, name: str) -> None:
    lone = _SURROGATE.search(text)
    if lone:
        raise InputError(f"{name} has half a character: U+{ord(lone[0]):04X}")


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    kinds = ((dict, "an object"), (list, "a list"), (str, "a text"), (bool, "a boolean"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "a number")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number")
