"""Commands over groups of options: one declaration a setting, one short function a command.

Typer reads a function's parameters. A command here takes a few dataclasses instead of forty
parameters; `unfold` shows Typer the flat list, and fills the dataclasses from what it parsed.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, cast, get_args, get_type_hints

import typer
from typer.models import OptionInfo

from .completion import choices_of
from .config import default_path, read_config
from .settings import Declared, Flag, Many, Surroundings, declared_in


def unfold(command: Callable[..., int]) -> Callable[..., int]:
    """`command` as the function of flat options that Typer reads; meant as a decorator.

    Each of its parameters is annotated with a dataclass. Fields declared by `setting()` become
    options that fall back to the environment and the config file; other fields are annotated for
    Typer themselves. A class attribute `panel` puts its options under that heading of the help
    page.
    """
    groups = cast("dict[str, type[Any]]", get_type_hints(command))
    groups.pop("return", None)

    def flat(**given: Any) -> int:
        around = _surroundings(command.__name__, list(groups.values()), given, os.environ)
        return command(**{name: _fill(group, given, around) for name, group in groups.items()})

    parameters = [parameter for group in groups.values() for parameter in _parameters(group)]
    cast("Any", flat).__signature__ = inspect.Signature(parameters)
    flat.__annotations__ = {}  # what Typer reads is in the signature
    cast("Any", flat).unfolded = True
    flat.__name__, flat.__doc__ = command.__name__, command.__doc__
    return flat


def _parameters(group: type[Any]) -> Iterator[inspect.Parameter]:
    """What Typer should parse for one group, each option under the group's panel."""
    settings = declared_in(group)
    hints = get_type_hints(group, include_extras=True)
    panel = getattr(group, "panel", None)
    for field in fields(group):
        if not field.init:  # a command may do without an option of a group that it builds on
            continue
        if field.name in settings:
            annotation, default = _option(settings[field.name]), None
        else:
            annotation, default = hints[field.name], field.default
        kind, info = get_args(annotation)
        info = copy(info)
        if isinstance(info, OptionInfo):
            info.rich_help_panel = panel
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[kind, info],
        )


def _option(declared: Declared[object]) -> Any:
    """A setting's option. Typer passes text through: the setting's kind reads and checks it."""
    kind: Any = str | None
    completed: Any = declared.kind
    if isinstance(declared.kind, Flag):
        kind = bool | None
    elif isinstance(declared.kind, Many):
        kind = list[str] | None
    return Annotated[
        kind,
        typer.Option(
            *declared.flags,
            metavar=declared.metavar,
            help=declared.help,
            show_default=False,
            autocompletion=choices_of(completed),
        ),
    ]


def _surroundings(
    command: str, groups: list[type[Any]], given: Mapping[str, Any], environ: Mapping[str, str]
) -> Surroundings:
    declared = [one for group in groups for one in declared_in(group).values()]
    chosen = given.get("config") or environ.get("LMTOOL_CONFIG")
    path = Path(chosen) if chosen else default_path(environ)
    if not chosen and not path.exists():
        return Surroundings(environ)
    known = tuple(name for one in declared for name in one.names)
    return Surroundings(environ, read_config(path, command, known), str(path))


def _fill(group: type[Any], given: Mapping[str, Any], around: Surroundings) -> Any:
    settings = declared_in(group)
    plain = {f.name: given[f.name] for f in fields(group) if f.name not in settings and f.init}
    return group(**plain, **around.resolve(group, given))
