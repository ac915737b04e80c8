"""Llama and its nearest relatives, in settings that exercise every field they read."""

from __future__ import annotations

from reference.random_checkpoints import Case


def rope(kind: str, **fields: object) -> dict[str, object]:
    """A rope of a kind whose frequencies are spread over small heads."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 1000.0, **fields}}


CASES = (
    Case("llama", "Llama"),
    Case("llama multi-head", "Llama", {"num_key_value_heads": 6}),
    Case("llama multi-query", "Llama", {"num_key_value_heads": 1, "rms_norm_eps": 1e-3}),
    Case("llama biases", "Llama", {"attention_bias": True, "mlp_bias": True}),
    Case("llama tied", "Llama", {"tie_word_embeddings": True, "hidden_act": "gelu"}),
    Case("llama head_dim", "Llama", {"head_dim": 20}),
    # Each scaled rope is tried past its original length as well as inside it.
    Case("llama linear", "Llama", rope("linear", factor=3.0)),
    Case("llama dynamic", "Llama", rope("dynamic", factor=3.0) | {"max_position_embeddings": 32}),
    Case(
        "llama llama3",
        "Llama",
        rope(
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=40,
        ),
    ),
    Case("llama yarn", "Llama", rope("yarn", factor=4.0, original_max_position_embeddings=40)),
    Case(
        "llama yarn mscale",
        "Llama",
        rope(
            "yarn",
            factor=4.0,
            original_max_position_embeddings=40,
            beta_fast=16.0,
            beta_slow=2.0,
            mscale=0.8,
            mscale_all_dim=0.5,
        ),
    ),
    Case("mistral", "Mistral", {"sliding_window": None}),
    Case("mistral window", "Mistral", {"sliding_window": 13, "head_dim": 12}),
    Case("qwen2", "Qwen2"),
    Case(
        "qwen2 window",
        "Qwen2",
        {
            "use_sliding_window": True,
            "sliding_window": 11,
            "max_window_layers": 1,
            "tie_word_embeddings": True,
        },
    ),
    Case("qwen3", "Qwen3", {"head_dim": 16}),
    Case(
        "qwen3 layer types",
        "Qwen3",
        {
            "head_dim": 16,
            "attention_bias": True,
            "use_sliding_window": True,
            "sliding_window": 9,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
)
