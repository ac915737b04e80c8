"""The config file: defaults of one's own, in TOML, a table for each command."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from .. import UsageError

TABLES = ("generate", "chat", "bench")
"""The commands that take their settings from the config file too."""


def default_path(environ: Mapping[str, str]) -> Path:
    """Where the config file lies unless `--config` says otherwise; it need not exist."""
    base = environ.get("XDG_CONFIG_HOME")
    # The standard has relative paths ignored.
    home = Path(base) if base and Path(base).is_absolute() else Path("~/.config").expanduser()
    return home / "lmtool" / "config.toml"


def read_config(path: Path, table: str, known: tuple[str, ...]) -> dict[str, object]:
    """The table `table` of the file at `path`, `-` in keys made `_`; empty if it has none.

    Raises `UsageError` for a file that can't be read or isn't TOML, and for a key not in `known`.
    """
    document = _parse(path)
    for name in document:
        if name not in TABLES or not isinstance(document[name], dict):
            raise UsageError(
                f"unknown table `{name}` in {path}", hint=f"it may have [{'], ['.join(TABLES)}]"
            )
    entries = cast("dict[str, object]", document.get(table, {}))
    found = {name.replace("-", "_"): value for name, value in entries.items()}
    for name in found:
        if name not in known:
            raise UsageError(
                f"unknown key `{name}` in [{table}] of {path}",
                hint=f"`lmtool {table} --help` lists the settings; their long names are the keys",
            )
    return found


def _parse(path: Path) -> dict[str, Any]:
    # By string, since no one version of Python has both for a type checker to find.
    tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read config file `{path}`: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"config file `{path}` is not UTF-8 at offset {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"config file `{path}` is not TOML: {error}") from error
