"""Mixtures of experts: no token's answer depends on its neighbours; configs are read in full."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from lmtool import ModelError
from lmtool.engine.families.recurrent import RECURRENT
from lmtool.engine.families.table import FAMILIES, find_family
from lmtool.engine.model.experts import Experts
from lmtool.engine.model.source import PlainSource
from lmtool.engine.spec import ExpertsSpec, MlpSpec, ModelSpec, RouterSpec
from lmtool.engine.step import Piece, Step
from reference.cases_experts import CASES
from reference.loaded import CPU, Loaded
from reference.random_checkpoints import SMALL, Case, random_ids

KINDS = ("mixtral", "qwen2_moe window", "deepseek_v2 groups", "deepseek_v3", "gpt_oss")
CONFIGS = {
    "mixtral": "Mixtral",
    "qwen2_moe": "Qwen2Moe",
    "qwen3_moe": "Qwen3Moe",
    "olmoe": "Olmoe",
    "flex_olmo": "FlexOlmo",
    "granitemoe": "GraniteMoe",
    "glm4_moe": "Glm4Moe",
    "deepseek_v2": "DeepseekV2",
    "deepseek_v3": "DeepseekV3",
    "gpt_oss": "GptOss",
}


def case_of(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


@pytest.mark.parametrize("name", KINDS)
def test_a_text_is_read_alone_as_among_others(name: str, tmp_path: Path) -> None:
    """Three texts in one step, each whole, then in uneven pieces beside each other's."""
    loaded = Loaded.open(case_of(name).save(tmp_path))
    texts = [random_ids(length, seed=length) for length in (40, 25, 33)]
    alone = [loaded.logprobs(ids, [len(ids)], loaded.cache()) for ids in texts]
    cuts = [(0, 11, 12, 40), (0, 20, 25, 25), (0, 5, 30, 33)]
    for turns in ([(0, len(ids)) for ids in texts], cuts):
        cache = loaded.cache(rows=3)
        got: list[list[Tensor]] = [[], [], []]
        for turn in range(len(turns[0]) - 1):
            spans = [(row, turns[row][turn], turns[row][turn + 1]) for row in range(3)]
            spans = [span for span in spans if span[1] < span[2]]
            read_together(loaded, texts, spans, cache, got)
        for row, wanted in enumerate(alone):
            torch.testing.assert_close(torch.cat(got[row]), wanted, atol=2e-5, rtol=0)


def read_together(
    loaded: Loaded,
    texts: list[list[int]],
    spans: list[tuple[int, int, int]],
    cache: Any,
    got: list[list[Tensor]],
) -> None:
    pieces = [Piece(r, a, texts[r][a:b], len(texts[r]), logits="all") for r, a, b in spans]
    for row, _, end in spans:
        cache.reserve(row, end)
    logits = loaded.decoder(Step.of(pieces, CPU), cache).log_softmax(-1)
    for (row, *_), part in zip(spans, logits.split([b - a for _, a, b in spans]), strict=True):
        got[row].append(part)


class Random(PlainSource):
    """A source of random weights."""

    def take(self, name: str, *shape: int, exact: bool = False) -> Tensor:
        return torch.randn(shape) / shape[-1] ** 0.5


