"""Llama's relatives with experts: Mixtral, Qwen 2 and 3 MoE, OLMoE, FlexOlmo, Granite MoE, GLM-4.5.

References: transformers' modeling_mixtral, modeling_qwen2_moe, modeling_qwen3_moe,
modeling_olmoe, modeling_flex_olmo, modeling_granitemoe, modeling_glm4_moe.
"""

from __future__ import annotations

from dataclasses import replace

from ..spec import Feed, LayerSpec, Mixer, MlpSpec, ModelSpec, QkNormSpec, RouterSpec
from .family import Family
from .fields import Fields
from .llama import NAMES
from .mixture import (
    DRAFTER,
    TRAINING,
    expert_names,
    read_attention,
    read_drafters,
    read_experts,
    read_sigmoid_feeds,
    read_stack,
    shared_names,
)
from .naming import NameMap
from .olmo import POST
from .stack import FULL, SLIDING, read_kinds, read_mlp, read_model, read_norm, read_windows

TOGETHER = ("model.layers.{}.mlp.experts.gate_up_proj", "model.layers.{}.mlp.experts.down_proj")
"""Expert weights as transformers holds them in memory; most files have them one by one."""

MIXTRAL_NAMES = NameMap(
    NAMES.parts
    | expert_names(
        (
            "model.layers.{}.block_sparse_moe.experts.{e}.w1.weight",
            "model.layers.{}.block_sparse_moe.experts.{e}.w3.weight",
            "model.layers.{}.block_sparse_moe.experts.{e}.w2.weight",
        ),
        TOGETHER,
    )
    | {
        "layers.{}.feed.router": (
            "model.layers.{}.block_sparse_moe.gate",
            "model.layers.{}.mlp.gate",
        ),
    }
)

MOE_PARTS = (
    NAMES.parts
    | expert_names(
        (
            "model.layers.{}.mlp.experts.{e}.gate_proj.weight",
            "model.layers.{}.mlp.experts.{e}.up_proj.weight",
            "model.layers.{}.mlp.experts.{e}.down_proj.weight",
        ),
        TOGETHER,
    )
    | {
        "layers.{}.feed.router": "model.layers.{}.mlp.gate",
        "layers.{}.feed.router.correction": "model.layers.{}.mlp.gate.e_score_correction_bias",
        "layers.{}.feed.shared_gate": "model.layers.{}.mlp.shared_expert_gate",
    }
)

QWEN_NAMES = NameMap(MOE_PARTS | shared_names("model.layers.{}.mlp.shared_expert"))

GLM_NAMES = NameMap(MOE_PARTS | shared_names("model.layers.{}.mlp.shared_experts"), drafter=DRAFTER)

FLEX_NAMES = NameMap(POST.parts | MOE_PARTS)

GRANITE_NAMES = NameMap(
    NAMES.parts
    | expert_names(
        None,
        (
            "model.layers.{}.block_sparse_moe.input_linear.weight",
            "model.layers.{}.block_sparse_moe.output_linear.weight",
        ),
        (
            "model.layers.{}.block_sparse_moe.experts.gate_up_proj",
            "model.layers.{}.block_sparse_moe.experts.down_proj",
        ),
    )
    | {
        "layers.{}.feed.router": (
            "model.layers.{}.block_sparse_moe.router.layer",
            "model.layers.{}.block_sparse_moe.router",
        ),
    }
)


def read_mixtral(fields: Fields) -> ModelSpec:
    """Mixtral: Mistral with experts whose weights sum to 1."""
    fields.respell(num_experts="num_local_experts")
    fields.assume(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=131072,
        num_experts_per_tok=2,
        num_local_experts=8,
    )
    expert = read_mlp(fields)
    feed = read_experts(fields, "num_local_experts", expert, RouterSpec(normalize=True))
    mixer = replace(
        read_attention(fields, theta=1000000.0), window=fields.integer("sliding_window", None)
    )
    return _alike(fields, mixer, feed, 1e-5)


