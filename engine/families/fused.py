"""Families that store gate and up projection as one: GLM 4, and Phi-3, which also fuses q, k, v.

References: transformers' modeling_glm, modeling_glm4, modeling_phi3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..spec import LayerSpec, LongScaling, MlpSpec, ModelSpec, Wiring
from .family import Family
from .fields import Fields
from .llama import NAMES
from .naming import NameMap, Part, qkv_sizes, rows
from .rope import read_rope
from .stack import read_heads, read_mlp, read_model, read_norm, read_positions


def _gate_and_up(layer: LayerSpec) -> Sequence[int]:
    assert isinstance(layer.feed, MlpSpec)
    return layer.feed.width, layer.feed.width


FUSED_MLP = NameMap(
    NAMES.parts
    | {
        "layers.{}.feed.gate": Part(("model.layers.{}.mlp.gate_up_proj",), rows(0, _gate_and_up)),
        "layers.{}.feed.up": Part(("model.layers.{}.mlp.gate_up_proj",), rows(1, _gate_and_up)),
    }
)

SANDWICHED = NameMap(
    FUSED_MLP.parts
    | {
        "layers.{}.mixer_post_norm": "model.layers.{}.post_self_attn_layernorm",
        "layers.{}.feed_post_norm": "model.layers.{}.post_mlp_layernorm",
    }
)

ALL_FUSED = NameMap(
    FUSED_MLP.parts
    | {
        f"layers.{{}}.mixer.{name}": Part(
            ("model.layers.{}.self_attn.qkv_proj",), rows(index, qkv_sizes)
        )
        for index, name in enumerate("qkv")
    }
)

PHI3_ROPES = {"default": "default"} | dict.fromkeys(("longrope", "su", "yarn"), "longrope")
"""Phi-3's first configs said `su` or `yarn` and meant LongRoPE."""


def read_glm(fields: Fields) -> ModelSpec:
    """GLM-4-9B: half of each head turns, by pairs of neighbours."""
    return _glm(fields, "pre")


def read_glm4(fields: Fields) -> ModelSpec:
    """GLM-4-0414: the same with norms on both sides."""
    return _glm(fields, "sandwich")


def _glm(fields: Fields, wiring: Wiring) -> ModelSpec:
    fields.assume(num_key_value_heads=2, head_dim=128, max_position_embeddings=131072)
    norm, mixer = read_norm(fields, 1.5625e-07), read_heads(fields)
    rope = read_rope(fields, mixer.head_dim, read_positions(fields), partial=0.5, interleaved=True)
    mixer = replace(mixer, rope=rope, bias=fields.flag("attention_bias", True))
    layer = LayerSpec(mixer, read_mlp(fields), norm, wiring)
    return read_model(fields, [layer] * fields.integer("num_hidden_layers"), norm)


def read_phi3(fields: Fields) -> ModelSpec:
    """Phi-3 and Phi-4: one window for all layers, LongRoPE beyond the original length.

    transformers throws the cache away when a text outgrows that length, so that no key keeps the
    turn of the short factors.
    """
    fields.assume(max_position_embeddings=4096, original_max_position_embeddings=4096)
    fields.only(full_attn_mod=1, interpolate_factor=1)
    norm, mixer = read_norm(fields, 1e-5), read_heads(fields)
    rope = read_rope(fields, mixer.head_dim, read_positions(fields), partial=1.0, types=PHI3_ROPES)
    if isinstance(rope.scaling, LongScaling):
        rope = replace(rope, scaling=replace(rope.scaling, afresh=True))
    mixer = replace(mixer, rope=rope, window=fields.integer("sliding_window", None))
    layer = LayerSpec(mixer, read_mlp(fields), norm)
    return read_model(fields, [layer] * fields.integer("num_hidden_layers"), norm)


FUSED = (
    Family("glm", read_glm, FUSED_MLP),
    Family("glm4", read_glm4, SANDWICHED),
    Family("phi3", read_phi3, ALL_FUSED),
)
