"""A mixture of experts: a router sends each token to a few MLPs out of many."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ..device import to_host
from ..spec import ExpertsSpec, RouterSpec
from .linear import Linear
from .mlp import Mlp
from .source import Scope, Source


class Router:
    """Chooses and weighs each token's experts, in float32, as its spec says."""

    def __init__(self, spec: RouterSpec, source: Source, hidden: int, count: int) -> None:
        self.spec = spec
        weight = source.take("router.weight", count, hidden)
        bias = source.take("router.bias", count) if spec.bias else None
        self.weight = weight.float() if spec.wide else weight
        self.bias = bias.float() if spec.wide and bias is not None else bias
        # Rounded, it could tip the balance between experts.
        self.correction = (
            source.take("router.correction", count, exact=True) if spec.correction else None
        )

    def __call__(self, x: Tensor, active: int) -> tuple[Tensor, Tensor]:
        """[T, M] -> which experts, int64 [T, K], and their weights, float32 [T, K]."""
        spec = self.spec
        logits = F.linear(x.float() if spec.wide else x, self.weight, self.bias).float()  # [T, E]
        scores = logits.sigmoid() if spec.scores == "sigmoid" else logits.softmax(-1)
        wanted = scores if self.correction is None else scores + self.correction.float()
        if spec.top_groups < spec.groups:
            wanted = self._within_groups(wanted)
        chosen = wanted.topk(active, dim=-1).indices
        weights = scores.gather(-1, chosen)
        if spec.normalize:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return chosen, weights * spec.scale

    def _within_groups(self, wanted: Tensor) -> Tensor:
        """Bar the experts of all but the best groups, [T, E]."""
        spec = self.spec
        grouped = wanted.view(len(wanted), spec.groups, -1)  # [T, groups, E / groups]
        best = grouped.topk(1 if spec.group_score == "max" else 2, dim=-1).values.sum(-1)
        barred = torch.ones_like(best, dtype=torch.bool)
        barred = barred.scatter(-1, best.topk(spec.top_groups, dim=-1).indices, False)
        return grouped.masked_fill(barred[..., None], float("-inf")).view_as(wanted)


class Experts:
    """The weighted sum of each token's chosen experts, and of the shared one if there is any."""

    def __init__(self, spec: ExpertsSpec, source: Source, hidden: int) -> None:
        self.spec = spec
        self.router = Router(spec.router, source, hidden, spec.count)
        self.experts = tuple(
            Mlp(spec.expert, Scope(source, f"experts.{i}"), hidden) for i in range(spec.count)
        )
        self.shared = Mlp(spec.shared, Scope(source, "shared"), hidden) if spec.shared else None
        self.shared_gate = (
            Linear(source, "shared_gate", hidden, 1, False) if spec.shared_gate else None
        )

    def __call__(self, x: Tensor) -> Tensor:
        """[T, M] -> [T, M]."""
        chosen, weights = self.router(x, self.spec.active)
        out = torch.zeros_like(x)
        needed: set[int] = set(to_host(chosen.flatten()))
        for expert in sorted(needed):
            tokens, places = (chosen == expert).nonzero(as_tuple=True)
            answers = self.experts[expert](x[tokens]) * weights[tokens, places, None]
            out.index_add_(0, tokens, answers.to(out.dtype))
        if self.shared is None:
            return out
        common = self.shared(x)
        if self.shared_gate is not None:
            common = F.sigmoid(self.shared_gate(x)) * common
        return out + common
