"""Configs in the spelling of their first day mean what the same say today; nonsense is refused."""

from __future__ import annotations

from typing import Any

import pytest

from lmtool import ModelError
from lmtool.engine.families.table import find_family
from lmtool.engine.spec import AttentionSpec, ModelSpec

PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "falcon 7b": (
        {"model_type": "RefinedWebModel", "n_head": 4, "n_layer": 2, "hidden_size": 32}
        | {"multi_query": True, "parallel_attn": True, "alibi": False, "bias": False},
        {"model_type": "falcon", "num_attention_heads": 4, "num_hidden_layers": 2}
        | {"hidden_size": 32},
    ),
    "falcon 40b": (
        {"model_type": "RefinedWeb", "n_head": 4, "n_head_kv": 2, "n_layer": 2, "n_embed": 32}
        | {"parallel_attn": True},
        {"model_type": "falcon", "num_attention_heads": 4, "num_hidden_layers": 2}
        | {"hidden_size": 32, "num_kv_heads": 2, "new_decoder_architecture": True},
    ),
    "pythia": (
        {"model_type": "gpt_neox", "rotary_pct": 0.5, "rotary_emb_base": 500}
        | {"rope_theta": 10000.0, "partial_rotary_factor": 0.25, "rope_scaling": None},
        {
            "model_type": "gpt_neox",
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 500,
                "partial_rotary_factor": 0.5,
            },
        },
    ),
    "gpt-neo": (
        {"model_type": "gpt_neo", "attention_types": [[["global", "local"], 2]], "num_layers": 4},
        {"model_type": "gpt_neo", "attention_layers": ["global", "local"] * 2}
        | {"num_hidden_layers": 4},
    ),
    "bloom": (
        {"model_type": "bloom", "n_embed": 32, "num_attention_heads": 4, "offset_alibi": 100}
        | {"masked_softmax_fusion": True},
        {"model_type": "bloom", "hidden_size": 32, "n_head": 4},
    ),
    "gpt2": (
        {"model_type": "gpt2", "n_ctx": 1024, "summary_type": "cls_index", "n_head": 6},
        {"model_type": "gpt2", "num_attention_heads": 6, "hidden_size": 768},
    ),
}


def read(config: dict[str, Any]) -> ModelSpec:
    return find_family(config, "config.json").spec(config, "config.json")


@pytest.mark.parametrize("name", PAIRS)
def test_old_and_new_spelling_are_one(name: str) -> None:
    old, new = PAIRS[name]
    assert read(old) == read(new)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"model_type": "gpt2", "n_head": 7}, "n_head"),
        ({"model_type": "gpt2", "n_head": 6, "num_attention_heads": 8}, "num_attention_heads"),
        ({"model_type": "gpt2", "logit_cap": 30.0}, "logit_cap"),
        ({"model_type": "gptj", "rotary_dim": 7}, "rotary_dim"),
        ({"model_type": "gptj", "rotary_dim": 512}, "rotary_dim"),
        ({"model_type": "gpt_neo", "num_layers": 5}, "attention_layers"),
        ({"model_type": "gpt_neo", "attention_types": [[["near"], 24]]}, "attention_layers"),
        ({"model_type": "opt", "activation_function": "prelu"}, "activation_function"),
        ({"model_type": "stablelm", "num_key_value_heads": 5}, "num_key_value_heads"),
        (
            {"model_type": "phi", "num_attention_heads": 8, "hidden_size": 96, "head_dim": 10},
            "partial_rotary_factor",
        ),
        ({"model_type": "persimmon", "head_dim": 32}, "head_dim"),
        ({"model_type": "falcon", "multi_query": False, "num_kv_heads": 2}, "num_kv_heads"),
        (
            {"model_type": "falcon", "new_decoder_architecture": True, "parallel_attn": False},
            "parallel_attn",
        ),
        ({"model_type": "mpt", "attn_config": {"rope": True}}, "rope"),
        ({"model_type": "starcoder2", "mlp_type": "gated"}, "mlp_type"),
    ],
)
def test_nonsense_is_refused_by_its_name(config: dict[str, Any], field: str) -> None:
    with pytest.raises(ModelError, match=f"`{field}`"):
        read(config)


@pytest.mark.parametrize("family", ["bloom", "mpt"])
def test_slopes_beyond_powers_of_two(family: str) -> None:
    """The missing ones are every second slope of the next power."""
    spec = read({"model_type": family, "num_attention_heads": 3, "hidden_size": 48})
    mixer = spec.layers[0].mixer
    assert isinstance(mixer, AttentionSpec)
    assert mixer.alibi is not None
    assert mixer.alibi.slopes == (1 / 16, 1 / 256, 1 / 4)
