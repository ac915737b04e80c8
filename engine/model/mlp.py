"""The feed-forward block: what the layer recalls at each position by itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ..spec import Activation, MlpSpec
from .linear import Linear
from .source import Source

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
}


class Mlp:
    """down(act(gate(x)) * up(x)), or down(act(up(x))) without a gate."""

    def __init__(self, spec: MlpSpec, source: Source, hidden: int) -> None:
        self.act = ACTIVATIONS[spec.activation]
        self.gate = Linear(source, "gate", hidden, spec.width, spec.bias) if spec.gated else None
        self.up = Linear(source, "up", hidden, spec.width, spec.bias)
        self.down = Linear(source, "down", spec.width, hidden, spec.bias)

    def __call__(self, x: Tensor) -> Tensor:
        """[T, M] -> [T, M]."""
        inner = self.up(x)  # [T, F]
        inner = self.act(inner) if self.gate is None else self.act(self.gate(x)) * inner
        return self.down(inner)
