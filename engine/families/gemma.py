"""Gemma 1 to 3: scaled embeddings, norm weights stored less 1, from 2 on norms on both sides.

References: transformers' modeling_gemma, modeling_gemma2, modeling_gemma3.
"""

from __future__ import annotations

from dataclasses import replace

from ..spec import AttentionSpec, LayerSpec, ModelSpec, NormSpec, QkNormSpec
from .family import Family
from .fields import Fields
from .llama import NAMES
from .naming import NameMap, Spelling
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

TANH = "gelu_pytorch_tanh"

SANDWICHED = NameMap(
    NAMES.parts
    | {
        "layers.{}.mixer_post_norm": "model.layers.{}.post_attention_layernorm",
        "layers.{}.feed_norm": "model.layers.{}.pre_feedforward_layernorm",
        "layers.{}.feed_post_norm": "model.layers.{}.post_feedforward_layernorm",
    }
)


def read_gemma(fields: Fields) -> ModelSpec:
    """Gemma 1. What it calls `gelu` is the approximation by tanh."""
    fields.assume(num_key_value_heads=16, head_dim=256, max_position_embeddings=8192)
    fields.ignore("hidden_activation")  # which Gemma 2 reads instead of `hidden_act`
    if fields.take("hidden_act") == "gelu":
        feed = replace(read_mlp(fields), activation="gelu_tanh")
    else:
        feed = read_mlp(fields, default=TANH)
    norm = read_norm(fields, 1e-6, offset=1.0)
    mixer = _biased(fields, read_heads(fields))
    mixer = replace(mixer, rope=read_rope(fields, mixer.head_dim, read_positions(fields)))
    layers = [LayerSpec(mixer, feed, norm)] * fields.integer("num_hidden_layers")
    return _scaled(read_model(fields, layers, norm, tied=True))


def read_gemma2(fields: Fields) -> ModelSpec:
    """Gemma 2: every second layer has a window; scores and logits are capped."""
    fields.assume(num_key_value_heads=4, head_dim=256, max_position_embeddings=8192)
    fields.assume(attn_logit_softcapping=50.0, final_logit_softcapping=30.0)
    mixer = _biased(fields, read_heads(fields))
    mixer = replace(
        mixer,
        rope=read_rope(fields, mixer.head_dim, read_positions(fields)),
        cap=fields.number("attn_logit_softcapping", None),
    )
    kinds = read_kinds(fields, all_but_every(2))
    return _sandwiched(fields, kinds, [mixer] * len(kinds), read_norm(fields, 1e-6, offset=1.0))


def read_gemma3_text(fields: Fields) -> ModelSpec:
    """Gemma 3: queries and keys normed, a rope for each kind of layer, five sliding to one full."""
    fields.assume(vocab_size=262208, hidden_size=2304, intermediate_size=9216)
    fields.assume(num_hidden_layers=26, num_attention_heads=8, num_key_value_heads=4, head_dim=256)
    fields.assume(max_position_embeddings=131072)
    # Its attention never gets the cap, and later configs name what `layer_types` came from.
    fields.ignore("attn_logit_softcapping", "_sliding_window_pattern")
    heads, norm = _biased(fields, read_heads(fields)), read_norm(fields, 1e-6, offset=1.0)
    thetas = {FULL: (1000000.0, "rope_theta"), SLIDING: (10000.0, "rope_local_base_freq")}
    ropes = read_ropes(fields, heads.head_dim, read_positions(fields), thetas)
    kinds = read_kinds(fields, all_but_every(fields.integer("sliding_window_pattern", 6)))
    mixers = [replace(heads, rope=ropes[kind], qk_norm=QkNormSpec(norm)) for kind in kinds]
    return _sandwiched(fields, kinds, mixers, norm)


def read_gemma3(fields: Fields) -> ModelSpec:
    """The text part of Gemma 3 with vision, all in `text_config` but whether the head is tied."""
    fields.ignore("vision_config", "mm_tokens_per_image")
    fields.ignore("image_token_index", "boi_token_index", "eoi_token_index")
    text = fields.inside("text_config") or Fields({}, f"{fields.where}: text_config")
    spec = replace(read_gemma3_text(text), tied=fields.flag("tie_word_embeddings", True))
    text.refuse_rest()
    return spec


def _biased(fields: Fields, heads: AttentionSpec) -> AttentionSpec:
    bias = fields.flag("attention_bias", False)
    return replace(heads, bias=bias, out_bias=bias)


def _sandwiched(
    fields: Fields, kinds: list[str], mixers: list[AttentionSpec], norm: NormSpec
) -> ModelSpec:
    """What Gemma 2 and 3 share around their attention."""
    fields.ignore("hidden_act", "sliding_window_size")  # old names that nobody reads
    scale = fields.number("query_pre_attn_scalar", 256.0) ** -0.5
    feed = read_mlp(fields, name="hidden_activation", default=TANH)
    windows = read_windows(fields, kinds, 4096)
    layers = [
        LayerSpec(replace(mixer, window=window, scale=scale), feed, norm, wiring="sandwich")
        for mixer, window in zip(mixers, windows, strict=True)
    ]
    cap = fields.number("final_logit_softcapping", None)
    return replace(_scaled(read_model(fields, layers, norm, tied=True)), logit_cap=cap)


def _scaled(spec: ModelSpec) -> ModelSpec:
    return replace(spec, embed_scale=spec.hidden**0.5)


def _within(names: NameMap) -> NameMap:
    """Names of a stack that is the language model of something larger, in its several spellings."""
    places = ("language_model.model.", "model.language_model.", "language_model.")
    parts: dict[str, Spelling | tuple[Spelling, ...]] = {}
    for ours, theirs in names.parts.items():
        assert isinstance(theirs, str)
        bare = theirs.removeprefix("model.")
        if bare == theirs:  # the head
            parts[ours] = (f"language_model.{theirs}", theirs)
        else:
            parts[ours] = tuple(place + bare for place in places)
    others = r"(model\.)?(vision_tower|multi_modal_projector)\..*"
    return NameMap(parts, (*names.ignored, others))


GEMMA = (
    Family("gemma", read_gemma, NAMES),
    Family("gemma2", read_gemma2, SANDWICHED),
    Family("gemma3_text", read_gemma3_text, SANDWICHED),
    Family("gemma3", read_gemma3, _within(SANDWICHED)),
)
