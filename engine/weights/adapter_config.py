"""What adapter_config.json says of a LoRA adapter in PEFT's format. No torch.

Reference: peft's LoraConfig.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ... import ModelError
from .checkpoint import read_json

ADAPTER_CONFIG = "adapter_config.json"

PLAIN_STARTS = {"true", "false", "none", "gaussian", "eva", "orthogonal", "mica"}
"""`init_lora_weights` that leave the base model's weights as they are."""

# fmt: off
KNOWN = {
    "peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "use_dora",
    "target_parameters", "modules_to_save", "trainable_token_indices", "ensure_weight_tying",
    "base_model_name_or_path", "init_lora_weights",
    # Which modules were chosen shows in the names of what is stored.
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "bias",
    "lora_bias", "fan_in_fan_out",
    # These are of training, or of how something else is run.
    "auto_mapping", "revision", "peft_version", "task_type", "inference_mode", "lora_dropout",
    "loftq_config", "eva_config", "corda_config", "lora_ga_config", "megatron_config",
    "megatron_core", "qalora_group_size", "runtime_config", "parent_library", "base_model_class",
}
# fmt: on


@dataclass(frozen=True)
class AdapterConfig:
    """How an adapter's factors are weighed, and what its other tensors stand for."""

    path: Path
    rank: int
    alpha: float
    rank_stabilized: bool
    ranks: dict[str, int]
    alphas: dict[str, float]
    dora: bool
    parameters: tuple[str, ...]
    saved: tuple[str, ...]
    tokens: dict[str, tuple[int, ...]]
    """Rows that replace those of an embedding, by its module's name; "" is the input's."""
    ties: bool
    base: str | None

    def rank_of(self, module: str) -> int:
        """The rank of a module's factors."""
        return _matched(self.ranks, module, self.rank, self.path)

    def scaling(self, module: str) -> float:
        """What the product of a module's factors is multiplied by."""
        rank = self.rank_of(module)
        alpha = _matched(self.alphas, module, self.alpha, self.path)
        return alpha / (math.sqrt(rank) if self.rank_stabilized else rank)

    def targets(self, parameter: str) -> bool:
        """Whether factors are a parameter's own, and not its module's."""
        return any(parameter == own or parameter.endswith(f".{own}") for own in self.parameters)

    def replaces(self, module: str) -> bool:
        """Whether a module was trained as a whole, beside the one that the base model has.

        As in peft, the end of its name or of one above it is enough.
        """
        parts = module.split(".")
        above = [".".join(parts[: depth + 1]) for depth in range(len(parts))]
        return any(path.endswith(name) for path in above for name in self.saved)


def read_adapter_config(folder: Path) -> AdapterConfig:
    """Read and check `folder`'s adapter_config.json.

    Raises `ModelError` for what is missing, senseless, or of a kind that lmtool can't add.
    """
    path = folder / ADAPTER_CONFIG
    reader = _Reader(path, read_json(path, needed=True))
    reader.refuse_other_kinds()
    rank, alpha = reader.number("r"), reader.number("lora_alpha")
    if rank != int(rank) or rank < 1:
        raise reader.wrong("r", "a whole number, 1 or more")
    ranks = reader.numbers("rank_pattern")
    for name, own in ranks.items():
        if own != int(own) or own < 1:
            raise reader.wrong("rank_pattern", f"a rank of 1 or more for `{name}`")
    base = reader.field("base_model_name_or_path")
    return AdapterConfig(
        path,
        int(rank),
        alpha,
        bool(reader.field("use_rslora")),
        {name: int(own) for name, own in ranks.items()},
        reader.numbers("alpha_pattern"),
        bool(reader.field("use_dora")),
        reader.words("target_parameters"),
        reader.words("modules_to_save"),
        reader.tokens(),
        bool(reader.field("ensure_weight_tying")),
        base if isinstance(base, str) and base else None,
    )


class _Reader:
    """Fields of one adapter_config.json, checked as they are taken."""

    def __init__(self, path: Path, fields: dict[str, Any]) -> None:
        self.path = path
        self.field = fields.get
        self._fields = fields

    def wrong(self, name: str, wanted: str) -> ModelError:
        """The error for a field of the wrong value."""
        return ModelError(f"`{self.path}`: `{name}` is {self.field(name)!r}, not {wanted}")

    def refuse_other_kinds(self) -> None:
        """Raise `ModelError` for anything but LoRA, and for what changes LoRA's result unknown."""
        kind = self.field("peft_type")
        if kind != "LORA":
            raise ModelError(
                f"`{self.path}`: this adapter is of the kind {kind}, and lmtool adds only LORA"
                if isinstance(kind, str)
                else f"`{self.path}` has no `peft_type`, so it describes no adapter",
                hint="merge it into the base model with peft, and save that",
            )
        for name, value in self._fields.items():
            if name not in KNOWN and (value is True or (isinstance(value, dict | list) and value)):
                raise ModelError(
                    f"`{self.path}`: `{name}` makes another LoRA than lmtool knows",
                    hint="merge it into the base model with peft, and save that",
                )
        start = str(self.field("init_lora_weights")).lower()
        if start not in PLAIN_STARTS:
            raise ModelError(
                f"`{self.path}`: `init_lora_weights` is {start}, which changed the base model too",
                hint="save the adapter with `path_initial_model_for_weight_conversion`",
            )

    def number(self, name: str) -> float:
        """A finite number that must be there."""
        if name not in self._fields:
            raise ModelError(f"`{self.path}` lacks `{name}`", hint="peft writes it: download again")
        value: Any = self._fields[name]
        if not _is_finite(value):
            raise self.wrong(name, "a number")
        return float(value)

    def numbers(self, name: str) -> dict[str, float]:
        """Numbers by patterns of module names."""
        value: Any = self.field(name) or {}
        if not isinstance(value, dict):
            raise self.wrong(name, "an object of numbers")
        found = cast("dict[str, Any]", value)
        if not all(_is_finite(own) for own in found.values()):
            raise self.wrong(name, "an object of numbers")
        for pattern in found:
            _compiled(pattern, self.path)
        return {pattern: float(own) for pattern, own in found.items()}

    def words(self, name: str) -> tuple[str, ...]:
        """A list of names."""
        value: Any = self.field(name) or []
        found: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [None]
        if not all(isinstance(word, str) for word in found):
            raise self.wrong(name, "a list of names")
        return tuple(found)

    def tokens(self) -> dict[str, tuple[int, ...]]:
        """Token ids by the embedding that has rows of their own for them."""
        name = "trainable_token_indices"
        value: Any = self.field(name) or {}
        if not isinstance(value, list | dict):
            raise self.wrong(name, "a list of token ids")
        given = cast("dict[str, Any]", {"": value} if isinstance(value, list) else value)
        for ids in given.values():
            listed: list[Any] = cast("list[Any]", ids) if isinstance(ids, list) else [None]
            if not all(isinstance(id, int) and not isinstance(id, bool) for id in listed):
                raise self.wrong(name, "a list of token ids")
        return {module: tuple(ids) for module, ids in given.items()}


def _is_finite(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) < 1e300


def _compiled(pattern: str, path: Path) -> re.Pattern[str]:
    """A pattern as peft reads it: the end of a module's name."""
    try:
        return re.compile(rf"(.*\.)?({pattern})$")
    except (re.error, RecursionError, OverflowError) as error:
        raise ModelError(f"`{path}`: `{pattern}` is no pattern of names: {error}") from error


def _matched(patterns: dict[str, Any], module: str, default: Any, path: Path) -> Any:
    for pattern, value in patterns.items():
        if _compiled(pattern, path).match(module):
            return value
    return default
