"""The whole stack: embed, layer upon layer, and one next word."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ..cache.layout import KVCache
from ..cache.veiled import Veiled
from ..spec import ModelSpec
from ..step import Step
from .block import Block
from .linear import Linear
from .norm import Norm
from .passing import Pass
from .rope import Rotary
from .source import Scope, Source


class Decoder:
    """A decoder-only Transformer built from its spec; the only one, for every family.

    Nobody sees what stands at the positions `unseen`: none, unless they were knocked out.
    """

    def __init__(self, spec: ModelSpec, source: Source) -> None:
        self.spec = spec
        hidden, width = spec.hidden, spec.embed_width or spec.hidden
        self.dtype = source.dtype
        self.unseen: tuple[range, ...] = ()
        # Rows are looked up as they are stored and converted then.
        self.embed = source.take("embed.weight", spec.vocab, width, exact=True)
        # Whole numbers are codes, and each row has a scale.
        self.row_scales: Tensor | None = None
        if not self.embed.is_floating_point():
            self.row_scales = source.take("embed.weight.scale", spec.vocab, exact=True).float()
        self.device = self.embed.device
        self.embed_norm = (
            Norm(spec.embed_norm, source, "embed_norm", width) if spec.embed_norm else None
        )
        self.positions = (
            source.take("positions.weight", spec.learned_positions, hidden)
            if spec.learned_positions
            else None
        )
        narrow = width != hidden
        self.widen = Linear(source, "widen", width, hidden, False) if narrow else None
        self.narrow = Linear(source, "narrow", hidden, width, False) if narrow else None
        self.blocks = tuple(
            Block(layer, Scope(source, f"layers.{i}"), hidden, i)
            for i, layer in enumerate(spec.layers)
        )
        self.norm = Norm(spec.norm, source, "norm", hidden) if spec.norm else None
        names, taken = (["embed.weight"], self.embed) if spec.tied else (["head.weight"], None)
        self.head = source.matrix(names, [spec.vocab], width, taken)
        self.head_bias = source.take("head.bias", spec.vocab) if spec.head_bias else None
        # A decoder of shapes alone turns nothing; to reckon without numbers torch imports much.
        ropes = () if self.embed.is_meta else spec.ropes()
        self.rotaries = {rope: Rotary(rope, self.device) for rope in ropes}

    def __call__(self, step: Step, cache: KVCache) -> Tensor:
        """Logits after each wanted token, float32 [O, V]; the step's keys and values are cached."""
        with torch.inference_mode():
            return self.logits(self.hidden_wanted(step, cache))

    def hidden(self, step: Step, cache: KVCache) -> Tensor:
        """The residual stream after the last layer, [T, M]."""
        x, shared = self.begin(step, cache)
        for block in self.blocks:
            x = block(x, shared)
        return x

    def hidden_wanted(self, step: Step, cache: KVCache) -> Tensor:
        """The same of the wanted tokens, [O, M]: the last layer needn't go on with any others."""
        x, shared = self.begin(step, cache)
        last = shared.last()
        for block in self.blocks:
            x = block(x, last if block is self.blocks[-1] else shared)
        return x if last is not shared or step.wanted is None else x[step.wanted]

    def begin(self, step: Step, cache: KVCache) -> tuple[Tensor, Pass]:
        """The residual stream before the first layer, [T, M], and what all layers share."""
        x = F.embedding(step.ids, self.embed)
        if self.row_scales is not None:
            x = x * self.row_scales[step.ids, None]
        x = x.to(self.dtype)
        if self.spec.embed_scale != 1.0:
            # The scale is rounded to the model's dtype first, as the references do.
            x = x * torch.tensor(self.spec.embed_scale, dtype=x.dtype, device=x.device)
        if self.embed_norm is not None:
            x = self.embed_norm(x)
        if self.widen is not None:
            x = self.widen(x)
        if self.positions is not None:
            x = x + F.embedding(step.positions + self.spec.position_offset, self.positions)
        turns = {rope: rotary.turn(step, x.dtype) for rope, rotary in self.rotaries.items()}
        return x, Pass(step, Veiled(cache, self.unseen) if self.unseen else cache, turns)

    def logits(self, hidden: Tensor) -> Tensor:
        """What the head answers to hidden states, [O, M] -> float32 [O, V]."""
        if self.norm is not None:
            hidden = self.norm(hidden)
        if self.narrow is not None:
            hidden = self.narrow(hidden)
        logits = self.head(hidden, self.head_bias).float()
        if self.spec.logit_scale != 1.0:
            logits = logits * self.spec.logit_scale
        if self.spec.logit_cap is not None:
            logits = self.spec.logit_cap * torch.tanh(logits / self.spec.logit_cap)
        return logits

    def head_rows(self, ids: Tensor) -> Tensor:
        """The head's weights of some ids [n], float32 [n, width]: what their logits measure."""
        if self.spec.tied and self.row_scales is None:
            return self.embed[ids].to(self.dtype).float()
        return self.head.dense()[ids].float()