def read_qwen2_moe(fields: Fields) -> ModelSpec:
    """Qwen 1.5 and 2 MoE: every token also passes a shared expert behind a gate of its own."""
    fields.assume(
        vocab_size=151936,
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=24,
        num_attention_heads=16,
        num_key_value_heads=16,
        max_position_embeddings=32768,
        moe_intermediate_size=1408,
        shared_expert_intermediate_size=5632,
        num_experts_per_tok=4,
        num_experts=60,
    )
    bias = fields.flag("qkv_bias", True)
    mixer = replace(read_attention(fields), bias=bias)
    mixers = [replace(mixer, window=window) for window in _qwen2_moe_windows(fields)]
    shared = read_mlp(fields, width="shared_expert_intermediate_size")
    feeds = _qwen_feeds(fields, "num_experts", shared)
    return read_stack(fields, mixers, feeds, read_norm(fields, 1e-6))


def read_qwen3_moe(fields: Fields) -> ModelSpec:
    """Qwen 3 MoE: each head's query and key normalized; one window for all layers or none."""
    fields.respell(num_experts="num_local_experts")
    fields.assume(
        vocab_size=151936,
        hidden_size=2048,
        intermediate_size=6144,
        num_hidden_layers=24,
        num_attention_heads=32,
        num_key_value_heads=4,
        max_position_embeddings=32768,
        moe_intermediate_size=768,
        num_experts_per_tok=8,
        num_local_experts=128,
    )
    fields.ignore("max_window_layers", "sliding_window")
    norm, bias = read_norm(fields, 1e-6), fields.flag("attention_bias", False)
    window = None
    if fields.flag("use_sliding_window", False):
        fields.assume(sliding_window=4096)
        window = fields.integer("sliding_window", None)
    mixer = replace(
        read_attention(fields),
        qk_norm=QkNormSpec(norm),
        bias=bias,
        out_bias=bias,
        window=window,
    )
    feeds = _qwen_feeds(fields, "num_local_experts", None)
    return read_stack(fields, [mixer] * len(feeds), feeds, norm)


def read_olmoe(fields: Fields) -> ModelSpec:
    """OLMoE: queries and keys normalized over all heads together, then clipped."""
    fields.respell(num_local_experts="num_experts")
    fields.assume(
        vocab_size=50304,
        hidden_size=2048,
        intermediate_size=2048,
        num_hidden_layers=16,
        num_attention_heads=16,
        max_position_embeddings=4096,
        num_experts_per_tok=8,
        num_experts=64,
    )
    norm, bias = read_norm(fields, 1e-5), fields.flag("attention_bias", False)
    mixer = replace(
        read_attention(fields),
        qk_norm=QkNormSpec(norm, over="whole"),
        bias=bias,
        out_bias=bias,
        clip=fields.number("clip_qkv", None),
    )
    router = RouterSpec(normalize=fields.flag("norm_topk_prob", False))
    expert = read_mlp(fields)
    return _alike(fields, mixer, read_experts(fields, "num_experts", expert, router), 1e-5)


def read_flex_olmo(fields: Fields) -> ModelSpec:
    """FlexOlmo: OLMo 2 with OLMoE's experts for its MLP."""
    fields.respell(num_local_experts="num_experts")
    fields.assume(
        vocab_size=100352,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        max_position_embeddings=4096,
        num_experts_per_tok=5,
        num_experts=7,
    )
    norm, bias = read_norm(fields, 1e-6), fields.flag("attention_bias", False)
    mixer = replace(
        read_attention(fields, theta=500000.0),
        qk_norm=QkNormSpec(norm, over="whole"),
        bias=bias,
        out_bias=bias,
    )
    router = RouterSpec(normalize=fields.flag("norm_topk_prob", False))
    feed = read_experts(fields, "num_experts", read_mlp(fields), router)
    layer = LayerSpec(mixer, feed, norm, wiring="post")
    return read_model(fields, [layer] * fields.integer("num_hidden_layers"), norm)


