"""GPT-NeoX and its kin, in settings that exercise every field they read."""

from __future__ import annotations

from reference.cases_llama import rope
from reference.random_checkpoints import Case

YARN = rope("yarn", factor=4.0, original_max_position_embeddings=40, partial_rotary_factor=0.5)

CASES = (
    Case("gpt_neox", "GPTNeoX", {"rotary_pct": 0.5}, seed=1),
    Case(
        "gpt_neox in a row",
        "GPTNeoX",
        {"use_parallel_residual": False, "attention_bias": False, "hidden_act": "relu"},
    ),
    Case(
        "gpt_neox dynamic",
        "GPTNeoX",
        {
            "rope_scaling": {"type": "dynamic", "factor": 3.0},
            "rotary_emb_base": 500,
            "rotary_pct": 1.0,
            "max_position_embeddings": 40,
            "tie_word_embeddings": True,
        },
        seed=12,
    ),
    Case(
        "gpt_neox odd width",
        "GPTNeoX",
        {"num_attention_heads": 4, **rope("linear", factor=3.0, partial_rotary_factor=0.25)},
    ),
    Case("phi", "Phi", seed=3),
    Case("phi qk norm", "Phi", {"qk_layernorm": True, "hidden_act": "gelu", **YARN}, seed=5),
    Case(
        "phi head_dim",
        "Phi",
        {"head_dim": 12, "tie_word_embeddings": True, "partial_rotary_factor": 1.0},
    ),
    Case("persimmon", "Persimmon", seed=22),
    Case(
        "persimmon without qk norm",
        "Persimmon",
        {"qk_layernorm": False, "hidden_act": "gelu_new", **rope("linear", factor=2.0)},
        seed=7,
    ),
    Case(
        "persimmon tied",
        "Persimmon",
        {"tie_word_embeddings": True, "num_attention_heads": 4, "layer_norm_eps": 0.01},
        seed=28,
    ),
    Case("stablelm", "StableLm"),
    Case(
        "stablelm 12b",
        "StableLm",
        {"qk_layernorm": True, "use_parallel_residual": True, "partial_rotary_factor": 0.5},
    ),
    Case(
        "stablelm biases",
        "StableLm",
        {"use_qkv_bias": True, "num_key_value_heads": 3, "tie_word_embeddings": True, **YARN},
    ),
    Case("starcoder2", "Starcoder2", seed=6),
    Case(
        "starcoder2 window",
        "Starcoder2",
        {"sliding_window": 13, "use_bias": False, "tie_word_embeddings": False},
    ),
    Case(
        "starcoder2 head_dim",
        "Starcoder2",
        {"head_dim": 14, "norm_epsilon": 0.05, **rope("dynamic", factor=2.0)}
        | {"max_position_embeddings": 32},
        seed=20,
    ),
    Case("nemotron", "Nemotron"),
    Case(
        "nemotron biases",
        "Nemotron",
        {"attention_bias": True, "mlp_bias": True, "hidden_act": "silu", "head_dim": 12},
    ),
    Case(
        "nemotron odd width",
        "Nemotron",
        {"head_dim": 10, "hidden_act": "tanh", "partial_rotary_factor": 0.5},
    ),
)
