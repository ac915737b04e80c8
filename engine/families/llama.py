"""Llama and its nearest relatives: pre-norm RMS, rotary positions, gated SiLU, GQA.

References: transformers' modeling_llama, modeling_mistral, modeling_qwen2, modeling_qwen3.
"""

from __future__ import annotations

from dataclasses import replace

from ..spec import AttentionSpec, LayerSpec, MlpSpec, ModelSpec, NormSpec, QkNormSpec
from .activations import ACTIVATIONS
from .family import Family
from .fields import Fields
from .naming import NameMap
from .rope import read_rope

NAMES = NameMap(
    {
        "embed": "model.embed_tokens",
        "layers.{}.mixer_norm": "model.layers.{}.input_layernorm",
        "layers.{}.mixer.q": "model.layers.{}.self_attn.q_proj",
        "layers.{}.mixer.k": "model.layers.{}.self_attn.k_proj",
        "layers.{}.mixer.v": "model.layers.{}.self_attn.v_proj",
        "layers.{}.mixer.out": "model.layers.{}.self_attn.o_proj",
        "layers.{}.mixer.q_norm": "model.layers.{}.self_attn.q_norm",
        "layers.{}.mixer.k_norm": "model.layers.{}.self_attn.k_norm",
        "layers.{}.feed_norm": "model.layers.{}.post_attention_layernorm",
        "layers.{}.feed.gate": "model.layers.{}.mlp.gate_proj",
        "layers.{}.feed.up": "model.layers.{}.mlp.up_proj",
        "layers.{}.feed.down": "model.layers.{}.mlp.down_proj",
        "norm": "model.norm",
        "head": "lm_head",
    }
)


def read_llama(fields: Fields) -> ModelSpec:
    """Llama 1 to 3: biases by `attention_bias` and `mlp_bias`."""
    bias = fields.flag("attention_bias", False)
    return _read(fields, bias=bias, out_bias=bias, mlp_bias=fields.flag("mlp_bias", False))


def read_mistral(fields: Fields) -> ModelSpec:
    """Mistral: Llama without biases, with one window for all layers."""
    fields.assume(sliding_window=4096)
    window = fields.integer("sliding_window", None)
    return _windowed(_read(fields), [window] * fields.integer("num_hidden_layers"))


def read_qwen2(fields: Fields) -> ModelSpec:
    """Qwen 2 and 2.5: biases on query, key and value only, a window on the upper layers."""
    return _windowed(_read(fields, bias=True), _qwen_windows(fields))


def read_qwen3(fields: Fields) -> ModelSpec:
    """Qwen 3: each head's query and key normalized, a head width of its own."""
    bias = fields.flag("attention_bias", False)
    spec = _read(fields, bias=bias, out_bias=bias, qk_norm=True, default_head_dim=128)
    return _windowed(spec, _qwen_windows(fields))


def _read(
    fields: Fields,
    *,
    bias: bool = False,
    out_bias: bool = False,
    mlp_bias: bool = False,
    qk_norm: bool = False,
    default_head_dim: int | None = None,
) -> ModelSpec:
    hidden = fields.integer("hidden_size")
    heads = fields.integer("num_attention_heads")
    head_dim = fields.integer("head_dim", default_head_dim or hidden // heads)
    if not (default_head_dim or fields.has("head_dim")) and hidden % heads:
        raise fields.wrong("hidden_size", hidden, f"a multiple of {heads} heads")
    kv_heads = fields.integer("num_key_value_heads", heads)
    if heads % kv_heads:
        raise fields.wrong("num_key_value_heads", kv_heads, f"a divisor of {heads} heads")
    max_positions = fields.integer("max_position_embeddings", 2048)
    norm = NormSpec(fields.number("rms_norm_eps", 1e-6))
    activation = fields.word("hidden_act", "silu", tuple(ACTIVATIONS))
    layer = LayerSpec(
        mixer=AttentionSpec(
            heads,
            kv_heads,
            head_dim,
            rope=read_rope(fields, head_dim, max_positions),
            qk_norm=QkNormSpec(norm) if qk_norm else None,
            bias=bias,
            out_bias=out_bias,
        ),
        feed=MlpSpec(fields.integer("intermediate_size"), ACTIVATIONS[activation], bias=mlp_bias),
        norm=norm,
    )
    return ModelSpec(
        vocab=fields.integer("vocab_size"),
        hidden=hidden,
        layers=(layer,) * fields.integer("num_hidden_layers"),
        norm=norm,
        max_positions=max_positions,
        tied=fields.flag("tie_word_embeddings", False),
    )


def _qwen_windows(fields: Fields) -> list[int | None]:
    """`layer_types` where given; else the layers from `max_window_layers` up have the window."""
    count = fields.integer("num_hidden_layers")
    used = fields.flag("use_sliding_window", False)
    fields.assume(sliding_window=4096)
    window = fields.integer("sliding_window", None)
    first = fields.count("max_window_layers", 28)
    kinds = ["full_attention" if i < first else "sliding_attention" for i in range(count)]
    if fields.has("layer_types"):
        kinds = fields.entries("layer_types", count)
    return [window_of(fields, kind, window if used else None) for kind in kinds]


def window_of(fields: Fields, kind: str, window: int | None) -> int | None:
    """The window of a layer whose `layer_types` entry is `kind`."""
    if kind not in ("full_attention", "sliding_attention"):
        raise fields.wrong("layer_types", kind, "full_attention or sliding_attention")
    return window if kind == "sliding_attention" else None


def _windowed(spec: ModelSpec, windows: list[int | None]) -> ModelSpec:
    layers = zip(spec.layers, windows, strict=True)
    return replace(
        spec,
        layers=tuple(
            replace(layer, mixer=replace(layer.mixer, window=window)) for layer, window in layers
        ),
    )


LLAMA = Family("llama", read_llama, NAMES)
MISTRAL = Family("mistral", read_mistral, NAMES)
QWEN2 = Family("qwen2", read_qwen2, NAMES)
QWEN3 = Family("qwen3", read_qwen3, NAMES)
