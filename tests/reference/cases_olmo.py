"""OLMo 1 to 3 and EXAONE 4, in settings that exercise every field they read."""

from __future__ import annotations

from reference.cases_gemma import ropes
from reference.cases_llama import rope
from reference.cases_relatives import DYNAMIC, LLAMA3, MIXED, YARN
from reference.random_checkpoints import Case

CASES = (
    Case("olmo", "Olmo", {"clip_qkv": 0.8}),
    Case("olmo biases", "Olmo", {"attention_bias": True, "tie_word_embeddings": True} | DYNAMIC),
    Case("olmo head_dim", "Olmo", {"head_dim": 12, "hidden_act": "relu"} | LLAMA3),
    Case("olmo2", "Olmo2"),
    Case("olmo2 biases", "Olmo2", {"attention_bias": True, "rms_norm_eps": 1e-2} | YARN),
    Case(
        "olmo2 tied",
        "Olmo2",
        {"tie_word_embeddings": True, "num_key_value_heads": 6, "head_dim": 10},
    ),
    Case("olmo3", "Olmo3", {"sliding_window": 11, "num_hidden_layers": 4}),
    Case(
        "olmo3 ropes",
        "Olmo3",
        {"sliding_window": 9, "layer_types": MIXED, "attention_bias": True}
        | ropes(
            YARN["rope_parameters"] | {"truncate": True},  # type: ignore[operator]
            {"rope_type": "default", "rope_theta": 50.0},
        ),
    ),
    # A rope that isn't of a kind of layer stays without effect.
    Case("olmo3 flat rope", "Olmo3", {"sliding_window": 9} | rope("linear", factor=5.0)),
    Case("exaone4", "Exaone4", {"sliding_window": 11, "sliding_window_pattern": 2}),
    Case(
        "exaone4 layer types",
        "Exaone4",
        {"sliding_window": 9, "layer_types": MIXED, "sliding_window_pattern": "LG", "head_dim": 12}
        | LLAMA3,
    ),
    Case(
        "exaone4 no windows",
        "Exaone4",
        {"sliding_window": None, "layer_types": ["full_attention"] * 3} | YARN,
    ),
)
