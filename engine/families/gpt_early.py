"""GPT-2 and its first followers: layer norms, plain MLPs, positions learned or, in GPT-J, turned.

References: transformers' modeling_gpt2, modeling_gpt_bigcode, modeling_gpt_neo, modeling_gptj,
modeling_opt.
"""

from __future__ import annotations

from ..spec import AttentionSpec, LayerSpec, MlpSpec, ModelSpec, NormSpec, RopeSpec
from .activations import read_activation
from .family import Family
from .fields import Fields
from .naming import NameMap, Part, Spelling, by_group, chain, qkv_sizes, rows, transposed

SPELLINGS = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "max_position_embeddings": "n_positions",
}
"""The usual names for what GPT-2, GPT-J and GPT-BigCode call otherwise."""

MASKS = (r"(.*\.)?attn\.(attention\.)?(masked_)?bias",)
"""Causal masks that old checkpoints hold beside the weights."""

_COMMON: dict[str, Spelling | tuple[Spelling, ...]] = {
    "embed": "transformer.wte",
    "positions": "transformer.wpe",
    "layers.{}.mixer_norm": "transformer.h.{}.ln_1",
    "layers.{}.feed_norm": "transformer.h.{}.ln_2",
    "layers.{}.feed.up": "transformer.h.{}.mlp.c_fc",
    "layers.{}.feed.down": "transformer.h.{}.mlp.c_proj",
    "norm": "transformer.ln_f",
    "head": "lm_head",
}


def _fused(index: int) -> Part:
    """Query, key or value of GPT-2's Conv1D, which stores [inputs, outputs]."""
    return Part(("transformer.h.{}.attn.c_attn",), chain(transposed, rows(index, qkv_sizes)))


GPT2_NAMES = NameMap(
    _COMMON
    | {
        "layers.{}.mixer.q": _fused(0),
        "layers.{}.mixer.k": _fused(1),
        "layers.{}.mixer.v": _fused(2),
        "layers.{}.mixer.out": Part(("transformer.h.{}.attn.c_proj",), transposed),
        "layers.{}.feed.up": Part(("transformer.h.{}.mlp.c_fc",), transposed),
        "layers.{}.feed.down": Part(("transformer.h.{}.mlp.c_proj",), transposed),
    },
    # A decoder alone never looks across at an encoder.
    ignored=(*MASKS, r".*\.crossattention\..*", r".*\.ln_cross_attn\..*"),
)

GPT_BIGCODE_NAMES = NameMap(
    _COMMON
    | {
        "layers.{}.mixer.q": Part(("transformer.h.{}.attn.c_attn",), by_group(0)),
        "layers.{}.mixer.k": Part(("transformer.h.{}.attn.c_attn",), by_group(1)),
        "layers.{}.mixer.v": Part(("transformer.h.{}.attn.c_attn",), by_group(2)),
        "layers.{}.mixer.out": "transformer.h.{}.attn.c_proj",
    },
    ignored=(*MASKS, r"(transformer\.)?bias", r".*\.crossattention\..*", r".*\.ln_cross_attn\..*"),
)

GPT_NEO_NAMES = NameMap(
    _COMMON
    | {
        "layers.{}.mixer.q": "transformer.h.{}.attn.attention.q_proj",
        "layers.{}.mixer.k": "transformer.h.{}.attn.attention.k_proj",
        "layers.{}.mixer.v": "transformer.h.{}.attn.attention.v_proj",
        "layers.{}.mixer.out": "transformer.h.{}.attn.attention.out_proj",
    },
    ignored=MASKS,
)

GPTJ_NAMES = NameMap(
    _COMMON
    | {
        "layers.{}.mixer.q": "transformer.h.{}.attn.q_proj",
        "layers.{}.mixer.k": "transformer.h.{}.attn.k_proj",
        "layers.{}.mixer.v": "transformer.h.{}.attn.v_proj",
        "layers.{}.mixer.out": "transformer.h.{}.attn.out_proj",
        "layers.{}.feed.up": "transformer.h.{}.mlp.fc_in",
        "layers.{}.feed.down": "transformer.h.{}.mlp.fc_out",
    },
    ignored=MASKS,
)

OPT_NAMES = NameMap(
    {
        "embed": "model.decoder.embed_tokens",
        "positions": "model.decoder.embed_positions",
        "widen": "model.decoder.project_in",
        "narrow": "model.decoder.project_out",
        "layers.{}.mixer_norm": "model.decoder.layers.{}.self_attn_layer_norm",
        "layers.{}.mixer_post_norm": "model.decoder.layers.{}.self_attn_layer_norm",
        "layers.{}.mixer.q": "model.decoder.layers.{}.self_attn.q_proj",
        "layers.{}.mixer.k": "model.decoder.layers.{}.self_attn.k_proj",
        "layers.{}.mixer.v": "model.decoder.layers.{}.self_attn.v_proj",
        "layers.{}.mixer.out": "model.decoder.layers.{}.self_attn.out_proj",
        "layers.{}.feed_norm": "model.decoder.layers.{}.final_layer_norm",
        "layers.{}.feed_post_norm": "model.decoder.layers.{}.final_layer_norm",
        "layers.{}.feed.up": "model.decoder.layers.{}.fc1",
        "layers.{}.feed.down": "model.decoder.layers.{}.fc2",
        "norm": "model.decoder.final_layer_norm",
        "head": "lm_head",
    }
)


