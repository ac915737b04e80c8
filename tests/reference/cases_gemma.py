"""The Gemmas, in settings that exercise every field they read."""

from __future__ import annotations

from reference.cases_llama import rope
from reference.random_checkpoints import SMALL, Case

SMALL_VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def ropes(full: dict[str, object], sliding: dict[str, object]) -> dict[str, object]:
    """A rope for each kind of layer."""
    return {"rope_parameters": {"full_attention": full, "sliding_attention": sliding}}


CASES = (
    Case("gemma", "Gemma", {"head_dim": 12}),
    Case(
        "gemma biases",
        "Gemma",
        {
            "head_dim": 8,
            "attention_bias": True,
            "tie_word_embeddings": False,
            "hidden_act": "gelu",
            "rms_norm_eps": 1e-2,
        },
    ),
    Case("gemma silu", "Gemma", {"head_dim": 8, "hidden_act": "silu", "num_key_value_heads": 6}),
    Case("gemma2", "Gemma2", {"head_dim": 12, "sliding_window": 11, "query_pre_attn_scalar": 9}),
    Case(
        "gemma2 caps",
        "Gemma2",
        {
            "head_dim": 8,
            "sliding_window": 30,
            "attn_logit_softcapping": 3.0,
            "final_logit_softcapping": 2.0,
            "attention_bias": True,
            "layer_types": ["full_attention", "full_attention", "sliding_attention"],
            "tie_word_embeddings": False,
        },
    ),
    Case(
        "gemma2 no caps",
        "Gemma2",
        {
            "head_dim": 8,
            "sliding_window": 7,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
            "hidden_activation": "gelu",
        }
        | rope("linear", factor=3.0),
    ),
    Case(
        "gemma3",
        "Gemma3Text",
        {"head_dim": 12, "sliding_window": 11, "sliding_window_pattern": 2}
        | ropes(
            {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0},
            {"rope_type": "default", "rope_theta": 100.0},
        ),
    ),
    Case(
        "gemma3 caps",
        "Gemma3Text",
        {
            "head_dim": 8,
            "sliding_window": 9,
            "attn_logit_softcapping": 1.0,
            "final_logit_softcapping": 3.0,
            "query_pre_attn_scalar": 5,
            "attention_bias": True,
            "tie_word_embeddings": False,
            "layer_types": ["full_attention", "sliding_attention", "full_attention"],
        },
    ),
    Case(
        "gemma3 ropes",
        "Gemma3Text",
        {"head_dim": 16, "sliding_window": 20, "max_position_embeddings": 64}
        | {"layer_types": ["full_attention", "sliding_attention", "full_attention"]}
        | ropes(
            {
                "rope_type": "yarn",
                "factor": 4.0,
                "rope_theta": 1000.0,
                "original_max_position_embeddings": 40,
                "truncate": False,
            },
            {"rope_type": "dynamic", "factor": 3.0, "rope_theta": 1000.0},
        ),
    ),
    Case(
        "gemma3 proportional",
        "Gemma3Text",
        {"head_dim": 16, "sliding_window": 20, "sliding_window_pattern": 2}
        | ropes(
            {
                "rope_type": "proportional",
                "factor": 2.0,
                "partial_rotary_factor": 0.5,
                "rope_theta": 100.0,
            },
            {"rope_type": "default", "partial_rotary_factor": 0.5, "rope_theta": 100.0},
        ),
    ),
    Case(
        "gemma3 with vision",
        "Gemma3",
        {
            "text_config": SMALL | {"head_dim": 8, "sliding_window": 9},
            "vision_config": SMALL_VISION,
            "mm_tokens_per_image": 4,
        },
    ),
    Case(
        "gemma3 with vision untied",
        "Gemma3",
        {
            "text_config": SMALL | {"head_dim": 8, "sliding_window": 9},
            "vision_config": SMALL_VISION,
            "mm_tokens_per_image": 4,
            "tie_word_embeddings": False,
        },
    ),
)
