"""GLM 4 and Phi-3, in settings that exercise every field they read."""

from __future__ import annotations

from reference.cases_relatives import DYNAMIC, LLAMA3
from reference.random_checkpoints import Case

# Longer than the prompt and shorter than what is generated: half-way all is computed afresh.
LONG = {
    "rope_type": "longrope",
    "rope_theta": 1000.0,
    "short_factor": [1.0, 1.1, 1.3, 1.7],
    "long_factor": [1.5, 2.5, 4.0, 6.0],
}

CASES = (
    Case("glm", "Glm", {"head_dim": 12, "attention_bias": False}),
    Case("glm biases", "Glm", {"head_dim": 8, "tie_word_embeddings": True} | DYNAMIC),
    Case("glm partial", "Glm", {"head_dim": 16, "partial_rotary_factor": 0.25}),
    Case("glm odd partial", "Glm", {"head_dim": 16, "partial_rotary_factor": 0.45}),
    Case("glm4", "Glm4", {"head_dim": 12}),
    Case("glm4 no biases", "Glm4", {"head_dim": 8, "attention_bias": False} | LLAMA3),
    Case("glm4 whole", "Glm4", {"head_dim": 8, "partial_rotary_factor": 1.0}),
    Case("phi3", "Phi3", {"original_max_position_embeddings": 100}),
    Case("phi3 window", "Phi3", {"sliding_window": 13, "tie_word_embeddings": True}),
    Case(
        "phi3 longrope",
        "Phi3",
        {"rope_parameters": dict(LONG), "original_max_position_embeddings": 110},
    ),
    Case(
        "phi3 longrope outgrown",
        "Phi3",
        {"rope_parameters": dict(LONG), "original_max_position_embeddings": 40}
        | {"sliding_window": 50, "head_dim": 8},
    ),
    Case(
        "phi3 longrope partial",
        "Phi3",
        {
            "rope_parameters": LONG
            | {"partial_rotary_factor": 0.5, "attention_factor": 1.3}
            | {"short_factor": [1.0, 2.0], "long_factor": [3.0, 5.0]},
            "original_max_position_embeddings": 120,
        },
    ),
    # What LongRoPE was called at first.
    Case(
        "phi3 su",
        "Phi3",
        {
            "rope_parameters": {k: v for k, v in LONG.items() if k != "rope_type"}
            | {"type": "su", "factor": 16.0, "original_max_position_embeddings": 100},
            "original_max_position_embeddings": 100,
        },
    ),
)
