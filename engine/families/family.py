"""What a family is: a way to read its config.json, and its names for our weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..spec import ModelSpec
from .fields import Fields
from .naming import NameMap

# fmt: off
COUNTS = (
    "num_hidden_layers", "num_layers", "n_layer", "n_layers",
    "num_experts", "num_local_experts", "n_routed_experts",
)
# fmt: on
MOST = 10_000
"""Layers or experts that a config may ask for: a slip of a digit must not fill the memory."""


@dataclass(frozen=True)
class Family:
    """A `model_type`: `read` turns its config's fields into a `ModelSpec`, `names` finds weights.

    `read` takes every field that changes the result; what it leaves is refused unless `Fields`
    knows it to be harmless.
    """

    name: str
    read: Callable[[Fields], ModelSpec]
    names: NameMap

    def spec(self, config: dict[str, Any], where: str) -> ModelSpec:
        """The `ModelSpec` of a parsed config.json; `where` names it in errors.

        Raises `ModelError` for a field that is missing, senseless, or not understood.
        """
        fields = Fields(config, where)
        for name in COUNTS:
            if isinstance(count := config.get(name), int) and count > MOST:
                raise fields.wrong(name, count, f"at most {MOST:,}")
        spec = self.read(fields)
        fields.refuse_rest()
        return spec
