"""The settings that a row is answered by: the command's, with the row's own over them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, cast

from ... import UsageError
from ..chat_options import ChatPromptOptions
from ..constraint_options import ConstraintSettings
from ..settings import Place, Setting, listed, places
from .options import AnswerSettings, BatchPrompt, BatchSampling, BatchStops

if TYPE_CHECKING:
    from ...engine.request import Grammar

GROUPS: dict[str, type[Any]] = {
    "sampling": BatchSampling,
    "stops": BatchStops,
    "constraints": ConstraintSettings,
    "prompt": BatchPrompt,
    "chat": ChatPromptOptions,
    "answer": AnswerSettings,
}
"""Where the settings of a row are declared, by their place in `RowSettings`."""

NOT_BY_ROWS = ("chat", "chat_template", "template_arg")
"""Settings of one job. A field that is named as one is the row's own."""

NEVER = {
    "grammar_file": "a row names no file; give --grammar-file for all rows",
    "samples": "a row has one answer; repeat it with other seeds",
}
"""Fields that can only be meant as settings, and that no row may set, with what to do."""

ALIASES = {"schema": "json_schema"}


@cache
def row_places() -> dict[str, Place]:
    """What rows may set, by each name."""
    known = places(GROUPS)
    found = {name: known[name] for name in known if known[name][1] not in NOT_BY_ROWS}
    return found | {alias: known[name] for alias, name in ALIASES.items()}


@dataclass(frozen=True)
class RowSettings:
    """All that decides a row's answer besides the row's text and the model."""

    sampling: BatchSampling
    stops: BatchStops
    constraints: ConstraintSettings
    prompt: BatchPrompt
    chat: ChatPromptOptions
    answer: AnswerSettings

    def of_row(self, fields: Mapping[str, Any]) -> RowSettings:
        """These with what a row's `fields` set; an empty cell of a table, and null, set nothing.

        Raises `UsageError` for a value that can't be, for two names of one setting, and for what
        no row may set.
        """
        known = row_places()
        settings = self
        seen: dict[str, str] = {}
        for name, value in fields.items():
            if name in NEVER:
                raise UsageError(f"`{name}` can't be set by a row", hint=NEVER[name])
            if name not in known or value is None or value == "":
                continue
            place, key, declared = known[name]
            if key in seen:
                raise UsageError(f"`{seen[key]}` and `{name}` set the same")
            seen[key] = name
            accepted = declared.accept(_as_given(key, value), f"`{name}`")
            group: Any = getattr(settings, place)
            group = replace(group, **{key: Setting(accepted, "row")})
            settings = replace(settings, **{place: group})
        return settings

    def seeded(self, row: bytes) -> RowSettings:
        """These with a seed from a hash of them and the row, unless somebody gave one."""
        seed = self.sampling.seed
        if seed.source != "default" and seed.value >= 0:
            return self
        values = {name: one.value for name, one in self.listed().items() if name != "seed"}
        known = json.dumps(values, sort_keys=True).encode()
        digest = blake2b(b"%d:" % len(known) + known + row, digest_size=8).digest()
        # 53 bits, which JSON readers that know only doubles keep exactly.
        drawn = Setting(int.from_bytes(digest, "little") >> 11, "hash")
        return replace(self, sampling=replace(self.sampling, seed=drawn))

    def completed(self, checkpoint: Mapping[str, Any]) -> RowSettings:
        """These with what nobody set taken from generation_config.json; greedy needs no seed."""
        sampling = cast("BatchSampling", self.sampling.completed(checkpoint))
        if sampling.seed.source == "hash" and sampling.temp.value == 0:
            sampling = replace(sampling, seed=Setting(0, "greedy"))
        return replace(self, sampling=sampling)

    def grammar(self) -> Grammar | None:
        """The form that the answer is held to, read and checked."""
        schema = self.constraints.json_schema
        if schema.source == "row" and not _is_json(schema.value or ""):
            raise UsageError("`json_schema` of a row must be a JSON Schema, not the name of a file")
        return _grammar(self.constraints, self.prompt.escape)

    def listed(self) -> dict[str, Setting[Any]]:
        """Every setting by name."""
        return listed(
            self.prompt, self.chat, self.sampling, self.stops, self.constraints, self.answer
        )


@lru_cache(256)
def _grammar(constraints: ConstraintSettings, escape: bool) -> Grammar | None:
    """Many rows have the same; a file is read once."""
    return constraints.grammar(escape)


def _as_given(key: str, value: object) -> object:
    """A schema may be JSON as it is."""
    if key == "json_schema" and isinstance(value, (dict, bool)):
        return json.dumps(value, ensure_ascii=False)
    return value


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
