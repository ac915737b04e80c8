"""Cohere's models, in settings that exercise every field they read."""

from __future__ import annotations

from reference.cases_relatives import DYNAMIC, LLAMA3, MIXED, YARN
from reference.random_checkpoints import Case

CASES = (
    Case("cohere", "Cohere", {"logit_scale": 0.5}),
    Case(
        "cohere normed",
        "Cohere",
        {"use_qk_norm": True, "attention_bias": True, "logit_scale": 1.5, "layer_norm_eps": 1e-2}
        | DYNAMIC,
    ),
    Case(
        "cohere untied",
        "Cohere",
        {"tie_word_embeddings": False, "head_dim": 12, "hidden_act": "gelu", "logit_scale": 1.0}
        | YARN,
    ),
    Case(
        "cohere2",
        "Cohere2",
        {"sliding_window": 11, "sliding_window_pattern": 2, "logit_scale": 0.5},
    ),
    Case(
        "cohere2 layer types",
        "Cohere2",
        {
            "sliding_window": 9,
            "layer_types": MIXED,
            "attention_bias": True,
            "tie_word_embeddings": False,
            "logit_scale": 1.0,
        }
        | LLAMA3,
    ),
    Case("cohere2 default", "Cohere2", {"sliding_window": 30, "num_hidden_layers": 4} | DYNAMIC),
)
