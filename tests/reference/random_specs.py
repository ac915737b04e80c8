"""Random small stacks, as hypothesis strategies, and random weights for whatever they ask for.

Every field of every spec is drawn, alone and together with every other, whether or not a family
uses the two together.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import get_args

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from torch import Tensor

from lmtool.engine.model.source import PlainSource
from lmtool.engine.spec import (
    Activation,
    AlibiSpec,
    AttentionSpec,
    DynamicScaling,
    ExpertsSpec,
    LatentSpec,
    LayerSpec,
    LinearScaling,
    Llama3Scaling,
    LongScaling,
    MlpSpec,
    ModelSpec,
    NormSpec,
    ProportionalScaling,
    QkNormSpec,
    RopeScaling,
    RopeSpec,
    RouterSpec,
    YarnScaling,
)

LONGEST = 20
"""Tokens that every drawn model has room for."""
VOCAB = 13


@dataclass
class RandomSource(PlainSource):
    """Weights made up on demand, each from its name and a seed, at sizes that matter."""

    seed: int
    made: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    def take(self, name: str, *shape: int, exact: bool = False) -> Tensor:
        del exact
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) ^ self.seed)
        noise = torch.randn(shape, generator=generator)
        if "norm" in name:
            weight = noise * 0.3 + name.endswith("weight")
        elif len(shape) > 1:
            weight = noise if name.startswith(("embed", "positions")) else noise / shape[-1] ** 0.5
        else:
            weight = noise * 0.3
        self.made[name] = weight
        return weight.to(self.dtype)


norms = st.one_of(
    st.builds(
        NormSpec,
        eps=st.sampled_from((1e-5, 1e-3)),
        kind=st.sampled_from(("rms", "layer")),
        weight=st.booleans(),
        offset=st.sampled_from((0.0, 1.0)),
    ),
    st.builds(NormSpec, eps=st.just(1e-5), kind=st.just("layer"), bias=st.just(True)),
)
qk_norms = st.builds(
    QkNormSpec,
    norm=norms,
    over=st.sampled_from(("head", "heads", "whole")),
    after_rope=st.booleans(),
)
factors = st.sampled_from((1.0, 1.7, 8.0))
originals = st.sampled_from((4, 9, 64))


def scalings(width: int) -> SearchStrategy[RopeScaling | None]:
    each = st.lists(st.floats(1, 9), min_size=width // 2, max_size=width // 2).map(tuple)
    return st.one_of(
        st.none(),
        st.builds(LinearScaling, factors),
        st.builds(DynamicScaling, factors, originals),
        st.builds(Llama3Scaling, factors, st.just(1.0), st.sampled_from((2.0, 4.0)), originals),
        st.builds(ProportionalScaling, st.integers(0, width // 2), factors),
        st.builds(LongScaling, each, each, originals, st.sampled_from((1.0, 1.2))),
        st.builds(
            YarnScaling,
            factors,
            originals,
            attention_factor=st.sampled_from((1.0, 1.2)),
            beta_fast=st.sampled_from((32.0, 3.0)),
            beta_slow=st.sampled_from((1.0, 0.3)),
            truncate=st.booleans(),
        ),
    )


@st.composite
def ropes(draw: DrawFn, widest: int = 10) -> RopeSpec:
    width = draw(st.sampled_from([w for w in (4, 6, 10) if w <= widest]))
    theta = draw(st.sampled_from((10.0, 10000.0)))
    flags = (draw(st.booleans()), draw(st.booleans()))
    spread = draw(st.sampled_from((None, width - 1)))
    return RopeSpec(width, theta, draw(scalings(width)), *flags, spread)


windows = st.none() | st.integers(1, LONGEST + 2)


@st.composite
def attentions(draw: DrawFn) -> AttentionSpec:
    kv_heads = draw(st.integers(1, 3))
    head_dim = draw(st.sampled_from((4, 6, 10)))
    place = draw(st.sampled_from(("rope", "alibi", "none")))
    heads = kv_heads * draw(st.integers(1, 3))
    slopes = draw(st.lists(st.floats(0.01, 1), min_size=heads, max_size=heads))
    return AttentionSpec(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        rope=draw(ropes(head_dim)) if place == "rope" else None,
        window=draw(windows),
        qk_norm=draw(st.none() | qk_norms),
        bias=draw(st.booleans()),
        out_bias=draw(st.booleans()),
        clip=draw(st.sampled_from((None, 0.7))),
        cap=draw(st.sampled_from((None, 0.5, 5.0))),
        sinks=draw(st.booleans()),
        alibi=AlibiSpec(tuple(slopes)) if place == "alibi" else None,
        scale=draw(st.sampled_from((None, 0.05, 1.0))),
    )


latents = st.builds(
    LatentSpec,
    heads=st.integers(1, 4),
    q_rank=st.none() | st.integers(2, 6),
    kv_rank=st.integers(2, 7),
    nope_dim=st.integers(1, 6),
    value_dim=st.integers(1, 6),
    rope=ropes(),
    norm=st.just(NormSpec(1e-5)),
    bias=st.booleans(),
    scale=st.sampled_from((None, 0.3)),
    window=windows,
)


@st.composite
def mlps(draw: DrawFn) -> MlpSpec:
    gated = draw(st.booleans())
    clamped = gated and draw(st.booleans())
    activation = st.sampled_from(get_args(Activation))
    return MlpSpec(
        width=draw(st.integers(1, 12)),
        activation="silu" if clamped else draw(activation),
        gated=gated,
        bias=draw(st.booleans()),
        down_bias=draw(st.sampled_from((None, False, True))),
        clamp=0.8 if clamped else None,
        slope=1.7 if clamped else 1.0,
    )


@st.composite
def expert_sets(draw: DrawFn) -> ExpertsSpec:
    groups, size = draw(st.integers(1, 3)), draw(st.integers(2, 3))
    top_groups = draw(st.integers(1, groups))
    router = RouterSpec(
        scores=draw(st.sampled_from(("softmax", "sigmoid"))),
        normalize=draw(st.booleans()),
        scale=draw(st.sampled_from((1.0, 2.5))),
        bias=draw(st.booleans()),
        wide=draw(st.booleans()),
        correction=draw(st.booleans()),
        groups=groups,
        top_groups=top_groups,
        group_score=draw(st.sampled_from(("max", "top2"))),
    )
    return ExpertsSpec(
        count=groups * size,
        active=draw(st.integers(1, top_groups * size)),
        expert=draw(mlps()),
        router=router,
        shared=(shared := draw(st.none() | mlps())),
        shared_gate=shared is not None and draw(st.booleans()),
    )


layers = st.builds(
    LayerSpec,
    mixer=attentions() | latents,
    feed=mlps() | expert_sets(),
    norm=norms,
    wiring=st.sampled_from(("pre", "post", "sandwich", "parallel", "twin", "after")),
    residual_scale=st.sampled_from((1.0, 0.3)),
    carry_normed=st.booleans(),
)


@st.composite
def models(draw: DrawFn) -> ModelSpec:
    """Stacks of one to three layers, each of its own kind, over VOCAB ids."""
    offset = draw(st.sampled_from((0, 2)))
    return ModelSpec(
        vocab=VOCAB,
        hidden=draw(st.sampled_from((8, 10, 12))),
        layers=tuple(draw(st.lists(layers, min_size=1, max_size=3))),
        norm=draw(st.none() | norms),
        max_positions=LONGEST,
        tied=draw(st.booleans()),
        embed_scale=draw(st.sampled_from((1.0, 3.5))),
        embed_norm=draw(st.none() | norms),
        embed_width=draw(st.sampled_from((None, 7, 10))),
        logit_scale=draw(st.sampled_from((1.0, 0.25))),
        logit_cap=draw(st.sampled_from((None, 2.0, 30.0))),
        head_bias=draw(st.booleans()),
        learned_positions=draw(st.none() | st.just(LONGEST + offset)),
        position_offset=offset,
    )