def read_granitemoe(fields: Fields) -> ModelSpec:
    """Granite 3 MoE: Granite's four multipliers, experts stored together."""
    fields.assume(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        max_position_embeddings=2048,
        num_experts_per_tok=2,
        num_local_experts=8,
    )
    bias = fields.flag("attention_bias", False)
    mixer = replace(
        read_attention(fields),
        bias=bias,
        out_bias=bias,
        scale=fields.number("attention_multiplier", 1.0),
    )
    expert = read_mlp(fields)
    feed = read_experts(fields, "num_local_experts", expert, RouterSpec(normalize=True))
    spec = _alike(fields, mixer, feed, 1e-6)
    residual = fields.number("residual_multiplier", 1.0)
    return replace(
        spec,
        layers=tuple(replace(layer, residual_scale=residual) for layer in spec.layers),
        embed_scale=fields.number("embedding_multiplier", 1.0),
        logit_scale=1 / fields.number("logits_scaling", 1.0),
    )


def read_glm4_moe(fields: Fields) -> ModelSpec:
    """GLM-4.5: half of each head turned, dense layers first, DeepSeek-V3's router."""
    fields.respell(num_local_experts="n_routed_experts")
    fields.assume(
        vocab_size=151552,
        hidden_size=4096,
        intermediate_size=10944,
        num_hidden_layers=46,
        num_attention_heads=96,
        num_key_value_heads=8,
        max_position_embeddings=131072,
        moe_intermediate_size=1408,
        num_experts_per_tok=8,
        n_shared_experts=1,
        n_routed_experts=128,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=1,
    )
    norm = read_norm(fields, 1e-5)
    mixer = replace(
        read_attention(fields, partial=0.5),
        qk_norm=QkNormSpec(norm) if fields.flag("use_qk_norm", False) else None,
        bias=fields.flag("attention_bias", False),
    )
    feeds = read_sigmoid_feeds(fields)
    spec = read_stack(fields, [mixer] * len(feeds), feeds, norm)
    return replace(spec, drafters=read_drafters(fields))


def _alike(fields: Fields, mixer: Mixer, feed: Feed, eps: float) -> ModelSpec:
    """A stack whose layers are all the same; `eps` is the family's default."""
    count = fields.integer("num_hidden_layers")
    return read_stack(fields, [mixer] * count, [feed] * count, read_norm(fields, eps))


def _qwen_feeds(fields: Fields, count: str, shared: MlpSpec | None) -> list[Feed]:
    """Experts in every `decoder_sparse_step`th layer that `mlp_only_layers` doesn't name."""
    dense = read_mlp(fields)
    expert = read_mlp(fields, width="moe_intermediate_size")
    router = RouterSpec(normalize=fields.flag("norm_topk_prob", False))
    step, layers = fields.integer("decoder_sparse_step", 1), fields.integer("num_hidden_layers")
    without: list[int] = fields.take("mlp_only_layers") or []
    if fields.take(count) == 0:  # Qwen's way of saying that no layer has any
        fields.ignore(*TRAINING, "num_experts_per_tok")
        return [dense] * layers
    feed = read_experts(fields, count, expert, router)
    feed = replace(feed, shared=shared, shared_gate=shared is not None)
    return [dense if i in without or (i + 1) % step else feed for i in range(layers)]


def _qwen2_moe_windows(fields: Fields) -> list[int | None]:
    """Where nothing else is said, every other layer below `max_window_layers` has a window."""
    below, used = fields.count("max_window_layers", 28), fields.flag("use_sliding_window", False)
    kinds = read_kinds(
        fields, lambda layer: SLIDING if used and layer % 2 == 0 and layer < below else FULL
    )
    if not used and SLIDING in kinds:
        raise fields.wrong("use_sliding_window", False, f"true, though layers have {SLIDING}")
    if not used:
        fields.ignore("sliding_window")  # which transformers then saves as zero
        return [None] * len(kinds)
    return read_windows(fields, kinds, 4096)


EXPERTS = (
    Family("mixtral", read_mixtral, MIXTRAL_NAMES),
    Family("qwen2_moe", read_qwen2_moe, QWEN_NAMES),
    Family("qwen3_moe", read_qwen3_moe, QWEN_NAMES),
    Family("olmoe", read_olmoe, QWEN_NAMES),
    Family("flex_olmo", read_flex_olmo, FLEX_NAMES),
    Family("granitemoe", read_granitemoe, GRANITE_NAMES),
    Family("glm4_moe", read_glm4_moe, GLM_NAMES),
)
