"""Muon for the hidden matrices, Adam for the rest, over float32 master weights.

The model computes in bf16 where that is fast; the optimizer keeps its own float32 copy of every
weight, steps that, and writes the rounded result back. Without it most steps would be lost in
bf16's 8 bits.

Sources: Jordan et al. 2024 (Muon), Liu et al. 2025 ("Muon is scalable": weight decay),
Amsel et al. 2025 (Polar Express: the coefficients), Kingma and Ba 2015 (Adam).
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

from precision import working_type

HIDDEN = ("q", "k", "v", "o", "gate", "up", "down")

# Minimax-optimal quintics for five rounds, safe in bf16 (Polar Express, section 5 and its code).
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def orthogonalize(matrices: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrix to each of [N, rows, columns], roughly, rows <= columns.

    All singular values move towards one: an odd polynomial of the matrix, applied five times.
    """
    x = matrices.to(working_type(matrices.device.type))
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-6)
    for a, b, c in POLAR_EXPRESS:
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.to(matrices.dtype)


class Optimizer:
    """Steps every weight of a model."""

    def __init__(
        self,
        model: nn.Module,
        matrix_rate: float = 0.02,
        embed_rate: float = 0.03,
        head_rate: float = 0.004,
        norm_rate: float = 0.005,
        matrix_decay: float = 0.05,
        adam_decay: float = 0.01,
    ) -> None:
        """Copies the weights, which should still be float32; the rates are peaks."""
        self.weights = dict(model.named_parameters())
        self.master = {n: w.detach().float().clone() for n, w in self.weights.items()}
        self.momentum = {n: torch.zeros_like(m) for n, m in self.master.items()}
        self.square = {n: torch.zeros_like(m) for n, m in self.master.items() if n not in HIDDEN}
        self.steps = 0
        self.matrix_rate, self.matrix_decay = matrix_rate, matrix_decay
        self.adam_decay = adam_decay
        self.adam_rates = {"embed": embed_rate, "head": head_rate}
        self.norm_rate = norm_rate

    @torch.no_grad()
    def step(self, gradients: dict[str, Tensor], scale: float) -> None:
        """Moves the weights against their float32 gradients, at `scale` of the peak rates."""
        self.steps += 1
        self._muon({n: gradients[n] for n in HIDDEN}, self.matrix_rate * scale)
        for name, gradient in gradients.items():
            if name not in HIDDEN:
                self._adam(name, gradient, self.adam_rates.get(name, self.norm_rate) * scale)
        for name, weight in self.weights.items():
            weight.copy_(self.master[name])

    def _muon(self, gradients: dict[str, Tensor], rate: float) -> None:
        # Momentum warms up: early gradients point elsewhere and should be forgotten sooner.
        beta = 0.85 + 0.10 * min(1.0, self.steps / 300)
        groups: dict[tuple[int, int], list[tuple[str, Tensor]]] = defaultdict(list)
        for name, gradient in gradients.items():
            moment = self.momentum[name].lerp_(gradient, 1 - beta)
            direction = gradient.lerp(moment, beta)  # Nesterov
            wide = direction.mT if direction.shape[1] > direction.shape[2] else direction
            groups[wide.shape[1], wide.shape[2]].append((name, wide))
        for members in groups.values():
            steps = orthogonalize(torch.cat([wide for _, wide in members]))
            parts = steps.split([len(wide) for _, wide in members])
            for (name, _), part in zip(members, parts, strict=True):
                master = self.master[name]
                rows, columns = master.shape[1:]
                part = part if part.shape == master.shape else part.mT
                master.mul_(1 - rate * self.matrix_decay)
                master.add_(part, alpha=-rate * max(1.0, rows / columns) ** 0.5)

    def _adam(self, name: str, gradient: Tensor, rate: float) -> None:
        beta1, beta2, master = 0.8, 0.95, self.master[name]
        moment = self.momentum[name].lerp_(gradient, 1 - beta1)
        square = self.square[name].lerp_(gradient.square(), 1 - beta2)
        spread = (square / (1 - beta2**self.steps)).sqrt_().add_(1e-10)
        if name == "head":
            master.mul_(1 - rate * self.adam_decay)
        master.addcdiv_(moment, spread, value=-rate / (1 - beta1**self.steps))

    def state(self) -> dict[str, Any]:
        """Everything the next step depends on, master weights included."""
        return {
            "master": self.master,
            "momentum": self.momentum,
            "square": self.square,
            "steps": self.steps,
        }

    @torch.no_grad()
    def load_state(self, state: dict[str, Any]) -> None:
        """Goes on where another optimizer stood, and gives the model its weights."""
        for kind, mine in (("master", self.master), ("momentum", self.momentum)):
            for name in mine:
                mine[name].copy_(state[kind][name])
        for name in self.square:
            self.square[name].copy_(state["square"][name])
        self.steps = state["steps"]
        for name, weight in self.weights.items():
            weight.copy_(self.master[name])
