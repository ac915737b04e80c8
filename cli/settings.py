"""Settings that remember where they came from, and what each may be.

A command's settings are dataclasses whose fields `setting()` declares. From one declaration come
the flag, the environment variable, the config file's key, the line of `-v` and the JSON entry.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, cast

from .. import UsageError

T = TypeVar("T")
Name = TypeVar("Name", bound=str)
T_co = TypeVar("T_co", covariant=True)

Source = Literal[
    "command line",
    "environment",
    "config file",
    "generation_config.json",
    "default",
    "random",
    "greedy",
    "/set",
    "row",
    "hash",
]
"""Where a value came from; "greedy" is what temperature 0 makes of the other sampling settings,
"/set" the command of a talk, "row" a batch's row, "hash" that of a row without a seed."""


@dataclass(frozen=True)
class Setting(Generic[T]):
    """A value and where it came from."""

    value: T
    source: Source = "default"


class Kind(Protocol[T_co]):
    """What a setting may be. `accept` raises ValueError for anything else; `says` describes it."""

    @property
    def says(self) -> str:
        """The allowed values in words, to follow "must be"."""
        ...

    def accept(self, raw: object) -> T_co:
        """The value in `raw`, which is text, or whatever TOML or JSON hold."""
        ...


def _range_in_words(what: str, at_least: float | None, at_most: float | None) -> str:
    if at_least is not None and at_most is not None:
        return f"{what} from {at_least:g} to {at_most:g}"
    return what if at_least is None else f"{what}, {at_least:g} or more"


def _check_range(value: float, at_least: float | None, at_most: float | None) -> None:
    if (at_least is not None and value < at_least) or (at_most is not None and value > at_most):
        raise ValueError


@dataclass(frozen=True)
class Number:
    """A finite number in a range."""

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None

    @property
    def says(self) -> str:
        """See `Kind`."""
        if self.above is not None:
            return f"a number above {self.above:g}"
        return _range_in_words("a number", self.at_least, self.at_most)

    def accept(self, raw: object) -> float:
        """See `Kind`."""
        if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
            raise ValueError
        value = float(raw)
        if not math.isfinite(value) or (self.above is not None and value <= self.above):
            raise ValueError
        _check_range(value, self.at_least, self.at_most)
        return value


@dataclass(frozen=True)
class Whole:
    """A whole number in a range."""

    at_least: int | None = None
    at_most: int | None = None

    @property
    def says(self) -> str:
        """See `Kind`."""
        if self.at_most is not None and self.at_most >= 1 << 31:
            return f"a whole number from {self.at_least} to {self.at_most}"
        return _range_in_words("a whole number", self.at_least, self.at_most)

    def accept(self, raw: object) -> int:
        """See `Kind`."""
        if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
            raise ValueError
        value = int(raw)
        if isinstance(raw, float) and not raw.is_integer():
            raise ValueError
        _check_range(value, self.at_least, self.at_most)
        return value


@dataclass(frozen=True)
class Choice(Generic[Name]):
    """One of a few names."""

    names: tuple[Name, ...]

    @property
    def says(self) -> str:
        """See `Kind`."""
        return f"{', '.join(self.names[:-1])} or {self.names[-1]}"

    def accept(self, raw: object) -> Name:
        """See `Kind`."""
        for name in self.names:
            if name == raw:
                return name
        raise ValueError


@dataclass(frozen=True)
class Text:
    """Text that isn't empty."""

    says: str = "text that is not empty"

    def accept(self, raw: object) -> str:
        """See `Kind`."""
        if not isinstance(raw, str) or not raw:
            raise ValueError
        return raw


@dataclass(frozen=True)
class ModelName(Text):
    """A model as it follows -m; shells complete the names that are known."""

    names_model: ClassVar[bool] = True


@dataclass(frozen=True)
class Flag:
    """On or off."""

    says: str = "true or false"

    def accept(self, raw: object) -> bool:
        """See `Kind`."""
        known = {"1": True, "true": True, "yes": True, "on": True}
        known |= {"0": False, "false": False, "no": False, "off": False}
        text = str(raw).lower()
        if not isinstance(raw, (bool, int, str)) or text not in known:
            raise ValueError
        return known[text]


