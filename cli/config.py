"""The config file: defaults of one's own, in TOML, a table for each command."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from .. import UsageError

TABLES = (
    *("generate", "chat", "batch", "bench", "score", "evaluate", "explain", "scaling"),
    *("tokenize", "detokenize", "count", "inspect", "compare", "doctor", "quantize"),
    *("train-tokenizer", "models"),
)
"""The commands, each of which may have a table."""
SHARED = ("model", "offline", "device", "dtype", "threads", "ctx_size")
"""Keys that may stand above all tables, for every command that knows them."""


def default_path(environ: Mapping[str, str]) -> Path:
    """Where the config file lies unless `--config` says otherwise; it need not exist."""
    base = environ.get("XDG_CONFIG_HOME")
    # The standard has relative paths ignored.
    home = Path(base) if base and Path(base).is_absolute() else Path("~/.config").expanduser()
    return home / "lmtool" / "config.toml"


def read_config(path: Path, command: str, known: tuple[str, ...]) -> dict[str, object]:
    """What the file at `path` sets for a command, `-` in keys made `_`; its table comes first.

    Raises `UsageError` for a file that can't be read or isn't TOML, and for a key not in `known`.
    """
    document = _parse(path)
    tables = {name.replace("_", "-"): entry for name, entry in document.items()}
    found: dict[str, object] = {}
    for name, entry in tables.items():
        key = name.replace("-", "_")
        if isinstance(entry, dict) and name in TABLES:
            continue
        if isinstance(entry, dict):
            hint = _nearest(name, TABLES) or f"it may have [{'], ['.join(TABLES)}]"
            raise UsageError(f"unknown table `{name}` in {path}", hint)
        if key not in SHARED:
            hint = _nearest(key, SHARED) or f"put it under a command's table, as in [{command}]"
            raise UsageError(f"unknown key `{key}` above the tables of {path}", hint)
        if key in known:
            found[key] = entry
    entries = cast("dict[str, object]", tables.get(command.replace("_", "-"), {}))
    seen: dict[str, str] = {}
    for name, entry in entries.items():
        key = name.replace("-", "_")
        if key in seen:
            raise UsageError(
                f"`{seen[key]}` and `{name}` in [{command}] of {path} are the same key"
            )
        seen[key] = name
        if key not in known:
            listed = f"`lmtool {command} --help` lists the settings; their long names are the keys"
            raise UsageError(
                f"unknown key `{key}` in [{command}] of {path}", _nearest(key, known) or listed
            )
        found[key] = entry
    return found


def _nearest(name: str, known: tuple[str, ...]) -> str | None:
    """A hint that names what is nearly spelled so, if anything is."""
    from difflib import get_close_matches  # slow to import, and seldom needed

    near = get_close_matches(name, known, 1)
    return f"did you mean `{near[0]}`?" if near else None


def _parse(path: Path) -> dict[str, Any]:
    # By string, since no one version of Python has both for a type checker to find.
    tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        # Some editors put a byte order mark first.
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"cannot read config file `{path}`: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"config file `{path}` is not UTF-8 at offset {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"config file `{path}` is not TOML: {error}") from error
