"""Environment and config file for commands whose options Typer reads by itself.

`unfold` sees to the commands that are made of groups of settings. The others have few options; here
each gets a variable and a key too, and `--config`.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, cast, get_type_hints

import typer

from .. import UsageError
from .config import default_path, read_config

OF_ONE_RUN = {
    *("help", "version", "config", "debug", "quiet", "verbose", "color"),
    *("prompt", "file", "files", "output", "rm", "yes", "check", "svg"),
    *("json", "ids", "pieces", "offsets", "null", "lines"),
}
"""Options that say what one run does. They are no settings: a script counts on their absence."""
NOT_IN_ENVIRONMENT = {"train-tokenizer": {"bos", "eos", "special"}}
"""Options that mean something else than the other commands' of that name."""


def configured(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with the option --config, from which the others take what nobody set."""

    def flat(*, config: Path | None = None, **given: Any) -> Any:
        del config  # its callback has read it
        return function(**given)

    def read(context: typer.Context, config: Path | None) -> Path | None:
        if not context.resilient_parsing:
            context.default_map = _defaults(name, context, config, os.environ)
        return config

    option = typer.Option(
        "--config",
        metavar="FILE",
        help="Settings from this file, not ~/.config/lmtool/config.toml.",
        show_default=False,
        is_eager=True,
        callback=read,
    )
    hints = get_type_hints(function, include_extras=True)
    parameters = [
        parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(function).parameters.values()
    ]
    parameters.append(
        inspect.Parameter(
            "config",
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[Path | None, option],
        )
    )
    cast("Any", flat).__signature__ = inspect.Signature(parameters)
    flat.__annotations__ = {}  # what Typer reads is in the signature
    flat.__name__, flat.__doc__ = function.__name__, function.__doc__
    return flat


def add_variables(name: str, command: Any) -> None:
    """Let each setting of a command fall back to its `LMTOOL_` variable."""
    for parameter in command.params:
        names = [
            known for known in _names(parameter) if known not in NOT_IN_ENVIRONMENT.get(name, ())
        ]
        if names:
            parameter.envvar = [f"LMTOOL_{known.upper()}" for known in names]
            parameter.show_envvar = False  # the guide tells of them once for all


def _names(parameter: Any) -> list[str]:
    """What config file and environment call a parameter; nothing for one that is no setting."""
    if parameter.name in OF_ONE_RUN or parameter.required:
        return []
    flags = [flag for flag in parameter.opts if flag.startswith("--")]
    return [flag[2:].replace("-", "_") for flag in flags] or [parameter.name]


def _defaults(
    name: str, context: typer.Context, chosen: Path | None, environ: Mapping[str, str]
) -> dict[str, Any]:
    """What the config file says of the command's settings, checked."""
    path = chosen or Path(environ.get("LMTOOL_CONFIG") or default_path(environ))
    if chosen is None and not environ.get("LMTOOL_CONFIG") and not path.exists():
        return {}
    parameters = {
        known: parameter
        for parameter in cast("Any", context).command.params
        for known in _names(parameter)
    }
    found = read_config(path, name, tuple(parameters))
    return {
        parameters[key].name: _accepted(parameters[key], raw, context, f"`{key}` in {path}")
        for key, raw in found.items()
    }


def _accepted(parameter: Any, raw: object, context: typer.Context, where: str) -> Any:
    """A value from TOML as the command line would have it. Raises `UsageError` naming `where`."""
    if getattr(parameter, "is_flag", False):
        if not isinstance(raw, bool):
            raise UsageError(f"{where} must be true or false, not `{raw}`")
        return raw
    many = bool(getattr(parameter, "multiple", False))
    items = cast("list[object]", raw) if isinstance(raw, list) else [raw]
    if (isinstance(raw, list) and not many) or any(isinstance(one, (bool, dict)) for one in items):
        raise UsageError(f"{where} can't be `{raw}`")
    texts = [str(item) for item in items]
    value = texts if many else texts[0]
    try:
        parameter.process_value(context, value)
    except Exception as error:
        said = str(getattr(error, "message", None) or error).removeprefix("Value error, ")
        raise UsageError(f"{where} can't be `{raw}`: {said.rstrip('.')}") from error
    return value
