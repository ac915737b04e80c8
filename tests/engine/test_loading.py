"""One model saved in many ways loads as the same; damaged numbers are noticed when they matter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lmtool import ModelError
from lmtool.engine.loop import Loop
from lmtool.engine.request import Request, Timings
from lmtool.engine.weights.checkpoint import open_checkpoint
from lmtool.engine.weights.load import load_decoder
from reference.loaded import CPU, Loaded
from reference.random_checkpoints import Case, random_ids, reference_logprobs

CONFIG, SINGLE = "config.json", "model.safetensors"
IDS = random_ids(40)
CASE = Case("loading", "Qwen2", {"tie_word_embeddings": False})
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return CASE.save(tmp_path_factory.mktemp("saved"))


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def logprobs(loaded: Loaded) -> Tensor:
    return loaded.logprobs(IDS, [len(IDS)], loaded.cache())


def assert_same(one: Path, other: Path) -> None:
    got, wanted = logprobs(Loaded.open(one)), logprobs(Loaded.open(other))
    torch.testing.assert_close(got, wanted, rtol=0, atol=0)


def resaved(folder: Path, weights: dict[str, Tensor]) -> Path:
    save_file(weights, folder / SINGLE, metadata={"format": "pt"})
    return folder


def change(folder: Path, **fields: Any) -> None:
    """Set fields of config.json, or with ... take them out."""
    path = folder / CONFIG
    config = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def test_in_shards(saved: Path, tmp_path: Path) -> None:
    CASE.save(tmp_path, max_shard_size="50KB")
    assert not (tmp_path / SINGLE).exists()
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    assert_same(tmp_path, saved)


def test_the_bare_stack_of_a_tied_model(tmp_path: Path) -> None:
    """Saved without its head, a model's names lack their first part."""
    model = Case("tied", "Llama", {"tie_word_embeddings": True}).model()
    model.save_pretrained(tmp_path / "whole")
    model.model.save_pretrained(tmp_path / "bare")
    names = load_file(tmp_path / "bare" / SINGLE).keys()
    assert not any(name.startswith("model.") for name in names)
    assert_same(tmp_path / "bare", tmp_path / "whole")


@pytest.mark.parametrize("name", DTYPES)
def test_stored_in_any_dtype(folder: Path, name: str) -> None:
    stored = DTYPES[name]
    weights = {key: w.to(stored) for key, w in load_file(folder / SINGLE).items()}
    resaved(folder, weights)
    decoder, reader = load_decoder(open_checkpoint(folder), None, CPU)
    assert reader.dtype == (torch.float32 if name == "F64" else stored)
    assert decoder.dtype == reader.dtype
    for asked in (torch.float32, torch.bfloat16):
        decoder, reader = load_decoder(open_checkpoint(folder), asked, CPU)
        assert reader.dtype == asked
        wanted = weights["lm_head.weight"].to(asked)
        torch.testing.assert_close(decoder.head.dense(), wanted, rtol=0, atol=0)
    wide = Loaded.open(folder, torch.float32)
    wanted = reference_logprobs(folder, IDS)
    torch.testing.assert_close(logprobs(wide), wanted, atol=1e-4, rtol=0)


def test_dtypes_mixed_in_one_checkpoint(folder: Path) -> None:
    """The embedding's decides, as one dtype runs through the whole stack."""
    weights = load_file(folder / SINGLE)
    mixed = {n: w.bfloat16() if "embed" in n else w for n, w in weights.items()}
    decoder, reader = load_decoder(open_checkpoint(resaved(folder, mixed)), None, CPU)
    assert reader.dtype == torch.bfloat16
    assert decoder.head.dense().dtype == torch.bfloat16


def test_a_head_that_is_stored_is_used_even_if_the_config_ties_it(folder: Path) -> None:
    change(folder, tie_word_embeddings=True)
    wanted = reference_logprobs(folder, IDS)
    torch.testing.assert_close(logprobs(Loaded.open(folder)), wanted, atol=1e-4, rtol=0)
    weights = load_file(folder / SINGLE)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    resaved(folder, weights)
    stored = logprobs(Loaded.open(folder))
    del weights["lm_head.weight"]
    resaved(folder, weights)
    tied = Loaded.open(folder)
    assert torch.equal(tied.decoder.head.dense(), tied.decoder.embed)
    torch.testing.assert_close(logprobs(tied), stored, atol=0, rtol=0)


ROPES: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 2.0},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 128},
}


@pytest.mark.parametrize("kind", ROPES)
@pytest.mark.parametrize("type_name", ["type", "rope_type"])
def test_the_old_spelling_of_a_config_means_the_same(
    saved: Path, folder: Path, kind: str, type_name: str
) -> None:
    """Before transformers 5: torch_dtype, rope_theta by itself, rope_scaling for the rest."""
    rope = {"rope_type": kind, "rope_theta": 5000.0, **ROPES[kind]}
    change(folder, rope_parameters=rope)
    new = open_checkpoint(folder).spec
    assert new != open_checkpoint(saved).spec
    old: dict[str, Any] = {"rope_theta": 5000.0, "torch_dtype": "float32"}
    old["rope_scaling"] = {type_name: kind, **ROPES[kind]} if kind != "default" else None
    change(folder, rope_parameters=..., dtype=..., **old)
    assert open_checkpoint(folder).spec == new


def test_fields_that_change_nothing_may_be_there(saved: Path, folder: Path) -> None:
    """Seen in checkpoints out in the world."""
    change(
        folder,
        architectures=["Qwen2ForCausalLM"],
        _name_or_path="somewhere/else",
        attention_dropout=0.1,
        use_cache=False,
        pretraining_tp=1,
        unknown_and_off=False,
        unknown_and_null=None,
        eos_token_id=[1, 2],
        max_window_layers=2,
        sliding_window=131072,
        use_sliding_window=False,
        id2label={"0": "LABEL_0"},
        is_llama_config=True,
        max_sequence_length=2048,
        **{"transformers.js_config": {"dtype": "q4"}},
    )
    assert open_checkpoint(folder).spec == open_checkpoint(saved).spec


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "name", ["model.layers.1.mlp.down_proj.weight", "model.norm.weight", "lm_head.weight"]
)
def test_weights_that_are_no_numbers_are_noticed(folder: Path, name: str, value: float) -> None:
    weights = load_file(folder / SINGLE)
    weights[name].view(-1)[7] = value
    decoder = Loaded.open(resaved(folder, weights)).decoder
    for request in (Request((1, 2, 3), 5), Request((1, 2), 0, logprobs=1, prompt_logprobs=True)):
        with pytest.raises(ModelError, match="the model's logits are not numbers"):
            list(Loop(decoder, [request], 100, Timings()).run())


def test_an_overflow_of_float16_is_noticed(folder: Path) -> None:
    weights = load_file(folder / SINGLE)
    weights["lm_head.weight"] *= 3e4
    resaved(folder, weights)
    decoder = Loaded.open(folder, torch.float16).decoder
    with pytest.raises(ModelError, match="or too large for its dtype") as caught:
        list(Loop(decoder, [Request((1, 2, 3), 5)], 100, Timings()).run())
    assert caught.value.hint is not None
    assert "--dtype float32" in caught.value.hint
    decoder = Loaded.open(folder, torch.float32).decoder
    assert len(list(Loop(decoder, [Request((1, 2, 3), 5)], 100, Timings()).run())) == 5
