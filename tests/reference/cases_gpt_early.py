"""GPT-2 and its first followers, in settings that exercise every field they read."""

from __future__ import annotations

from reference.random_checkpoints import Case

CASES = (
    Case("gpt2", "GPT2", seed=1),
    Case("gpt2 inner", "GPT2", {"n_inner": 60, "activation_function": "relu2"}),
    Case(
        "gpt2 by depth",
        "GPT2",
        {"scale_attn_by_inverse_layer_idx": True, "tie_word_embeddings": False},
    ),
    Case(
        "gpt2 unscaled",
        "GPT2",
        {"scale_attn_weights": False, "layer_norm_epsilon": 0.1, "add_cross_attention": True},
        seed=5,
    ),
    Case("gpt_bigcode", "GPTBigCode", seed=1),
    Case(
        "gpt_bigcode multi-head",
        "GPTBigCode",
        {"multi_query": False, "n_inner": 90, "scale_attn_weights": False},
    ),
    Case(
        "gpt_bigcode untied",
        "GPTBigCode",
        {"tie_word_embeddings": False, "activation_function": "quick_gelu"},
    ),
    Case("gpt_neo", "GPTNeo", {"attention_types": [[["global"], 3]]}),
    Case(
        "gpt_neo window",
        "GPTNeo",
        {
            "attention_types": [[["global", "local"], 1], [["local"], 1]],
            "window_size": 11,
            "intermediate_size": None,
            "tie_word_embeddings": False,
        },
    ),
    Case("gptj", "GPTJ", {"rotary_dim": 4}, seed=6),
    Case(
        "gptj tied",
        "GPTJ",
        {"rotary_dim": 8, "tie_word_embeddings": True, "n_inner": 70, "n_head": 4},
        seed=2,
    ),
    Case("opt", "OPT", {"ffn_dim": 80}, seed=2),
    Case(
        "opt 350m",
        "OPT",
        {
            "ffn_dim": 80,
            "do_layer_norm_before": False,
            "word_embed_proj_dim": 40,
            "num_hidden_layers": 2,
        },
        seed=5,
    ),
    Case(
        "opt without biases",
        "OPT",
        {
            "ffn_dim": 64,
            "enable_bias": False,
            "layer_norm_elementwise_affine": False,
            "tie_word_embeddings": False,
            "activation_function": "gelu",
        },
    ),
    Case(
        "opt without a last norm",
        "OPT",
        {
            "ffn_dim": 24,
            "_remove_final_layer_norm": True,
            "word_embed_proj_dim": 12,
            "num_hidden_layers": 2,
        },
        seed=3,
    ),
)