@dataclass(frozen=True)
class Many(Generic[T]):
    """Any number of values of one kind; a single one stands for itself."""

    kind: Kind[T]

    @property
    def says(self) -> str:
        """See `Kind`."""
        return self.kind.says

    def accept(self, raw: object) -> tuple[T, ...]:
        """See `Kind`."""
        items = cast("list[object]", raw) if isinstance(raw, list) else [raw]
        return tuple(self.kind.accept(item) for item in items)


@dataclass(frozen=True)
class Declared(Generic[T]):
    """What `setting()` declares about a field."""

    flags: tuple[str, ...]
    kind: Kind[T]
    help: str
    metavar: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The long flags as words joined by `_`: what config file and environment call it."""
        return tuple(flag[2:].replace("-", "_") for flag in self.flags if flag.startswith("--"))

    @property
    def flag(self) -> str:
        """The flag that messages name."""
        return next(flag for flag in self.flags if flag.startswith("--"))

    def accept(self, raw: object, where: str) -> T:
        """The value in `raw`. Raises `UsageError` naming `where` and the allowed values."""
        try:
            return self.kind.accept(raw)
        except (ValueError, OverflowError):
            shown = ", ".join(map(str, cast("list[object]", raw))) if isinstance(raw, list) else raw
            raise UsageError(f"{where} must be {self.kind.says}, not `{shown}`") from None


def setting(
    *flags: str, kind: Kind[T], default: Any, help: str, metavar: str | None = None
) -> Setting[T]:
    """Declare a dataclass field as a setting; the first long flag gives its name."""
    declared = Declared(flags, kind, help, metavar)
    return cast("Setting[T]", field(default=Setting(default), metadata={"setting": declared}))


@cache
def declared_in(group: type[object]) -> Mapping[str, Declared[object]]:
    """The settings that the dataclass `group` declares, by field name."""
    every = fields(cast("Any", group))
    return {f.name: f.metadata["setting"] for f in every if "setting" in f.metadata}


@dataclass(frozen=True)
class Surroundings:
    """What settings fall back to where the command line says nothing, strongest first."""

    environ: Mapping[str, str] = field(default_factory=dict[str, str])
    config: Mapping[str, object] = field(default_factory=dict[str, object])
    config_name: str = "config.toml"

    def resolve(
        self, group: type[object], given: Mapping[str, object]
    ) -> dict[str, Setting[object]]:
        """The settings of `group` that are in `given` (None: not given) or else in these."""
        found: dict[str, Setting[object]] = {}
        for name, declared in declared_in(group).items():
            for raw, where, source in self._candidates(declared, given.get(name)):
                found[name] = Setting(declared.accept(raw, where), source)
                break
        return found

    def _candidates(
        self, declared: Declared[object], given: object
    ) -> Iterator[tuple[object, str, Source]]:
        if given is not None:
            yield given, declared.flag, "command line"
        for name in declared.names:
            variable = f"LMTOOL_{name.upper()}"
            if self.environ.get(variable):
                yield self.environ[variable], variable, "environment"
        for name in declared.names:
            if name in self.config:
                yield self.config[name], f"`{name}` in {self.config_name}", "config file"


Place = tuple[str, str, Declared[Any]]
"""Where a setting lies: the name of its group, its field there, and how that is declared."""


def places(groups: Mapping[str, type[Any]]) -> dict[str, Place]:
    """Every setting of `groups` by each of its names."""
    return {
        name: (group, key, declared)
        for group, kind in groups.items()
        for key, declared in declared_in(kind).items()
        for name in declared.names
    }


def listed(*groups: object) -> dict[str, Setting[Any]]:
    """Every setting of `groups` by name, in the order of declaration."""
    return {
        name: cast("Setting[Any]", getattr(group, name))
        for group in groups
        for name in declared_in(type(group))
    }
