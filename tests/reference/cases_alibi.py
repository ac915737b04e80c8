"""BLOOM, Falcon and MPT, in settings that exercise every field they read."""

from __future__ import annotations

from reference.cases_llama import rope
from reference.random_checkpoints import Case

CASES = (
    Case("bloom", "Bloom", {"tie_word_embeddings": False}, seed=1),
    Case(
        "bloom normed residuals",
        "Bloom",
        {
            "apply_residual_connection_post_layernorm": True,
            "num_hidden_layers": 2,
            "tie_word_embeddings": False,
        },
        seed=20,
    ),
    Case(
        "bloom slow but exact",
        "Bloom",
        {"slow_but_exact": True, "pretraining_tp": 2, "tie_word_embeddings": False},
        seed=8,
    ),
    Case("falcon", "Falcon", seed=3),
    Case(
        "falcon rw",
        "Falcon",
        {"alibi": True, "multi_query": False, "parallel_attn": False, "bias": True},
        seed=10,
    ),
    Case("falcon alibi", "Falcon", {"alibi": True, "activation": "relu", "ffn_hidden_size": 70}),
    Case(
        "falcon 40b",
        "Falcon",
        {"new_decoder_architecture": True, "num_kv_heads": 2, "tie_word_embeddings": False},
    ),
    Case(
        "falcon 11b",
        "Falcon",
        {
            "new_decoder_architecture": True,
            "num_kv_heads": 3,
            "num_ln_in_parallel_attn": 1,
            "bias": True,
            **rope("linear", factor=3.0),
        },
        seed=1,
    ),
    Case("falcon multi-head", "Falcon", {"multi_query": False, "layer_norm_epsilon": 0.01}, seed=2),
    Case("mpt", "Mpt", {"n_heads": 4}),
    Case("mpt six heads", "Mpt", {"tie_word_embeddings": False, "layer_norm_epsilon": 0.1}),
    Case(
        "mpt clipped",
        "Mpt",
        {"attn_config": {"clip_qkv": 0.8, "softmax_scale": 0.5, "alibi_bias_max": 4}},
        seed=11,
    ),
)
