"""The form that a text can be held to: a JSON Schema, a regex, choices or a grammar."""

# ruff: noqa: RUF009  # a setting() is a frozen declaration, safe to share

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from .. import InputError, UsageError
from .prompt import argument_text
from .settings import Many, Setting, Source, Text, declared_in, setting

if TYPE_CHECKING:
    from ..engine.request import Grammar

STRONGEST: tuple[Source, ...] = ("row", "command line", "environment", "config file")
"""Where settings come from, in the order in which they overrule each other."""


@dataclass(frozen=True)
class ConstraintSettings:
    """What the text must match as a whole."""

    panel: ClassVar[str] = "Constraints (one at most)"

    json_schema: Setting[str | None] = setting(
        *("-j", "--json-schema"),
        kind=Text(),
        default=None,
        metavar="FILE|JSON",
        help="Write JSON that fits this JSON Schema.",
    )
    regex: Setting[str | None] = setting(
        "--regex",
        kind=Text(),
        default=None,
        metavar="REGEX",
        help="Write text that this matches as a whole.",
    )
    choice: Setting[tuple[str, ...]] = setting(
        "--choice",
        kind=Many(Text()),
        default=(),
        metavar="TEXT",
        help="Write one of these texts (repeatable).",
    )
    grammar_file: Setting[str | None] = setting(
        "--grammar-file",
        kind=Text(),
        default=None,
        metavar="FILE",
        help="Write what this Lark grammar describes.",
    )

    def grammar(self, escape: bool) -> Grammar | None:
        """What was asked for, read and checked; None if nothing was. Loads no torch.

        What the command line asks for overrules the environment, and that the config file.
        `escape` reads escapes in choices. Raises `UsageError` for more than one kind, and where
        a regex or choice is wrong; `InputError` for a schema or grammar that is.
        """
        kind = self._kind()
        if kind is None:
            return None
        from ..engine.grammars.source import check_grammar

        grammar = self._read(kind, escape)
        check_grammar(grammar)
        return grammar

    def _kind(self) -> str | None:
        """The setting that counts."""
        declared = declared_in(ConstraintSettings)
        for source in STRONGEST:
            named = [name for name in declared if getattr(self, name).source == source]
            if len(named) > 1:
                flags = " and ".join(f"`{declared[name].flag}`" for name in named[:2])
                raise UsageError(f"{flags} exclude each other", hint="give one of them")
            if named:
                return named[0]
        return None

    def _read(self, kind: str, escape: bool) -> Grammar:
        from ..engine.request import Grammar

        if kind == "choice":
            texts = [argument_text(text, "--choice", escape) for text in self.choice.value]
            return Grammar("choice", json.dumps(texts), "--choice")
        if kind == "regex":
            return Grammar("regex", argument_text(self.regex.value or "", "--regex"), "--regex")
        if kind == "grammar_file":
            path = self.grammar_file.value or ""
            return Grammar("lark", _text_of(path), f"`{path}`")
        given = self.json_schema.value or ""
        if given.lstrip()[:1] in ("{", "[", '"') or given.strip() in ("true", "false"):
            return Grammar("json_schema", argument_text(given, "--json-schema"), "--json-schema")
        return Grammar("json_schema", _text_of(given), f"`{given}`")


def _text_of(path: str) -> str:
    """A file's text, without the mark that some editors put first. Raises `InputError`."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read `{path}`: {error.strerror}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"`{path}` is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}"
        ) from error