def test_tokens_may_come_in_any_order() -> None:
    spec = ExpertsSpec(7, 3, MlpSpec(24), RouterSpec(normalize=True))
    torch.manual_seed(0)
    experts, x = Experts(spec, Random(), 16), torch.randn(50, 16)
    whole, order = experts(x), torch.randperm(50)
    torch.testing.assert_close(experts(x[order]), whole[order], atol=1e-6, rtol=0)
    one_by_one = torch.cat([experts(token[None]) for token in x])
    torch.testing.assert_close(one_by_one, whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_silent_config_means_what_transformers_assumes(name: str) -> None:
    needed = {"deepseek_v2": {"num_experts_per_tok": 6}, "glm4_moe": {"head_dim": 128}}.get(
        name, {}
    )
    config = getattr(transformers, f"{CONFIGS[name]}Config")(**needed)
    family = FAMILIES[name]
    silent = {"model_type": name, **needed}
    assert family.spec(silent, "silent") == family.spec(config.to_dict(), "whole")


def read(name: str, **changes: Any) -> ModelSpec:
    """The spec of a case's config with some fields changed; None removes a field."""
    case = case_of(name)
    config_class = getattr(transformers, f"{case.family}Config")
    config = config_class(**{**SMALL, **case.changes}).to_dict() | changes
    config = {key: value for key, value in config.items() if value is not ...}
    return FAMILIES[config["model_type"]].spec(config, "`config.json`")


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("mixtral", {"num_experts_per_tok": 6}, "`num_experts_per_tok` is 6, not at most 5"),
        ("mixtral", {"num_experts": 4}, "`num_experts` is 4, not what `num_local_experts` is: 5"),
        ("mixtral", {"num_key_value_heads": 5}, "`num_key_value_heads` is 5"),
        ("mixtral", {"num_attention_heads": 7}, "`num_attention_heads` is 7"),
        ("mixtral", {"sliding_window": -3}, "`sliding_window` is -3"),
        ("mixtral", {"expert_capacity": 3}, "`expert_capacity`: 3"),
        ("qwen2_moe layer types", {"layer_types": ["full_attention"]}, "`layer_types` has 1"),
        ("qwen2_moe layer types", {"use_sliding_window": False}, "`use_sliding_window` is False"),
        ("qwen2_moe layer types", {"sliding_window": None}, "`sliding_window` is None"),
        ("glm4_moe groups", {"n_group": 5}, "`n_group` is 5"),
        ("glm4_moe groups", {"n_group": 12}, "`n_group` is 12"),
        ("glm4_moe groups", {"topk_group": 5}, "`topk_group` is 5"),
        ("glm4_moe groups", {"topk_group": 1, "num_experts_per_tok": 4}, "at most 3"),
        ("deepseek_v2 groups", {"topk_method": "noaux_tc"}, "`topk_method` is 'noaux_tc'"),
        ("deepseek_v2", {"num_key_value_heads": 2}, "`num_key_value_heads` is 2"),
        ("deepseek_v2", {"num_experts_per_tok": ...}, "lacks `num_experts_per_tok`"),
        ("deepseek_v2", {"moe_layer_freq": 2}, "`moe_layer_freq` is 2"),
        ("deepseek_v3", {"qk_rope_head_dim": 7}, "7"),
        ("deepseek_v3", {"scoring_func": "softmax"}, "`scoring_func` is 'softmax'"),
        ("gpt_oss", {"sliding_window": None}, "`sliding_window` is None"),
        ("gpt_oss", {"quantization_config": {"quant_method": "awq"}}, "`quant_method` is 'awq'"),
    ],
)
def test_contradictions_are_named(name: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError) as caught:
        read(name, **changes)
    assert said in caught.value.message


def test_published_spellings() -> None:
    """Fields that checkpoints have had since before transformers knew their families."""
    read("deepseek_v2", aux_loss_alpha=0.001, seq_aux=True, ep_size=1, moe_layer_freq=1)
    read("deepseek_v3", topk_method="noaux_tc", scoring_func="sigmoid", head_dim=...)
    read("gpt_oss", initial_context_length=4096, experts_per_token=2)
    old = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 40}
    new = read("gpt_oss", rope_parameters={**old, "rope_theta": 1000.0})
    assert read("gpt_oss", rope_parameters=..., rope_scaling=old, rope_theta=1000) == new


def test_layers_for_drafting_are_left_alone(tmp_path: Path) -> None:
    case_of("deepseek_v3").save(tmp_path)
    path = tmp_path / "model.safetensors"
    stored = load_file(path)
    drafter = "model.layers.3.eh_proj.weight"  # the case has three layers
    save_file({**stored, drafter: torch.ones(2, 2)}, path)
    Loaded.open(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["num_nextn_predict_layers"] = 0
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=drafter):
        Loaded.open(tmp_path)


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_architectures_are_refused_by_name(name: str) -> None:
    with pytest.raises(ModelError) as caught:
        find_family({"model_type": name}, "`config.json`")
    assert f"`{name}`, a" in caught.value.message or f"`{name}`, linear" in caught.value.message
    assert name not in FAMILIES
