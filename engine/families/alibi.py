"""Families without positions but a penalty for distance: BLOOM, MPT, and Falcon where it says so.

References: transformers' modeling_bloom, modeling_mpt, modeling_falcon.
"""

from __future__ import annotations

import math

from ..spec import AlibiSpec, AttentionSpec, LayerSpec, MlpSpec, ModelSpec, NormSpec, Wiring
from .activations import read_activation
from .family import Family
from .fields import Fields
from .gpt_early import head_width, layer_norm
from .naming import NameMap, Part, Spelling, by_group, qkv_sizes, rows
from .rope import read_rope

_BLOOM: dict[str, Spelling | tuple[Spelling, ...]] = {
    "embed": "transformer.word_embeddings",
    "embed_norm": "transformer.word_embeddings_layernorm",
    "layers.{}.mixer_norm": "transformer.h.{}.input_layernorm",
    "layers.{}.mixer.out": "transformer.h.{}.self_attention.dense",
    "layers.{}.feed_norm": "transformer.h.{}.post_attention_layernorm",
    "layers.{}.feed.up": "transformer.h.{}.mlp.dense_h_to_4h",
    "layers.{}.feed.down": "transformer.h.{}.mlp.dense_4h_to_h",
    "norm": "transformer.ln_f",
    "head": "lm_head",
}

BLOOM_NAMES = NameMap(
    _BLOOM
    | {
        f"layers.{{}}.mixer.{name}": Part(
            ("transformer.h.{}.self_attention.query_key_value",), by_group(index)
        )
        for index, name in enumerate("qkv")
    },
    # Present, but left out of sums if `slow_but_exact`.
    ignored=(r".*\.(self_attention\.dense|mlp\.dense_4h_to_h)\.bias",),
)

FALCON_NAMES = NameMap(
    BLOOM_NAMES.parts
    | {
        "layers.{}.mixer_norm": (
            "transformer.h.{}.input_layernorm",
            "transformer.h.{}.ln_attn",
        ),
        "layers.{}.feed_norm": (
            "transformer.h.{}.post_attention_layernorm",
            "transformer.h.{}.ln_mlp",
        ),
    }
)

_MPT: dict[str, Spelling | tuple[Spelling, ...]] = {
    "embed": "transformer.wte",
    "layers.{}.mixer_norm": "transformer.blocks.{}.norm_1",
    "layers.{}.mixer.out": "transformer.blocks.{}.attn.out_proj",
    "layers.{}.feed_norm": "transformer.blocks.{}.norm_2",
    "layers.{}.feed.up": "transformer.blocks.{}.ffn.up_proj",
    "layers.{}.feed.down": "transformer.blocks.{}.ffn.down_proj",
    "norm": "transformer.norm_f",
    "head": "lm_head",
}

MPT_NAMES = NameMap(
    _MPT
    | {
        f"layers.{{}}.mixer.{name}": Part(
            ("transformer.blocks.{}.attn.Wqkv",), rows(index, qkv_sizes)
        )
        for index, name in enumerate("qkv")
    }
)


def read_bloom(fields: Fields) -> ModelSpec:
    """BLOOM: embeddings normed, residuals of normed streams by option.

    With `slow_but_exact` and `pretraining_tp` above 1, transformers sums the last projections of
    mixer and feed slice by slice, and leaves out their biases.
    """
    fields.respell(num_hidden_layers="n_layer", num_attention_heads="n_head")
    _prefer_n_embed(fields)
    fields.assume(vocab_size=250880, hidden_size=64, n_layer=2, n_head=8)
    # What its first configs say of kernels, and the length it was trained at.
    fields.ignore("attention_softmax_in_fp32", "masked_softmax_fusion", "bias_dropout_fusion")
    fields.ignore("offset_alibi", "skip_bias_add", "skip_bias_add_qkv", "unk_token_id")
    fields.ignore("intermediate_size", "num_key_value_heads", "max_position_embeddings")
    hidden, heads = fields.integer("hidden_size"), fields.integer("n_head")
    exact = fields.flag("slow_but_exact", False) and fields.integer("pretraining_tp", 1) > 1
    norm = layer_norm(fields, "layer_norm_epsilon")
    layer = LayerSpec(
        AttentionSpec(
            heads,
            heads,
            head_width(fields, "n_head", hidden, heads),
            alibi=AlibiSpec(paper_slopes(heads)),
            bias=True,
            out_bias=not exact,
        ),
        MlpSpec(4 * hidden, "gelu_tanh", gated=False, bias=True, down_bias=not exact),
        norm,
        carry_normed=fields.flag("apply_residual_connection_post_layernorm", False),
    )
    return ModelSpec(
        vocab=fields.integer("vocab_size"),
        hidden=hidden,
        layers=(layer,) * fields.integer("n_layer"),
        norm=norm,
        max_positions=fields.integer("seq_length", 2048),
        tied=fields.flag("tie_word_embeddings", True),
        embed_norm=norm,
    )


