"""What transformers' own model computes on the way to a logit, caught by hooks on its modules.

All that `explain` tells is worked out again from that, by other means: whole vectors are carried up
through the norms, where `explain` carries a direction down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reference.random_checkpoints import load


@dataclass(frozen=True)
class Wires:
    """Where to find the parts of a family's model.

    `turns` are a layer's, in order: a module whose answer is added as "attention" or "mlp", or a
    "norm" that the stream itself goes through. Heads come together in what `out` is given, neurons
    in what `down` is given. `values` tells the values [T, G, D] from what `value` answers.
    """

    turns: tuple[tuple[str, str], ...]
    out: str = "self_attn.o_proj"
    down: str | None = "mlp.down_proj"
    value: str = "self_attn.v_proj"
    values: Callable[[Tensor, Any], Tensor] = lambda x, config: x.view(
        len(x), config.num_key_value_heads, -1
    )
    layers: str = "model.layers"
    norm: str | None = "model.norm"
    narrow: str | None = None
    head: str = "lm_head"
    scale: Callable[[Any], float] = lambda config: 1.0
    residual: Callable[[Any], float] = lambda config: 1.0


@dataclass(frozen=True)
class Held:
    """A norm held at what it did once; here told from what went in and what came out."""

    scale: Tensor
    centred: bool
    bias: Tensor | None

    @classmethod
    def of(cls, module: Any, before: Tensor, after: Tensor) -> Held:
        centred = "LayerNorm" in type(module).__name__
        bias = getattr(module, "bias", None)
        change = after if bias is None else after - bias
        spread = before - before.mean() if centred else before
        return cls(change / spread, centred, bias)

    def __call__(self, part: Tensor) -> Tensor:
        if self.centred:
            part = part - part.mean(-1, keepdim=True)
        return part * self.scale


class Hooked:
    """A checkpoint in transformers, run once on a text, everything seen."""

    def __init__(self, folder: Path, wires: Wires, ids: list[int]) -> None:
        # Only so does it tell its weights, and multiply in float64.
        self.wires, self.model = wires, load(folder, attention="eager").double()
        self.model.requires_grad_(False).set_experts_implementation("eager")
        self.config: Any = self.model.config
        self.layers: list[Any] = list(self.model.get_submodule(wires.layers))
        self.seen: dict[Any, tuple[tuple[Any, ...], Tensor]] = {}
        hooks = [module.register_forward_hook(self._see) for module in self.model.modules()]
        answer = self.model(torch.tensor([ids]), use_cache=False, output_attentions=True)
        for hook in hooks:
            hook.remove()
        self.logits: Tensor = answer.logits[0].double()
        self.weights: list[Tensor] = [weights[0].double() for weights in answer.attentions]

    def _see(self, module: Any, given: tuple[Any, ...], answer: Any) -> None:
        answer = answer[0] if isinstance(answer, tuple) else answer
        if isinstance(answer, Tensor):
            self.seen[module] = given, answer.clone()  # for Falcon adds to it in place

    def given(self, module: Any) -> Tensor:
        """What a module was given, [T, ...]."""
        return self.seen[module][0][0].flatten(0, -2)

    def told(self, module: Any) -> Tensor:
        """What it answered, [T, ...]."""
        return self.seen[module][1].flatten(0, -2)

    def states(self) -> list[Tensor]:
        """The stream before the first layer and after each, [T, M]."""
        return [self.given(self.layers[0]), *(self.told(layer) for layer in self.layers)]

    def lens(self, state: Tensor) -> Tensor:
        """What the model's own last norm and head say to a state [T, M]: [T, V]."""
        wires, cap = self.wires, getattr(self.config, "final_logit_softcapping", None)
        for name in (wires.norm, wires.narrow, wires.head):
            if name is not None:
                state = self.model.get_submodule(name)(state[None])[0]
        logits = state * wires.scale(self.config)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def turns(self) -> Iterator[tuple[int, str, Any]]:
        """What happens to the stream, from the first layer to the last: layer, kind, module."""
        for number, layer in enumerate(self.layers):
            for kind, name in self.wires.turns:
                yield number, kind, layer.get_submodule(name)

    def above(self, number: int, kind: str, place: int) -> list[Held]:
        """The norms that what a part added goes through on its way to the head, at a place."""
        norms, passed = list[Held](), False
        for at, turn, module in self.turns():
            if passed and turn == "norm":
                norms.append(self.held(module, place))
            passed = passed or (at == number and turn == kind)
        if self.wires.norm is not None:
            norms.append(self.held(self.model.get_submodule(self.wires.norm), place))
        return norms

    def held(self, module: Any, place: int) -> Held:
        """What a norm did at a place."""
        return Held.of(module, self.given(module)[place], self.told(module)[place])

    def on_logits(self, parts: Tensor, norms: list[Held]) -> Tensor:
        """What parts [..., M] of the stream add to all logits, [..., V], once through norms."""
        for norm in norms:
            parts = norm(parts)
        if self.wires.narrow is not None:
            parts = parts @ self.model.get_submodule(self.wires.narrow).weight.T
        head = self.model.get_submodule(self.wires.head).weight
        return parts @ head.T * self.wires.scale(self.config)

    def branch(self, number: int, kind: str, place: int) -> list[Held]:
        """The norm behind a part's own answer, before it is added, if there is one."""
        layer, name = self.layers[number], dict(self.wires.turns)[kind]
        return [self.held(layer.get_submodule(name), place)] if name.endswith("norm") else []

    def added(self, number: int, kind: str, place: int) -> Tensor:
        """What attention or the MLP of a layer added to the stream at a place, [M]."""
        module = self.layers[number].get_submodule(dict(self.wires.turns)[kind])
        return self.told(module)[place] * self.wires.residual(self.config)

    def carried(self, number: int, kind: str, place: int, parts: Tensor) -> Tensor:
        """Pieces [..., M] of a part's own answer -> what was added of each."""
        for norm in self.branch(number, kind, place):
            parts = norm(parts)
        return parts * self.wires.residual(self.config)

    def attribution(self, number: int, kind: str, place: int) -> Tensor:
        """What a part added to all logits, [V]."""
        norms = self.above(number, kind, place)
        return self.on_logits(self.added(number, kind, place), norms)

    def heads(self, number: int, place: int) -> Tensor:
        """What each head of a layer adds to the stream, [H, M]."""
        out = self.layers[number].get_submodule(self.wires.out)
        count = self.weights[number].shape[0]
        mixed = self.given(out)[place].view(count, -1)
        weight = matrix(out).view(-1, count, mixed.shape[1])  # [M, H, D]
        pieces = torch.einsum("hd,mhd->hm", mixed, weight)
        return self.carried(number, "attention", place, pieces)

    def origins(self, number: int, place: int) -> Tensor:
        """What a layer's attention adds to the stream from each position, [T, M]."""
        layer = self.layers[number]
        out, source = (layer.get_submodule(x) for x in (self.wires.out, self.wires.value))
        values = self.wires.values(self.told(source), self.config)  # [T, G, D]
        weights = self.weights[number][:, place]  # [H, T]
        values = values.repeat_interleave(len(weights) // values.shape[1], 1)
        pieces = torch.einsum("ht,thd->thd", weights, values).flatten(1) @ matrix(out).T
        return self.carried(number, "attention", place, pieces)

    def neurons(self, number: int, place: int) -> tuple[Tensor, Tensor]:
        """How each neuron of a layer answers, [F], and what it adds to the stream, [F, M]."""
        assert self.wires.down is not None
        down = self.layers[number].get_submodule(self.wires.down)
        active = self.given(down)[place]
        pieces = active[:, None] * matrix(down).T
        return active, self.carried(number, "mlp", place, pieces)

    def rollout(self, place: int) -> Tensor:
        """Abnar & Zuidema: attention averaged over heads, half of it residual, multiplied."""
        length = len(self.logits)
        whole = torch.eye(length, dtype=torch.float64)
        for weights in self.weights:
            whole = (0.5 * weights.mean(0) + 0.5 * torch.eye(length)) @ whole
        return whole[place]


def matrix(linear: Any) -> Tensor:
    """A linear map's weight [outputs, inputs]; GPT-2 stores the other way round."""
    return linear.weight.T if type(linear).__name__ == "Conv1D" else linear.weight
