"""Families that are Llama but for a few of its parts.

References: transformers' modeling_ministral, modeling_smollm3, modeling_granite, modeling_arcee,
modeling_seed_oss, modeling_hunyuan_v1_dense, modeling_helium, modeling_ernie4_5, modeling_apertus,
modeling_nanochat.
"""

from __future__ import annotations

from dataclasses import replace

from ..spec import (
    AttentionSpec,
    LayerSpec,
    Llama3Scaling,
    MlpSpec,
    ModelSpec,
    NormSpec,
    QkNormSpec,
    RopeSpec,
)
from .family import Family
from .fields import Fields
from .llama import NAMES
from .naming import NameMap
from .rope import read_rope
from .stack import (
    FULL,
    SLIDING,
    read_heads,
    read_kinds,
    read_mlp,
    read_model,
    read_norm,
    read_positions,
    read_windows,
)


def read_ministral(fields: Fields) -> ModelSpec:
    """Ministral: Mistral with a window for some layers only."""
    fields.assume(num_key_value_heads=8, max_position_embeddings=131072, sliding_window=4096)
    kind = SLIDING if fields.has("sliding_window") else FULL
    windows = read_windows(fields, read_kinds(fields, lambda layer: kind), None)
    mixer = _turned(fields)
    mixers = [replace(mixer, window=window) for window in windows]
    return _llama(fields, mixers, read_mlp(fields), read_norm(fields, 1e-6))


def read_smollm3(fields: Fields) -> ModelSpec:
    """SmolLM3: every fourth layer sees no positions."""
    fields.assume(num_key_value_heads=4, max_position_embeddings=32768)
    fields.ignore("max_window_layers")
    count = fields.integer("num_hidden_layers")
    ropes = _smollm3_ropes(fields, count)
    used = fields.flag("use_sliding_window", False) and fields.has("sliding_window")
    kinds = read_kinds(fields, lambda layer: SLIDING if used and not ropes[layer] else FULL)
    windows = read_windows(fields, kinds, None)
    mixer = _turned(fields, 2000000.0)
    mixers = [
        replace(mixer, window=window, rope=mixer.rope if turned else None)
        for window, turned in zip(windows, ropes, strict=True)
    ]
    feed = read_mlp(fields, bias=fields.flag("mlp_bias", False))
    return _llama(fields, mixers, feed, read_norm(fields, 1e-6), tied=True)


def read_granite(fields: Fields) -> ModelSpec:
    """Granite: factors on embeddings, scores, residuals and logits."""
    mixer = replace(_turned(fields), scale=fields.number("attention_multiplier", 1.0))
    feed = read_mlp(fields, bias=fields.flag("mlp_bias", False))
    spec = _llama(fields, [mixer] * _count(fields), feed, read_norm(fields, 1e-6))
    residual, divisor = (
        fields.number("residual_multiplier", 1.0),
        fields.number("logits_scaling", 1.0),
    )
    if divisor == 0:
        raise fields.wrong("logits_scaling", divisor, "a number that logits can be divided by")
    return replace(
        spec,
        layers=tuple(replace(layer, residual_scale=residual) for layer in spec.layers),
        embed_scale=fields.number("embedding_multiplier", 1.0),
        logit_scale=1 / divisor,
    )


def read_arcee(fields: Fields) -> ModelSpec:
    """Arcee: an MLP without a gate and with a squared ReLU."""
    fields.assume(max_position_embeddings=4096)
    bias = fields.flag("mlp_bias", False)
    feed = read_mlp(fields, default="relu2", gated=False, bias=bias)
    return _llama(fields, [_turned(fields)] * _count(fields), feed, read_norm(fields, 1e-5))


def read_seed_oss(fields: Fields) -> ModelSpec:
    """Seed-OSS: a bias of query, key and value, and one of the projection back, each by itself."""
    fields.assume(num_key_value_heads=8, head_dim=128, max_position_embeddings=524288)
    fields.assume(attention_bias=True)
    mixer = replace(_turned(fields), out_bias=fields.flag("attention_out_bias", False))
    feed = read_mlp(fields, bias=fields.flag("mlp_bias", False))
    return _llama(fields, [mixer] * _count(fields), feed, read_norm(fields, 1e-6))


def read_hunyuan(fields: Fields) -> ModelSpec:
    """Hunyuan's dense models: each head normed after it is turned."""
    fields.only(use_qk_norm=True, norm_type="rms", num_experts=1, use_rotary_pos_emb=True)
    fields.ignore("attention_head_dim", "eod_token_id", "org_vocab_size", "cla_share_factor")
    fields.ignore("class_num", "pool_type", "dense_list", "max_seq_len")
    norm = read_norm(fields, 1e-5)
    mixer = replace(_turned(fields, alpha=True), qk_norm=QkNormSpec(norm, after_rope=True))
    return _llama(fields, [mixer] * _count(fields), read_mlp(fields), norm)


def read_helium(fields: Fields) -> ModelSpec:
    """Helium: neighbours turn, and no bias on the way back."""
    fields.assume(num_key_value_heads=20, head_dim=128, max_position_embeddings=4096)
    mixer = replace(_turned(fields, 100000.0, interleaved=True), out_bias=False)
    hidden = fields.integer("hidden_size")
    if mixer.heads * mixer.head_dim != hidden:
        wanted = f"hidden_size {hidden} divided by {mixer.heads} heads"
        raise fields.wrong("head_dim", mixer.head_dim, wanted)
    feed = read_mlp(fields, bias=fields.flag("mlp_bias", False))
    return _llama(fields, [mixer] * _count(fields), feed, read_norm(fields, 1e-8))


