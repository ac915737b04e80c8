"""Mixtures of experts, with latent attention and without, in settings where every part matters."""

from __future__ import annotations

from typing import Any

from reference.cases_llama import rope
from reference.random_checkpoints import Case

YARN = rope("yarn", factor=4.0, original_max_position_embeddings=40)
MIXTURE: dict[str, Any] = {"num_local_experts": 5, "num_experts_per_tok": 2}
QWEN: dict[str, Any] = {
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 40,
    "shared_expert_intermediate_size": 56,
}
QWEN3: dict[str, Any] = {
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 40,
    "head_dim": 16,
}
DEEP: dict[str, Any] = {
    "n_routed_experts": 12,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 40,
    "n_shared_experts": 2,
    "first_k_dense_replace": 1,
}
LATENT: dict[str, Any] = {
    **DEEP,
    "num_key_value_heads": 6,
    "q_lora_rank": 20,
    "kv_lora_rank": 24,
    "qk_nope_head_dim": 10,
    "qk_rope_head_dim": 8,
    "v_head_dim": 14,
}
MSCALE = rope(
    "yarn", factor=4.0, original_max_position_embeddings=40, mscale=0.7, mscale_all_dim=1.2
)
OSS: dict[str, Any] = {"num_local_experts": 5, "num_experts_per_tok": 2, "head_dim": 16}
EVERY = ["sliding_attention", "full_attention", "sliding_attention"]

CASES = (
    Case("mixtral", "Mixtral", MIXTURE),
    Case(
        "mixtral window",
        "Mixtral",
        {**MIXTURE, "sliding_window": 11, "head_dim": 12, "tie_word_embeddings": True},
    ),
    Case("mixtral one of three", "Mixtral", {"num_local_experts": 3, "num_experts_per_tok": 1}),
    Case(
        "mixtral together",
        "Mixtral",
        {**MIXTURE, **YARN, "head_dim": 8},
        options={"save_original_format": False},
    ),
    Case("qwen2_moe", "Qwen2Moe", QWEN),
    Case(
        "qwen2_moe window",
        "Qwen2Moe",
        {
            **QWEN,
            "num_hidden_layers": 4,
            "use_sliding_window": True,
            "sliding_window": 9,
            "max_window_layers": 3,
            "decoder_sparse_step": 2,
            "norm_topk_prob": True,
            "qkv_bias": False,
        },
    ),
    Case(
        "qwen2_moe layer types",
        "Qwen2Moe",
        {
            **QWEN,
            "use_sliding_window": True,
            "sliding_window": 9,
            "layer_types": EVERY[1:] + EVERY[1:2],
            "mlp_only_layers": [1],
            "hidden_act": "gelu",
        },
        options={"save_original_format": False},
    ),
    Case("qwen3_moe", "Qwen3Moe", QWEN3),
    Case(
        "qwen3_moe window",
        "Qwen3Moe",
        {
            **QWEN3,
            "use_sliding_window": True,
            "sliding_window": 10,
            "mlp_only_layers": [0],
            "norm_topk_prob": True,
            "attention_bias": True,
            "tie_word_embeddings": True,
        },
    ),
    Case("qwen3_moe no experts", "Qwen3Moe", {**QWEN3, "num_experts": 0, **YARN}),
    Case("olmoe", "Olmoe", {"num_experts": 6, "num_experts_per_tok": 3}),
    Case(
        "olmoe clipped",
        "Olmoe",
        {
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "clip_qkv": 0.8,
            "norm_topk_prob": True,
            "attention_bias": True,
        },
    ),
    Case("flex_olmo", "FlexOlmo", {"num_experts": 6, "num_experts_per_tok": 3}),
    Case(
        "flex_olmo biases",
        "FlexOlmo",
        {
            "num_experts": 5,
            "num_experts_per_tok": 2,
            "norm_topk_prob": True,
            "attention_bias": True,
            "tie_word_embeddings": True,
            "rms_norm_eps": 1e-2,
            **YARN,
        },
    ),
    Case(
        "flex_olmo together",
        "FlexOlmo",
        {"num_experts": 3, "num_experts_per_tok": 1, "num_key_value_heads": 6, "head_dim": 10},
        options={"save_original_format": False},
    ),
    Case(
        "granitemoe",
        "GraniteMoe",
        {**MIXTURE, "attention_multiplier": 0.4, "tie_word_embeddings": True},
    ),
    Case(
        "granitemoe multipliers",
        "GraniteMoe",
        {
            **MIXTURE,
            "attention_bias": True,
            "attention_multiplier": 0.3,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.6,
            "logits_scaling": 0.7,
        },
    ),
    Case("granitemoe together", "GraniteMoe", MIXTURE, options={"save_original_format": False}),
    Case("glm4_moe", "Glm4Moe", DEEP),
    Case(
        "glm4_moe groups",
        "Glm4Moe",
        {
            **DEEP,
            "n_group": 4,
            "topk_group": 2,
            "routed_scaling_factor": 1.7,
            "norm_topk_prob": False,
            "use_qk_norm": True,
            "attention_bias": True,
            "head_dim": 12,
            "first_k_dense_replace": 0,
            **rope("default", partial_rotary_factor=0.3334),
        },
    ),
    Case("deepseek_v2", "DeepseekV2", LATENT),
    Case(
        "deepseek_v2 groups",
        "DeepseekV2",
        {
            **LATENT,
            "topk_method": "group_limited_greedy",
            "n_group": 4,
            "topk_group": 2,
            "q_lora_rank": None,
            "attention_bias": True,
            "mlp_bias": True,
            "routed_scaling_factor": 2.5,
            "norm_topk_prob": True,
        },
    ),
    Case("deepseek_v2 yarn", "DeepseekV2", {**LATENT, **MSCALE, "tie_word_embeddings": True}),
    Case("deepseek_v3", "DeepseekV3", {**LATENT, "n_group": 3, "topk_group": 2}),
    Case(
        "deepseek_v3 halves",
        "DeepseekV3",
        {
            **LATENT,
            "n_group": 1,
            "topk_group": 1,
            "q_lora_rank": None,
            "attention_bias": True,
            "rope_interleave": False,
            "norm_topk_prob": False,
            "routed_scaling_factor": 1.3,
            "first_k_dense_replace": 0,
            "rms_norm_eps": 1e-3,
        },
    ),
    Case("deepseek_v3 yarn", "DeepseekV3", {**LATENT, **MSCALE, "n_group": 2, "topk_group": 1}),
    Case("gpt_oss", "GptOss", {**OSS, "sliding_window": 13}),
    Case(
        "gpt_oss settings",
        "GptOss",
        {
            **OSS,
            "sliding_window": 7,
            "layer_types": ["full_attention", "sliding_attention", "full_attention"],
            "attention_bias": False,
            "swiglu_alpha": 1.2,
            "swiglu_limit": 0.8,
            "tie_word_embeddings": True,
            **rope("yarn", factor=4.0, original_max_position_embeddings=40, truncate=False),
        },
    ),
)