def read_gpt2(fields: Fields) -> ModelSpec:
    """GPT-2: scores may also shrink with depth (`scale_attn_by_inverse_layer_idx`, from Mistral).

    `reorder_and_upcast_attn` and `add_cross_attention` change nothing for a decoder alone.
    """
    fields.assume(activation_function="gelu_new")
    fields.ignore("reorder_and_upcast_attn")
    by_depth = fields.flag("scale_attn_by_inverse_layer_idx", False)
    return _read_gpt2(fields, kv_heads=None, by_depth=by_depth)


def read_gpt_bigcode(fields: Fields) -> ModelSpec:
    """GPT-BigCode (SantaCoder, StarCoder): GPT-2 with one key-value head if `multi_query`."""
    fields.assume(activation_function="gelu_pytorch_tanh")
    fields.ignore("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32")
    # How its first engine was run.
    fields.ignore("inference_runner", "validate_runner_input", "pre_allocate_kv_cache")
    fields.ignore("max_batch_size", "max_sequence_length", "pad_key_length")
    return _read_gpt2(fields, kv_heads=1 if fields.flag("multi_query", True) else None)


def _read_gpt2(fields: Fields, kv_heads: int | None, by_depth: bool = False) -> ModelSpec:
    hidden, heads, head_dim = _sizes(fields, 768, 12, 12, positions=1024)
    norm = layer_norm(fields, "layer_norm_epsilon")
    scale = head_dim**-0.5 if fields.flag("scale_attn_weights", True) else 1.0
    feed = _feed(fields, "n_inner", hidden)
    layers = tuple(
        LayerSpec(
            AttentionSpec(
                heads,
                kv_heads or heads,
                head_dim,
                bias=True,
                out_bias=True,
                scale=scale / (layer + 1) if by_depth else scale,
            ),
            feed,
            norm,
        )
        for layer in range(fields.integer("n_layer"))
    )
    fields.assume(vocab_size=50257)
    positions = fields.integer("n_positions")
    return ModelSpec(
        vocab=fields.integer("vocab_size"),
        hidden=hidden,
        layers=layers,
        norm=norm,
        max_positions=positions,
        tied=fields.flag("tie_word_embeddings", True),
        learned_positions=positions,
    )


def read_gpt_neo(fields: Fields) -> ModelSpec:
    """GPT-Neo: unscaled scores, every other layer with a window."""
    fields.respell(num_hidden_layers="num_layers", num_attention_heads="num_heads")
    fields.ignore("num_key_value_heads")
    fields.assume(vocab_size=50257, max_position_embeddings=2048, hidden_size=2048)
    fields.assume(num_layers=24, num_heads=16, activation_function="gelu_new")
    hidden, heads = fields.integer("hidden_size"), fields.integer("num_heads")
    head_dim = head_width(fields, "num_heads", hidden, heads)
    norm = layer_norm(fields, "layer_norm_epsilon")
    feed = _feed(fields, "intermediate_size", hidden)
    window = fields.integer("window_size", 256)
    layers = tuple(
        LayerSpec(
            AttentionSpec(
                heads,
                heads,
                head_dim,
                window=window if kind == "local" else None,
                out_bias=True,
                scale=1.0,
            ),
            feed,
            norm,
        )
        for kind in _neo_kinds(fields, fields.integer("num_layers"))
    )
    positions = fields.integer("max_position_embeddings")
    return ModelSpec(
        vocab=fields.integer("vocab_size"),
        hidden=hidden,
        layers=layers,
        norm=norm,
        max_positions=positions,
        tied=fields.flag("tie_word_embeddings", True),
        learned_positions=positions,
    )


def _neo_kinds(fields: Fields, count: int) -> list[str]:
    """`attention_layers`, or `attention_types` spelled out: [[["global", "local"], 12]]."""
    fields.assume(attention_types=[[["global", "local"], 12]])
    types = fields.take("attention_types")
    if not fields.has("attention_layers"):
        try:
            kinds = [kind for some, times in types for kind in list(some) * times]
        except (TypeError, ValueError):
            raise fields.wrong("attention_types", types, "a list of [kinds, times]") from None
        fields.assume(attention_layers=kinds)
    kinds = fields.entries("attention_layers", count)
    for kind in kinds:
        if kind not in ("global", "local"):
            raise fields.wrong("attention_layers", kind, "global or local")
    return kinds