def read_ernie4_5(fields: Fields) -> ModelSpec:
    """ERNIE 4.5: neighbours turn; a bias everywhere or nowhere."""
    fields.assume(num_key_value_heads=2, head_dim=128, max_position_embeddings=131072)
    bias = fields.flag("use_bias", False)
    mixer = _turned(fields, 500000.0, interleaved=True)
    mixer = replace(mixer, bias=bias, out_bias=bias)
    feed, norm = read_mlp(fields, bias=bias), read_norm(fields, 1e-5)
    return _llama(fields, [mixer] * _count(fields), feed, norm, tied=True)


def read_apertus(fields: Fields) -> ModelSpec:
    """Apertus: each head normed, and an MLP without a gate whose activation is learned."""
    fields.assume(max_position_embeddings=65536, hidden_act="xielu")
    fields.only(qk_norm=True, post_norm=False)
    norm = read_norm(fields, 1e-5)
    mixer = replace(_heads(fields), qk_norm=QkNormSpec(norm))
    if fields.has("rope_scaling") or fields.has("rope_parameters"):
        rope = read_rope(fields, mixer.head_dim, read_positions(fields), 12000000.0)
    else:  # and whatever `rope_theta` says, it isn't asked
        fields.ignore("rope_theta")
        rope = RopeSpec(mixer.head_dim, 12000000.0, Llama3Scaling(8.0, 1.0, 4.0, 8192))
    mixer = replace(mixer, rope=rope)
    if fields.take("hidden_act") == "xielu":
        feed = MlpSpec(fields.integer("intermediate_size"), "xielu", gated=False)
    else:
        feed = read_mlp(fields, gated=False)
    return _llama(fields, [mixer] * _count(fields), feed, norm)


def read_nanochat(fields: Fields) -> ModelSpec:
    """nanochat: norms that learn nothing, one of the embeddings too; heads turn the other way."""
    fields.assume(final_logit_softcapping=15.0)
    norm = NormSpec(fields.number("rms_norm_eps", 1e-6), weight=False)
    mixer = _turned(fields)
    assert mixer.rope is not None
    rope = replace(mixer.rope, backward=True)
    mixer = replace(mixer, rope=rope, qk_norm=QkNormSpec(norm, after_rope=True))
    feed = read_mlp(fields, default="relu2", gated=False)
    spec = _llama(fields, [mixer] * _count(fields), feed, norm)
    return replace(spec, embed_norm=norm, logit_cap=fields.number("final_logit_softcapping", None))


def _count(fields: Fields) -> int:
    return fields.integer("num_hidden_layers")


def _heads(fields: Fields) -> AttentionSpec:
    bias = fields.flag("attention_bias", False)
    return replace(read_heads(fields), bias=bias, out_bias=bias)


def _turned(
    fields: Fields, theta: float = 10000.0, *, interleaved: bool = False, alpha: bool = False
) -> AttentionSpec:
    heads, positions = _heads(fields), read_positions(fields)
    rope = read_rope(fields, heads.head_dim, positions, theta, interleaved=interleaved, alpha=alpha)
    return replace(heads, rope=rope)


def _smollm3_ropes(fields: Fields, count: int) -> list[bool]:
    """Which layers turn: by a list with 1 for those that do, or all but one in an interval."""
    interval = fields.integer("no_rope_layer_interval", 4)
    if not fields.has("no_rope_layers"):
        fields.ignore("no_rope_layers")
        return [(layer + 1) % interval != 0 for layer in range(count)]
    return [bool(entry) for entry in fields.entries("no_rope_layers", count, spare=True)]


def _llama(
    fields: Fields, mixers: list[AttentionSpec], feed: MlpSpec, norm: NormSpec, tied: bool = False
) -> ModelSpec:
    layers = [LayerSpec(mixer, feed, norm) for mixer in mixers]
    return read_model(fields, layers, norm, tied=tied)


HUNYUAN_NAMES = NameMap(
    NAMES.parts
    | {
        "layers.{}.mixer.q_norm": "model.layers.{}.self_attn.query_layernorm",
        "layers.{}.mixer.k_norm": "model.layers.{}.self_attn.key_layernorm",
    }
)

APERTUS_NAMES = NameMap(
    NAMES.parts
    | {
        "layers.{}.mixer_norm": "model.layers.{}.attention_layernorm",
        "layers.{}.feed_norm": "model.layers.{}.feedforward_layernorm",
        "layers.{}.feed.act": "model.layers.{}.mlp.act_fn",
    }
)

NANOCHAT_NAMES = NameMap(
    NAMES.parts
    | {
        "layers.{}.feed.up": "model.layers.{}.mlp.fc1",
        "layers.{}.feed.down": "model.layers.{}.mlp.fc2",
    }
)

RELATIVES = (
    Family("ministral", read_ministral, NAMES),
    Family("smollm3", read_smollm3, NAMES),
    Family("granite", read_granite, NAMES),
    Family("arcee", read_arcee, NAMES),
    Family("seed_oss", read_seed_oss, NAMES),
    Family("hunyuan_v1_dense", read_hunyuan, HUNYUAN_NAMES),
    Family("helium", read_helium, NAMES),
    Family("ernie4_5", read_ernie4_5, NAMES),
    Family("apertus", read_apertus, APERTUS_NAMES),
    Family("nanochat", read_nanochat, NANOCHAT_NAMES),
)
