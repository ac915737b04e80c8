"""The feed-forward block: what the layer recalls at each position by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ..spec import Activation, MlpSpec
from .linear import Linear
from .source import Source


def relu2(x: Tensor) -> Tensor:
    """Squared ReLU (So et al. 2021, arXiv:2109.08668)."""
    return F.relu(x).square()


def laplace(x: Tensor) -> Tensor:
    """A squared ReLU made smooth and bounded (Ma et al. 2022, arXiv:2209.10655)."""
    return (1 + torch.erf((x - 0.707107) / (0.282095 * math.sqrt(2)))) / 2


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "gelu_clipped": lambda x: F.gelu(x).clamp(-10, 10),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "relu2": relu2,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "mish": F.mish,
    "hardswish": F.hardswish,
    "laplace": laplace,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "sqrt_softplus": lambda x: F.softplus(x).sqrt(),
    "linear": lambda x: x,
}
"""Activations that have no weights."""


class Xielu:
    """xIELU (Huang & Schlag 2024, arXiv:2411.13010): two slopes learned for each layer."""

    def __init__(self, source: Source) -> None:
        self.beta, self.eps = source.take("act.beta"), source.take("act.eps")
        self.above = F.softplus(source.take("act.alpha_p", 1))
        self.below = self.beta + F.softplus(source.take("act.alpha_n", 1))

    def __call__(self, x: Tensor) -> Tensor:
        """[T, F] -> [T, F]."""
        above = self.above * x * x + self.beta * x
        below = (torch.expm1(torch.min(x, self.eps)) - x) * self.below + self.beta * x
        return torch.where(x > 0, above, below)


class Mlp:
    """down(act(gate(x)) * up(x)), or down(act(up(x))) without a gate."""

    def __init__(self, spec: MlpSpec, source: Source, hidden: int) -> None:
        self.spec = spec
        self.act = Xielu(source) if spec.activation == "xielu" else ACTIVATIONS[spec.activation]
        self.fresh = spec.activation != "linear"  # its answer is a tensor of its own
        names = ("gate", "up") if spec.gated else ("up",)
        self.into = Linear(source, names, hidden, [spec.width] * len(names), spec.bias)
        down_bias = spec.bias if spec.down_bias is None else spec.down_bias
        self.down = Linear(source, "down", spec.width, hidden, down_bias)

    def __call__(self, x: Tensor) -> Tensor:
        """[T, M] -> [T, M]."""
        return self.down(self.neurons(x))

    def neurons(self, x: Tensor) -> Tensor:
        """How strongly each neuron answers to x, [T, M] -> [T, F]."""
        inner = self.into(x)
        if not self.spec.gated:
            return self.act(inner)
        gate, inner = torch.split(inner, self.spec.width, 1)
        if self.spec.clamp is None:
            return self.act(gate).mul_(inner) if self.fresh else self.act(gate) * inner
        gate = gate.clamp(max=self.spec.clamp)
        inner = inner.clamp(-self.spec.clamp, self.spec.clamp)
        return gate * torch.sigmoid(gate * self.spec.slope) * (inner + 1)