def read_gptj(fields: Fields) -> ModelSpec:
    """GPT-J: mixer and feed side by side, neighbours turned in pairs, a bias on the head."""
    fields.assume(activation_function="gelu_new")
    # As its first configs say, which nobody asks: it is always turned, and always scaled.
    fields.ignore("rotary", "scale_attn_weights")
    hidden, heads, head_dim = _sizes(fields, 4096, 28, 16, positions=2048)
    norm = layer_norm(fields, "layer_norm_epsilon")
    width = fields.integer("rotary_dim", 64)
    if width % 2 or width > head_dim:
        raise fields.wrong("rotary_dim", width, f"even and within a head's {head_dim}")
    layer = LayerSpec(
        AttentionSpec(heads, heads, head_dim, rope=RopeSpec(width, 10000.0, interleaved=True)),
        _feed(fields, "n_inner", hidden),
        norm,
        wiring="parallel",
    )
    fields.assume(vocab_size=50400)
    return ModelSpec(
        vocab=fields.integer("vocab_size"),
        hidden=hidden,
        layers=(layer,) * fields.integer("n_layer"),
        norm=norm,
        max_positions=fields.integer("n_positions"),
        tied=fields.flag("tie_word_embeddings", False),
        head_bias=True,
    )


def read_opt(fields: Fields) -> ModelSpec:
    """OPT; its 350m norms sums (`do_layer_norm_before` false) and has narrower embeddings.

    Positions begin at row 2 of their table. Norms have no field for their epsilon.
    """
    fields.ignore("intermediate_size", "num_key_value_heads", "activation_dropout")
    fields.assume(vocab_size=50272, hidden_size=768, num_hidden_layers=12, num_attention_heads=12)
    fields.assume(ffn_dim=3072, max_position_embeddings=2048)
    hidden, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    head_dim = head_width(fields, "num_attention_heads", hidden, heads)
    bias = fields.flag("enable_bias", True)
    learned = fields.flag("layer_norm_elementwise_affine", True)
    norm = NormSpec(1e-5, "layer", weight=learned, bias=learned)
    before = fields.flag("do_layer_norm_before", True)
    layer = LayerSpec(
        AttentionSpec(heads, heads, head_dim, bias=bias, out_bias=bias),
        MlpSpec(
            fields.integer("ffn_dim"),
            read_activation(fields, "activation_function", "relu"),
            gated=False,
            bias=bias,
        ),
        norm,
        wiring="pre" if before else "after",
    )
    removed = fields.flag("_remove_final_layer_norm", False)
    positions = fields.integer("max_position_embeddings")
    return ModelSpec(
        vocab=fields.integer("vocab_size"),
        hidden=hidden,
        layers=(layer,) * fields.integer("num_hidden_layers"),
        norm=norm if before and not removed else None,
        max_positions=positions,
        tied=fields.flag("tie_word_embeddings", True),
        embed_width=fields.integer("word_embed_proj_dim", None),
        learned_positions=positions + 2,
        position_offset=2,
    )


def layer_norm(fields: Fields, eps: str) -> NormSpec:
    """A layer norm with weight and bias; `eps` is the field of its epsilon."""
    return NormSpec(fields.number(eps, 1e-5), "layer", bias=True)


def head_width(fields: Fields, name: str, hidden: int, heads: int) -> int:
    """The width of a head where heads share the hidden size out among them."""
    if hidden % heads:
        raise fields.wrong(name, heads, f"a divisor of the hidden size {hidden}")
    return hidden // heads


def _sizes(
    fields: Fields, hidden: int, layers: int, heads: int, positions: int
) -> tuple[int, int, int]:
    """Hidden size, heads, and a head's width, by GPT-2's names and with the family's defaults."""
    fields.respell(**SPELLINGS)
    fields.ignore("n_ctx", "intermediate_size", "num_key_value_heads")
    fields.assume(n_embd=hidden, n_layer=layers, n_head=heads, n_positions=positions)
    width, count = fields.integer("n_embd"), fields.integer("n_head")
    return width, count, head_width(fields, "n_head", width, count)


def _feed(fields: Fields, width: str, hidden: int) -> MlpSpec:
    """A plain MLP with biases, four times as wide as the stream unless `width` says otherwise."""
    activation = read_activation(fields, "activation_function", "gelu_new")
    return MlpSpec(fields.integer(width, 4 * hidden), activation, gated=False, bias=True)


GPT2 = Family("gpt2", read_gpt2, GPT2_NAMES)
GPT_BIGCODE = Family("gpt_bigcode", read_gpt_bigcode, GPT_BIGCODE_NAMES)
GPT_NEO = Family("gpt_neo", read_gpt_neo, GPT_NEO_NAMES)
GPTJ = Family("gptj", read_gptj, GPTJ_NAMES)
OPT = Family("opt", read_opt, OPT_NAMES)
GPT_EARLY = (GPT2, GPT_BIGCODE, GPT_NEO, GPTJ, OPT)
