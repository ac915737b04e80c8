"""Families that norm what comes out of a layer's parts: OLMo 2 and 3, EXAONE 4; and OLMo 1.

References: transformers' modeling_olmo, modeling_olmo2, modeling_olmo3, modeling_exaone4.
"""

from __future__ import annotations

from dataclasses import replace

from ..spec import AttentionSpec, LayerSpec, ModelSpec, NormSpec, QkNormSpec
from .family import Family
from .fields import Fields
from .llama import NAMES
from .naming import NameMap
from .rope import read_rope, read_ropes
from .stack import (
    FULL,
    SLIDING,
    all_but_every,
    read_heads,
    read_kinds,
    read_mlp,
    read_model,
    read_norm,
    read_positions,
    read_windows,
)

POST = NameMap(
    NAMES.parts
    | {
        "layers.{}.mixer_post_norm": "model.layers.{}.post_attention_layernorm",
        "layers.{}.feed_post_norm": "model.layers.{}.post_feedforward_layernorm",
    }
)


def read_olmo(fields: Fields) -> ModelSpec:
    """OLMo 1: layer norms that learn nothing, and queries, keys and values within bounds."""
    norm = NormSpec(1e-5, kind="layer", weight=False)
    mixer = replace(_heads(fields), clip=fields.number("clip_qkv", None))
    mixer = replace(mixer, rope=read_rope(fields, mixer.head_dim, read_positions(fields)))
    layers = [LayerSpec(mixer, read_mlp(fields), norm)] * fields.integer("num_hidden_layers")
    return read_model(fields, layers, norm)


def read_olmo2(fields: Fields) -> ModelSpec:
    """OLMo 2: norms after each part, queries and keys normed over all heads together."""
    norm, mixer = read_norm(fields, 1e-5), _heads(fields)
    mixer = replace(
        mixer,
        rope=read_rope(fields, mixer.head_dim, read_positions(fields)),
        qk_norm=QkNormSpec(norm, over="whole"),
    )
    return _post(fields, [mixer] * fields.integer("num_hidden_layers"), norm)


def read_olmo3(fields: Fields) -> ModelSpec:
    """OLMo 3: OLMo 2 with a window on three layers of four, and a rope for each kind."""
    norm, mixer = read_norm(fields, 1e-5), _heads(fields)
    mixer = replace(mixer, qk_norm=QkNormSpec(norm, over="whole"))
    # The old `rope_theta` is of full layers only: transformers has used it up by then.
    thetas = {FULL: (500000.0, "rope_theta"), SLIDING: (500000.0, "")}
    ropes = read_ropes(fields, mixer.head_dim, read_positions(fields), thetas)
    kinds = read_kinds(fields, all_but_every(4))
    windows = read_windows(fields, kinds, 4096)
    mixers = [
        replace(mixer, rope=ropes[kind], window=window)
        for kind, window in zip(kinds, windows, strict=True)
    ]
    return _post(fields, mixers, norm)


def read_exaone4(fields: Fields) -> ModelSpec:
    """EXAONE 4: each head normed; where there are windows, layers without one see no positions."""
    fields.assume(num_key_value_heads=32, sliding_window=4096, sliding_window_pattern=4)
    norm, mixer = read_norm(fields, 1e-5), read_heads(fields)
    rope = read_rope(fields, mixer.head_dim, read_positions(fields))
    mixer = replace(mixer, qk_norm=QkNormSpec(norm))
    windowed = fields.has("sliding_window")
    if windowed and not fields.has("layer_types"):
        kinds = read_kinds(fields, all_but_every(fields.integer("sliding_window_pattern")))
    else:
        kinds = read_kinds(fields, lambda layer: FULL)
    fields.ignore("sliding_window_pattern")  # which may be letters where `layer_types` is there
    windows = read_windows(fields, kinds, None)
    mixers = [
        replace(mixer, window=window, rope=None if windowed and window is None else rope)
        for window in windows
    ]
    return _post(fields, mixers, norm)


def _heads(fields: Fields) -> AttentionSpec:
    bias = fields.flag("attention_bias", False)
    return replace(read_heads(fields), bias=bias, out_bias=bias)


def _post(fields: Fields, mixers: list[AttentionSpec], norm: NormSpec) -> ModelSpec:
    feed = read_mlp(fields)
    layers = [LayerSpec(mixer, feed, norm, wiring="post") for mixer in mixers]
    return read_model(fields, layers, norm)


OLMO = (
    Family("olmo", read_olmo, NAMES),
    Family("olmo2", read_olmo2, POST),
    Family("olmo3", read_olmo3, POST),
    Family("exaone4", read_exaone4, POST),
)
