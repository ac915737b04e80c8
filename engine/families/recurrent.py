"""Architectures that carry a state from token to token, which this decoder doesn't do."""

from __future__ import annotations

_SPACE = "a state-space model without attention"
_SPACE_HYBRID = "a hybrid of attention and state-space layers"
_LINEAR_HYBRID = "a hybrid of attention and linear attention"
_CONVOLUTION_HYBRID = "a hybrid of attention and convolutions"

RECURRENT: dict[str, str] = {
    "mamba": _SPACE,
    "mamba2": _SPACE,
    "falcon_mamba": _SPACE,
    "codestral_mamba": _SPACE,
    "rwkv": "a recurrent network without attention",
    "rwkv5": "a recurrent network without attention",
    "rwkv6": "a recurrent network without attention",
    "rwkv7": "a recurrent network without attention",
    "xlstm": "a recurrent network without attention",
    "hgrn": "a recurrent network without attention",
    "retnet": "a retention network without attention",
    "gla": "linear attention throughout",
    "recurrent_gemma": "a hybrid of attention and recurrent layers",
    "jamba": _SPACE_HYBRID,
    "bamba": _SPACE_HYBRID,
    "zamba": _SPACE_HYBRID,
    "zamba2": _SPACE_HYBRID,
    "falcon_h1": _SPACE_HYBRID,
    "granitemoehybrid": _SPACE_HYBRID,
    "hymba": _SPACE_HYBRID,
    "nemotron_h": _SPACE_HYBRID,
    "plamo2": _SPACE_HYBRID,
    "bailing_hybrid": _LINEAR_HYBRID,
    "glm5_next": _LINEAR_HYBRID,
    "kimi_linear": _LINEAR_HYBRID,
    "minimax": _LINEAR_HYBRID,
    "minimax_m1": _LINEAR_HYBRID,
    "minimax_text_01": _LINEAR_HYBRID,
    "olmo_hybrid": _LINEAR_HYBRID,
    "qwen3_next": _LINEAR_HYBRID,
    "qwen3_5": _LINEAR_HYBRID,
    "qwen3_5_text": _LINEAR_HYBRID,
    "qwen3_5_moe": _LINEAR_HYBRID,
    "qwen3_5_moe_text": _LINEAR_HYBRID,
    "lfm2": _CONVOLUTION_HYBRID,
    "lfm2_moe": _CONVOLUTION_HYBRID,
    "lfm3": _CONVOLUTION_HYBRID,
}
"""What each is, by the `model_type` of its config.json."""
