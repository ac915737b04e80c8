"""GPT-NeoX and its kin: layer norms, rotary positions on part of each head, mostly plain MLPs.

References: transformers' modeling_gpt_neox, modeling_phi, modeling_persimmon, modeling_stablelm,
modeling_starcoder2, modeling_nemotron.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..spec import AttentionSpec, LayerSpec, ModelSpec, NormSpec, QkNormSpec, RopeSpec
from .family import Family
from .fields import Fields
from .gpt_early import head_width, layer_norm
from .llama import NAMES
from .naming import NameMap, Part, Spelling, by_group
from .rope import read_rope
from .stack import read_heads, read_mlp, read_model, read_positions

_GPT_NEOX: dict[str, Spelling | tuple[Spelling, ...]] = {
    "embed": "gpt_neox.embed_in",
    "layers.{}.mixer_norm": "gpt_neox.layers.{}.input_layernorm",
    "layers.{}.mixer.out": "gpt_neox.layers.{}.attention.dense",
    "layers.{}.feed_norm": "gpt_neox.layers.{}.post_attention_layernorm",
    "layers.{}.feed.up": "gpt_neox.layers.{}.mlp.dense_h_to_4h",
    "layers.{}.feed.down": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
    "norm": "gpt_neox.final_layer_norm",
    "head": ("embed_out", "lm_head"),
}

GPT_NEOX_NAMES = NameMap(
    _GPT_NEOX
    | {
        f"layers.{{}}.mixer.{name}": Part(
            ("gpt_neox.layers.{}.attention.query_key_value",), by_group(index)
        )
        for index, name in enumerate("qkv")
    },
    ignored=(r".*attention\.(masked_)?bias", r".*rotary_emb\.inv_freq"),
)

PHI_NAMES = NameMap(
    NAMES.parts
    | {
        "layers.{}.mixer.out": "model.layers.{}.self_attn.dense",
        "layers.{}.mixer.q_norm": "model.layers.{}.self_attn.q_layernorm",
        "layers.{}.mixer.k_norm": "model.layers.{}.self_attn.k_layernorm",
        "layers.{}.feed.up": "model.layers.{}.mlp.fc1",
        "layers.{}.feed.down": "model.layers.{}.mlp.fc2",
        "norm": "model.final_layernorm",
    }
)

PERSIMMON_NAMES = NameMap(
    PHI_NAMES.parts
    | {
        f"layers.{{}}.mixer.{name}": Part(
            ("model.layers.{}.self_attn.query_key_value",), by_group(index)
        )
        for index, name in enumerate("qkv")
    }
    | {
        "layers.{}.feed.up": "model.layers.{}.mlp.dense_h_to_4h",
        "layers.{}.feed.down": "model.layers.{}.mlp.dense_4h_to_h",
    }
)


def _queries(layer: LayerSpec) -> int:
    assert isinstance(layer.mixer, AttentionSpec)
    return layer.mixer.heads


def _keys(layer: LayerSpec) -> int:
    return layer.mixer.kv_heads


def _stacked(stored: Sequence[Any], layer: LayerSpec, expert: int) -> Any:
    """A weight for each head, [heads, D], of as many tensors."""
    whole = stored[0].new_empty((len(stored), *stored[0].shape))
    for row, tensor in zip(whole, stored, strict=True):
        row.copy_(tensor)
    return whole


STABLELM_NAMES = NameMap(
    NAMES.parts
    | {
        "layers.{}.mixer.q_norm": Part(
            ("model.layers.{}.self_attn.q_layernorm.norms.{n}",), _stacked, _queries
        ),
        "layers.{}.mixer.k_norm": Part(
            ("model.layers.{}.self_attn.k_layernorm.norms.{n}",), _stacked, _keys
        ),
    }
)

STARCODER2_NAMES = NameMap(
    NAMES.parts
    | {
        "layers.{}.feed.up": "model.layers.{}.mlp.c_fc",
        "layers.{}.feed.down": "model.layers.{}.mlp.c_proj",
    }
)


def read_gpt_neox(fields: Fields) -> ModelSpec:
    """GPT-NeoX, Pythia: mixer and feed side by side, a norm each, unless `use_parallel_residual`.

    Its own fields for the rope are `rotary_pct` and `rotary_emb_base`; transformers reads no others
    outside of `rope_parameters`.
    """
    fields.assume(vocab_size=50432, hidden_size=6144, num_hidden_layers=44)
    fields.assume(num_attention_heads=64, intermediate_size=24576)
    # Versions 4 wrote these beside its own fields.
    fields.drop("rope_theta", "partial_rotary_factor")
    fields.respell(rotary_pct="partial_rotary_factor", rotary_emb_base="rope_theta")
    norm, mixer = layer_norm(fields, "layer_norm_eps"), _even_heads(fields)
    rope = read_rope(fields, mixer.head_dim, read_positions(fields), partial=0.25)
    bias = fields.flag("attention_bias", True)
    layer = LayerSpec(
        replace(_turned(mixer, rope), bias=bias, out_bias=bias),
        read_mlp(fields, default="gelu", gated=False, bias=True),
        norm,
        wiring="twin" if fields.flag("use_parallel_residual", True) else "pre",
    )
    return read_model(fields, [layer] * fields.integer("num_hidden_layers"), norm)


def read_phi(fields: Fields) -> ModelSpec:
    """Phi-1 to Phi-2: mixer and feed side by side under one norm, biases everywhere."""
    fields.assume(vocab_size=51200, hidden_size=2048, num_hidden_layers=24)
    fields.assume(num_attention_heads=32, intermediate_size=8192)
    norm, mixer = layer_norm(fields, "layer_norm_eps"), read_heads(fields)
    mixer = _partly_turned(fields, mixer, 0.5)
    layer = LayerSpec(
        replace(mixer, qk_norm=_qk_norm(fields, norm, False), bias=True, out_bias=True),
        read_mlp(fields, default="gelu_new", gated=False, bias=True),
        norm,
        wiring="parallel",
    )
    spec = read_model(fields, [layer] * fields.integer("num_hidden_layers"), norm)
    share = spec.hidden // mixer.heads
    if share != mixer.head_dim and fields.flag("qk_layernorm", False):
        raise fields.wrong("head_dim", mixer.head_dim, f"{share}, for which `qk_layernorm` is made")
    return replace(spec, head_bias=True)


def read_persimmon(fields: Fields) -> ModelSpec:
    """Persimmon: squared ReLU, normed queries and keys, biases everywhere."""
    fields.assume(vocab_size=262144, hidden_size=4096, num_hidden_layers=36)
    fields.assume(num_attention_heads=64, intermediate_size=16384, max_position_embeddings=16384)
    norm, mixer = layer_norm(fields, "layer_norm_eps"), _even_heads(fields)
    mixer = _partly_turned(fields, mixer, 0.5)
    layer = LayerSpec(
        replace(mixer, qk_norm=_qk_norm(fields, norm, True), bias=True, out_bias=True),
        read_mlp(fields, default="relu2", gated=False, bias=True),
        norm,
    )
    return read_model(fields, [layer] * fields.integer("num_hidden_layers"), norm)


def read_stablelm(fields: Fields) -> ModelSpec:
    """StableLM: a gated MLP; queries and keys may have a norm for each head, without bias."""
    fields.assume(vocab_size=50304, hidden_size=2560, num_hidden_layers=32)
    fields.assume(num_attention_heads=32, num_key_value_heads=32, intermediate_size=6912)
    fields.assume(max_position_embeddings=4096)
    fields.ignore("rotary_scaling_factor")  # its own code's, of which transformers knows nothing
    norm, mixer = layer_norm(fields, "layer_norm_eps"), _own_heads(fields)
    mixer = _partly_turned(fields, mixer, 0.25)
    each = QkNormSpec(replace(norm, bias=False), over="heads")
    layer = LayerSpec(
        replace(
            mixer,
            qk_norm=each if fields.flag("qk_layernorm", False) else None,
            bias=fields.flag("use_qkv_bias", False),
        ),
        read_mlp(fields),
        norm,
        wiring="parallel" if fields.flag("use_parallel_residual", False) else "pre",
    )
    return read_model(fields, [layer] * fields.integer("num_hidden_layers"), norm)


def read_starcoder2(fields: Fields) -> ModelSpec:
    """StarCoder 2: one window for all layers, biases everywhere by `use_bias`."""
    fields.assume(vocab_size=49152, hidden_size=3072, num_hidden_layers=30)
    fields.assume(num_attention_heads=24, num_key_value_heads=2, intermediate_size=12288)
    fields.assume(max_position_embeddings=4096)
    # Its first configs carry these on from GPT-BigCode.
    fields.ignore("activation_function", "layer_norm_epsilon", "scale_attn_weights")
    fields.ignore("attention_softmax_in_fp32", "scale_attention_softmax_in_fp32")
    fields.only(norm_type="layer_norm", mlp_type="default")
    norm, mixer = layer_norm(fields, "norm_epsilon"), read_heads(fields)
    bias = fields.flag("use_bias", True)
    layer = LayerSpec(
        replace(
            mixer,
            rope=read_rope(fields, mixer.head_dim, read_positions(fields)),
            window=fields.integer("sliding_window", None),
            bias=bias,
            out_bias=bias,
        ),
        read_mlp(fields, default="gelu_pytorch_tanh", gated=False, bias=bias),
        norm,
    )
    return read_model(fields, [layer] * fields.integer("num_hidden_layers"), norm, tied=True)


def read_nemotron(fields: Fields) -> ModelSpec:
    """Nemotron, Minitron: squared ReLU, layer norms that store weight - 1."""
    fields.assume(vocab_size=256000, hidden_size=6144, num_hidden_layers=32)
    fields.assume(num_attention_heads=48, intermediate_size=24576, max_position_embeddings=4096)
    norm = replace(layer_norm(fields, "norm_eps"), offset=1.0)
    mixer, bias = read_heads(fields), fields.flag("attention_bias", False)
    rope = read_rope(fields, mixer.head_dim, read_positions(fields), partial=0.5)
    layer = LayerSpec(
        replace(_turned(mixer, rope), bias=bias, out_bias=bias),
        read_mlp(fields, default="relu2", gated=False, bias=fields.flag("mlp_bias", False)),
        norm,
    )
    return read_model(fields, [layer] * fields.integer("num_hidden_layers"), norm)


def _even_heads(fields: Fields) -> AttentionSpec:
    """Heads that share the hidden size, each with its own key and value."""
    fields.ignore("num_key_value_heads")
    hidden, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    width = head_width(fields, "num_attention_heads", hidden, heads)
    fields.only(head_dim=width)
    return AttentionSpec(heads, heads, width)


def _own_heads(fields: Fields) -> AttentionSpec:
    """Heads in groups that share the hidden size."""
    hidden, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    fields.only(head_dim=head_width(fields, "num_attention_heads", hidden, heads))
    return read_heads(fields)


def _partly_turned(fields: Fields, mixer: AttentionSpec, partial: float) -> AttentionSpec:
    """A mixer with a rope on an even part of each head, the family's `partial` if none is given."""
    rope = read_rope(fields, mixer.head_dim, read_positions(fields), partial=partial)
    if rope.spread is not None:
        wanted = f"one that leaves an even width ({rope.spread} of {mixer.head_dim} would turn)"
        share = rope.spread / mixer.head_dim
        raise fields.wrong("partial_rotary_factor", share, wanted)
    return _turned(mixer, rope)


def _turned(mixer: AttentionSpec, rope: RopeSpec) -> AttentionSpec:
    return replace(mixer, rope=rope if rope.width else None)


def _qk_norm(fields: Fields, norm: NormSpec, default: bool) -> QkNormSpec | None:
    return QkNormSpec(norm) if fields.flag("qk_layernorm", default) else None


NEOX = (
    Family("gpt_neox", read_gpt_neox, GPT_NEOX_NAMES),
    Family("phi", read_phi, PHI_NAMES),
    Family("persimmon", read_persimmon, PERSIMMON_NAMES),
    Family("stablelm", read_stablelm, STABLELM_NAMES),
    Family("starcoder2", read_starcoder2, STARCODER2_NAMES),
    Family("nemotron", read_nemotron, NAMES),
)
