"""Cohere's Command R and its successors: mixer and feed side by side, layer norms without bias.

References: transformers' modeling_cohere, modeling_cohere2.
"""

from __future__ import annotations

from dataclasses import replace

from ..spec import AttentionSpec, LayerSpec, ModelSpec, NormSpec, QkNormSpec
from .family import Family
from .fields import Fields
from .llama import NAMES
from .rope import read_rope
from .stack import (
    all_but_every,
    read_heads,
    read_kinds,
    read_mlp,
    read_model,
    read_positions,
    read_windows,
)


def read_cohere(fields: Fields) -> ModelSpec:
    """Command R: queries and keys may be normed, with weights for each head."""
    norm = _norm(fields)
    mixer = _turned(fields, 500000.0)
    if fields.flag("use_qk_norm", False):
        mixer = replace(mixer, qk_norm=QkNormSpec(norm, over="heads"))
    return _parallel(fields, [mixer] * fields.integer("num_hidden_layers"), norm)


def read_cohere2(fields: Fields) -> ModelSpec:
    """Command R7B and A: three layers of four have a window, the fourth sees no positions."""
    # What such a config says of its making; all other ways are refused.
    fields.only(
        use_parallel_block=True,
        use_gated_activation=True,
        use_embedding_sharing=True,
        use_parallel_embedding=True,
        position_embedding_type="rope_gptj",
        rotary_pct=1.0,
        order_of_interleaved_layers="local_attn_first",
    )
    fields.ignore("layer_switch")
    mixer = _turned(fields, 10000.0)
    kinds = read_kinds(fields, all_but_every(fields.integer("sliding_window_pattern", 4)))
    mixers = [
        replace(mixer, window=window, rope=None if window is None else mixer.rope)
        for window in read_windows(fields, kinds, 4096)
    ]
    return _parallel(fields, mixers, _norm(fields))


def _norm(fields: Fields) -> NormSpec:
    return NormSpec(fields.number("layer_norm_eps", 1e-5), kind="layer")


def _turned(fields: Fields, theta: float) -> AttentionSpec:
    fields.assume(max_position_embeddings=8192)
    heads, bias = read_heads(fields), fields.flag("attention_bias", False)
    rope = read_rope(fields, heads.head_dim, read_positions(fields), theta, interleaved=True)
    return replace(heads, rope=rope, bias=bias, out_bias=bias)


def _parallel(fields: Fields, mixers: list[AttentionSpec], norm: NormSpec) -> ModelSpec:
    feed = read_mlp(fields)
    layers = [LayerSpec(mixer, feed, norm, wiring="parallel") for mixer in mixers]
    scale = fields.number("logit_scale", 0.0625)
    return replace(read_model(fields, layers, norm, tied=True), logit_scale=scale)


COHERE = (
    Family("cohere", read_cohere, NAMES),
    Family("cohere2", read_cohere2, NAMES),
)