def read_falcon(fields: Fields) -> ModelSpec:
    """Falcon: 7B has one key-value head, 40B groups (`new_decoder_architecture`), RW its ALiBi.

    Its first configs (RefinedWeb) count by other names. Ropes turn whole heads.
    """
    fields.respell(n_layer="num_hidden_layers", n_head="num_attention_heads")
    fields.respell(n_head_kv="num_kv_heads")
    _prefer_n_embed(fields)
    fields.assume(vocab_size=65024, hidden_size=4544, num_hidden_layers=32)
    fields.assume(num_attention_heads=71, multi_query=True, parallel_attn=True)
    fields.ignore("intermediate_size", "num_key_value_heads")
    hidden, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    width = head_width(fields, "num_attention_heads", hidden, heads)
    fields.only(head_dim=width)
    positions = fields.integer("max_position_embeddings", 2048)
    rope = read_rope(fields, width, positions)
    # It is added before scores are scaled.
    alibi = AlibiSpec(paper_slopes(heads), rounded=True, scale=1 / math.sqrt(width))
    penalized = fields.flag("alibi", False)
    bias, norm = fields.flag("bias", False), layer_norm(fields, "layer_norm_epsilon")
    layer = LayerSpec(
        AttentionSpec(
            heads,
            _falcon_groups(fields, heads),
            width,
            rope=None if penalized else rope,
            alibi=alibi if penalized else None,
            bias=bias,
            out_bias=bias,
        ),
        MlpSpec(
            fields.integer("ffn_hidden_size", 4 * hidden),
            read_activation(fields, "activation", "gelu"),
            gated=False,
            bias=bias,
        ),
        norm,
        wiring=_falcon_wiring(fields),
    )
    return ModelSpec(
        vocab=fields.integer("vocab_size"),
        hidden=hidden,
        layers=(layer,) * fields.integer("num_hidden_layers"),
        norm=norm,
        max_positions=positions,
        tied=fields.flag("tie_word_embeddings", True),
    )


def read_refined_web(fields: Fields) -> ModelSpec:
    """Falcon by its first name, where grouped heads alone tell the new architecture."""
    fields.assume(new_decoder_architecture=fields.has("n_head_kv"))
    return read_falcon(fields)


def _falcon_groups(fields: Fields, heads: int) -> int:
    """Key-value heads; `num_kv_heads` counts only where there isn't just one."""
    given, one = fields.integer("num_kv_heads", heads), fields.flag("multi_query", False)
    if fields.flag("new_decoder_architecture", False):
        if heads % given:
            raise fields.wrong("num_kv_heads", given, f"a divisor of {heads} heads")
        return given
    if one:
        return 1
    if given != heads:
        raise fields.wrong("num_kv_heads", given, f"{heads}, a pair for each head")
    return heads


def _falcon_wiring(fields: Fields) -> Wiring:
    parallel = fields.flag("parallel_attn", False)
    norms = fields.integer("num_ln_in_parallel_attn", None)
    if fields.flag("new_decoder_architecture", False):
        if not parallel:
            raise fields.wrong("parallel_attn", parallel, "true, as the new architecture demands")
        if norms not in (None, 1, 2):
            raise fields.wrong("num_ln_in_parallel_attn", norms, "1 or 2")
        return "parallel" if norms == 1 else "twin"
    if parallel and norms == 2:
        raise fields.wrong("num_ln_in_parallel_attn", norms, "1 without the new architecture")
    return "parallel" if parallel else "pre"


def read_mpt(fields: Fields) -> ModelSpec:
    """MPT as transformers runs it, which is always with ALiBi, and without any bias.

    It leaves unread what MosaicML's own code did with the fields ignored here. Weights that were
    trained with their other values don't fit and are refused.
    """
    fields.respell(num_attention_heads="n_heads", hidden_size="d_model")
    fields.respell(num_hidden_layers="n_layers")
    fields.assume(vocab_size=50368, d_model=2048, n_heads=16, n_layers=24)
    fields.ignore("expansion_ratio", "learned_pos_emb", "logit_scale", "no_bias", "init_config")
    fields.ignore("init_device", "embedding_fraction", "norm_type", "verbose", "ffn_config")
    fields.ignore("intermediate_size", "num_key_value_heads", "max_position_embeddings")
    attention = fields.inside("attn_config") or Fields({}, fields.where)
    attention.ignore("attn_type", "attn_impl", "prefix_lm", "qk_ln", "attn_uses_sequence_id")
    attention.ignore("alibi", "alibi_bias_max")
    hidden, heads = fields.integer("d_model"), fields.integer("n_heads")
    norm = NormSpec(fields.number("layer_norm_epsilon", 1e-5), "layer")
    layer = LayerSpec(
        AttentionSpec(
            heads,
            heads,
            head_width(fields, "n_heads", hidden, heads),
            alibi=AlibiSpec(paper_slopes(heads)),
            clip=attention.number("clip_qkv", None) or None,
            scale=attention.number("softmax_scale", None),
        ),
        MlpSpec(4 * hidden, "gelu", gated=False),
        norm,
    )
    attention.refuse_rest()
    return ModelSpec(
        vocab=fields.integer("vocab_size"),
        hidden=hidden,
        layers=(layer,) * fields.integer("n_layers"),
        norm=norm,
        max_positions=fields.integer("max_seq_len", 2048),
        tied=fields.flag("tie_word_embeddings", True),
    )


def _prefer_n_embed(fields: Fields) -> None:
    """The hidden size by its first name, which goes before the later one."""
    fields.drop("hidden_size" if fields.has("n_embed") else "n_embed")
    fields.respell(n_embed="hidden_size")


def paper_slopes(heads: int) -> tuple[float, ...]:
    """Each head's penalty for a step back, as the paper's code has it (arXiv:2108.12409).

    For a power of two they are 2^(-8/H), 2^(-16/H), …; other counts take the missing ones from
    every second slope of the next power: 3 heads have 1/16, 1/256 and 1/4.
    """
    power = 1 << (heads.bit_length() - 1)
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    slopes += [2 ** (-4 * (i + 1) / power) for i in range(0, 2 * (heads - power), 2)]
    return tuple(slopes)


ALIBI = (
    Family("bloom", read_bloom, BLOOM_NAMES),
    Family("falcon", read_falcon, FALCON_NAMES),
    Family("RefinedWeb", read_refined_web, FALCON_NAMES),
    Family("RefinedWebModel", read_refined_web, FALCON_NAMES),
    Family("mpt", read_mpt, MPT_NAMES),
)
