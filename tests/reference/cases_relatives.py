"""Families that are Llama but for a few of its parts, in settings that exercise what they read."""

from __future__ import annotations

from reference.cases_llama import rope
from reference.random_checkpoints import Case

MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
LLAMA3 = rope(
    "llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=40,
)
YARN = rope("yarn", factor=4.0, original_max_position_embeddings=40, beta_fast=16.0, truncate=False)
DYNAMIC = rope("dynamic", factor=3.0) | {"max_position_embeddings": 64}

CASES = (
    Case("ministral", "Ministral", {"head_dim": 10, "sliding_window": 13}),
    Case(
        "ministral layer types",
        "Ministral",
        {"head_dim": 8, "sliding_window": 9, "layer_types": MIXED} | YARN,
    ),
    Case("smollm3", "SmolLM3", {"no_rope_layer_interval": 2}),
    Case(
        "smollm3 windows",
        "SmolLM3",
        {
            "no_rope_layers": [0, 1, 0],
            "use_sliding_window": True,
            "sliding_window": 12,
            "attention_bias": True,
            "mlp_bias": True,
            "tie_word_embeddings": False,
        }
        | DYNAMIC,
    ),
    Case(
        "smollm3 layer types",
        "SmolLM3",
        {"no_rope_layers": [1, 0, 1], "layer_types": MIXED, "sliding_window": 7},
    ),
    Case(
        "granite",
        "Granite",
        {
            "embedding_multiplier": 3.0,
            "attention_multiplier": 0.2,
            "residual_multiplier": 0.6,
            "logits_scaling": 0.7,
        },
    ),
    Case(
        "granite biases",
        "Granite",
        {"attention_bias": True, "mlp_bias": True, "attention_multiplier": 0.3, "head_dim": 12}
        | LLAMA3,
    ),
    Case("arcee", "Arcee", YARN),
    Case(
        "arcee biases",
        "Arcee",
        {"attention_bias": True, "mlp_bias": True, "head_dim": 20, "hidden_act": "gelu_new"},
        seed=1,
    ),
    Case("seed_oss", "SeedOss", {"head_dim": 12}),
    Case(
        "seed_oss biases",
        "SeedOss",
        {"attention_bias": False, "attention_out_bias": True, "mlp_bias": True, "head_dim": None}
        | DYNAMIC,
    ),
    Case("hunyuan", "HunYuanDenseV1", {"head_dim": 8}),
    Case(
        "hunyuan alpha",
        "HunYuanDenseV1",
        {"head_dim": 12, "attention_bias": True, "max_position_embeddings": 64}
        | rope("dynamic", factor=1.0, alpha=50.0, beta_fast=32, beta_slow=1, mscale=1.0),
    ),
    Case(
        "hunyuan dynamic", "HunYuanDenseV1", {"head_dim": 8, "tie_word_embeddings": True} | DYNAMIC
    ),
    Case("helium", "Helium", {"head_dim": 8}),
    Case(
        "helium biases",
        "Helium",
        {"head_dim": 8, "attention_bias": True, "mlp_bias": True, "rms_norm_eps": 1e-3} | LLAMA3,
    ),
    Case("ernie4_5", "Ernie4_5", {"head_dim": 12}),
    Case(
        "ernie4_5 biases",
        "Ernie4_5",
        {"head_dim": None, "use_bias": True, "tie_word_embeddings": False} | YARN,
    ),
    Case("apertus", "Apertus"),
    Case("apertus biases", "Apertus", {"attention_bias": True, "head_dim": 12} | DYNAMIC),
    Case("apertus silu", "Apertus", {"hidden_act": "silu"} | LLAMA3),
    Case("nanochat", "NanoChat"),
    Case(
        "nanochat biases",
        "NanoChat",
        {
            "attention_bias": True,
            "final_logit_softcapping": None,
            "hidden_act": "gelu",
            "head_dim": 10,
        }
        | YARN,
    ),
    Case("nanochat cap", "NanoChat", {"final_logit_softcapping": 4.0, "rms_norm_eps": 1e-2}),
)
