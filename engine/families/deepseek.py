"""DeepSeek-V2 and V3: latent attention, dense layers first, then experts in groups.

References: transformers' modeling_deepseek_v2 and modeling_deepseek_v3 (arXiv:2405.04434,
arXiv:2412.19437).
"""

from __future__ import annotations

import math
from dataclasses import replace

from ..spec import Feed, LatentSpec, ModelSpec, NormSpec, RouterSpec
from .experts import MOE_PARTS
from .family import Family
from .fields import Fields
from .mixture import (
    DRAFTER,
    dense_first,
    grouped,
    read_drafters,
    read_experts,
    read_sigmoid_feeds,
    read_stack,
    shared_names,
)
from .naming import NameMap
from .rope import read_rope
from .stack import read_mlp, read_norm

NAMES = NameMap(
    MOE_PARTS
    | shared_names("model.layers.{}.mlp.shared_experts")
    | {
        "layers.{}.mixer.q": (
            "model.layers.{}.self_attn.q_proj",
            "model.layers.{}.self_attn.q_b_proj",
        ),
        "layers.{}.mixer.q_down": "model.layers.{}.self_attn.q_a_proj",
        "layers.{}.mixer.q_norm": "model.layers.{}.self_attn.q_a_layernorm",
        "layers.{}.mixer.kv_down": "model.layers.{}.self_attn.kv_a_proj_with_mqa",
        "layers.{}.mixer.kv_norm": "model.layers.{}.self_attn.kv_a_layernorm",
        "layers.{}.mixer.kv": "model.layers.{}.self_attn.kv_b_proj",
    },
    drafter=DRAFTER,
)


def read_deepseek_v2(fields: Fields) -> ModelSpec:
    """DeepSeek-V2: softmax scores, of which the best groups' best are taken as they are.

    `norm_topk_prob` means nothing: transformers never normalizes here.
    """
    fields.respell(num_experts="n_routed_experts")
    fields.assume(
        vocab_size=102400,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        max_position_embeddings=2048,
        first_k_dense_replace=0,
        kv_lora_rank=512,
        q_lora_rank=1536,
        n_routed_experts=64,
        n_shared_experts=2,
        qk_nope_head_dim=128,
        qk_rope_head_dim=64,
        v_head_dim=128,
        moe_intermediate_size=1407,
    )
    fields.ignore("norm_topk_prob")
    mixer = _read_latent(fields, interleaved=True)
    feeds = _read_softmax_feeds(fields)
    return read_stack(fields, [mixer] * len(feeds), feeds, read_norm(fields, 1e-6))


def read_deepseek_v3(fields: Fields) -> ModelSpec:
    """DeepSeek-V3: sigmoid scores, balanced by a learned correction."""
    fields.respell(num_local_experts="n_routed_experts")
    fields.assume(
        vocab_size=129280,
        hidden_size=7168,
        intermediate_size=18432,
        moe_intermediate_size=2048,
        num_hidden_layers=61,
        num_attention_heads=128,
        num_key_value_heads=128,
        n_shared_experts=1,
        n_routed_experts=256,
        routed_scaling_factor=2.5,
        kv_lora_rank=512,
        q_lora_rank=1536,
        qk_rope_head_dim=64,
        v_head_dim=128,
        qk_nope_head_dim=128,
        n_group=8,
        topk_group=4,
        num_experts_per_tok=8,
        first_k_dense_replace=3,
        max_position_embeddings=4096,
    )
    fields.word("topk_method", "noaux_tc", ("noaux_tc",))
    fields.word("scoring_func", "sigmoid", ("sigmoid",))
    mixer = _read_latent(fields, interleaved=fields.flag("rope_interleave", True))
    feeds = read_sigmoid_feeds(fields)
    spec = read_stack(fields, [mixer] * len(feeds), feeds, read_norm(fields, 1e-6))
    return replace(spec, drafters=read_drafters(fields))


def _read_latent(fields: Fields, interleaved: bool) -> LatentSpec:
    heads = fields.integer("num_attention_heads")
    if fields.integer("num_key_value_heads", heads) != heads:
        found = fields.take("num_key_value_heads")
        raise fields.wrong("num_key_value_heads", found, f"{heads}, as many as heads")
    _settle(fields)
    nope, turned = fields.integer("qk_nope_head_dim"), fields.integer("qk_rope_head_dim")
    longest = fields.integer("max_position_embeddings")
    return LatentSpec(
        heads,
        q_rank=fields.integer("q_lora_rank", None),
        kv_rank=fields.integer("kv_lora_rank"),
        nope_dim=nope,
        value_dim=fields.integer("v_head_dim"),
        rope=read_rope(fields, turned, longest, interleaved=interleaved),
        norm=NormSpec(1e-6),  # whatever the config says of the others
        bias=fields.flag("attention_bias", False),
        scale=(nope + turned) ** -0.5 * _read_mscale(fields) ** 2,
    )


def _settle(fields: Fields) -> None:
    """Fields that follow from others, or that nobody has ever set otherwise."""
    fields.ignore("head_dim", "qk_head_dim", "aux_loss_alpha", "seq_aux", "ep_size")
    if fields.integer("moe_layer_freq", 1) != 1:
        raise fields.wrong("moe_layer_freq", fields.take("moe_layer_freq"), "1")


def _read_mscale(fields: Fields) -> float:
    """What YaRN's `mscale_all_dim` makes of attention scores, before squaring."""
    rope = fields.inside("rope_scaling") or fields.inside("rope_parameters")
    if rope is None or (rope.take("rope_type") or rope.take("type") or "default") == "default":
        return 1.0
    weight = rope.number("mscale_all_dim", 0.0)
    if not weight:
        return 1.0
    factor = rope.number("factor")
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def _read_softmax_feeds(fields: Fields) -> list[Feed]:
    fields.word("scoring_func", "softmax", ("softmax",))
    method = fields.word("topk_method", "greedy", ("greedy", "group_limited_greedy"))
    bias = fields.flag("mlp_bias", False)  # not of the routed experts
    router = RouterSpec(scale=fields.number("routed_scaling_factor", 1.0), wide=True)
    expert = read_mlp(fields, width="moe_intermediate_size")
    feed = read_experts(fields, "n_routed_experts", expert, router)
    if method == "greedy":
        fields.ignore("n_group", "topk_group")
    else:
        groups, top_groups = fields.integer("n_group"), fields.integer("topk_group")
        feed = grouped(fields, feed, groups, top_groups, least=1)
        # Experts of other groups would weigh nothing.
        feed = replace(feed, active=min(feed.active, feed.count // groups * top_groups))
    shared = replace(expert, width=expert.width * fields.count("n_shared_experts"), bias=bias)
    dense = read_mlp(fields, bias=bias)
    return dense_first(fields, dense, replace(feed, shared=shared))


DEEPSEEK = (
    Family("deepseek_v2", read_deepseek_v2, NAMES),
    Family("deepseek_v3", read_deepseek_v3, NAMES),
)
