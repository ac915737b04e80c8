"""The merges of a BPE: how many, which came first and last, and how deep they are nested."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ..tokenizer import Tokenizer


@dataclass(frozen=True)
class Merges:
    """Pairs of pieces in the order in which they apply."""

    pairs: list[tuple[str, str]]
    depths: dict[str, int]
    """How many merges lie on top of each other in what a pair makes: 1 for two first symbols."""

    @property
    def deepest(self) -> list[tuple[str, int]]:
        """Pieces by depth, the deepest first; among equals those that came first."""
        return sorted(self.depths.items(), key=lambda item: -item[1])


def read_merges(tokenizer: Tokenizer) -> Merges | None:
    """The merges of `tokenizer`, None for a model that has none."""
    if type(tokenizer.pipeline.model).__name__ != "BPE":
        return None
    state: dict[str, Any] = json.loads(tokenizer.pipeline.to_str())["model"]
    prefix = state.get("continuing_subword_prefix") or ""
    pairs = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in state["merges"]]
    depths: dict[str, int] = {}
    for left, right in pairs:
        depth = 1 + max(depths.get(left, 0), depths.get(right, 0))
        depths.setdefault(left + right.removeprefix(prefix), depth)
    return Merges([(left, right) for left, right in pairs], depths)
