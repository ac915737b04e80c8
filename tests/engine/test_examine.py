"""What `doctor` finds and `inspect` tells, without a byte of weights read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lmtool import ModelError
from lmtool.engine.cache.static import StaticCache
from lmtool.engine.examine import Examination, Finding
from lmtool.engine.facts import active_parameters, cache_bytes, checkpoint_facts
from lmtool.engine.loop import CHUNK
from lmtool.engine.spec import (
    AttentionSpec,
    ExpertsSpec,
    LayerSpec,
    MlpSpec,
    ModelSpec,
    NormSpec,
    RouterSpec,
)
from reference import chats
from reference.loaded import CPU, Loaded
from reference.random_checkpoints import Case

MISTRAL = Case("mistral", "Mistral", {"sliding_window": 13})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return MISTRAL.save(tmp_path / "checkpoint", max_shard_size="60KB")


def errors(folder: Path) -> list[Finding]:
    examination = Examination(folder)
    found = [finding for finding in examination.findings if finding.level == "error"]
    assert examination.failed == bool(found)
    return found


def change_config(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_whole_checkpoint_has_no_faults(folder: Path) -> None:
    assert errors(folder) == []


def test_several_faults_come_in_one_run(folder: Path) -> None:
    shards = sorted(folder.glob("*.safetensors"))
    with shards[0].open("r+b") as file:
        file.truncate(shards[0].stat().st_size - 10)
    shards[1].unlink()
    shards[2].write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (folder / "tokenizer.json").write_text("{")
    messages = " | ".join(finding.message for finding in errors(folder))
    for fact in (
        "cut short",
        shards[1].name,
        "Git LFS pointer",
        "tokenizer.json",
        "lacks the weight",
    ):
        assert fact in messages


def test_config_and_weights_that_contradict_each_other(folder: Path) -> None:
    change_config(folder, intermediate_size=96)
    found = errors(folder)
    assert "has shape [80, 48], but config.json implies [96, 48]" in found[0].message
    assert found[-1].message.endswith("more like these")


def test_a_layer_too_many_on_disk(folder: Path) -> None:
    change_config(folder, num_hidden_layers=2)
    (found,) = errors(folder)
    assert "weights that its config.json has no place for" in found.message


def test_no_folder_no_config_unknown_family(folder: Path, tmp_path: Path) -> None:
    assert "no such model folder" in errors(tmp_path / "none")[0].message
    change_config(folder, model_type="rwkv")
    assert "rwkv" in errors(folder)[0].message
    (folder / "config.json").unlink()
    assert "no config.json" in errors(folder)[0].message


def test_memory_is_a_warning_not_a_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmtool.engine.examine.available_memory", lambda: 1000)
    levels = {finding.check: finding.level for finding in Examination(folder).findings}
    assert levels["memory"] == "warning"


def test_loading_fails_exactly_where_the_examination_does(folder: Path) -> None:
    change_config(folder, num_key_value_heads=6)
    assert errors(folder)
    with pytest.raises(ModelError):
        Loaded.open(folder)


def test_facts_agree_with_the_loaded_model(folder: Path) -> None:
    facts = checkpoint_facts(folder, 300)
    model = MISTRAL.model()
    assert facts["parameters"]["total"] == sum(p.numel() for p in model.parameters())
    assert sum(facts["parameters"]["by_part"].values()) == facts["parameters"]["total"]
    loaded = Loaded.open(folder)
    cache = StaticCache(loaded.decoder.spec, 1, 300, CHUNK, loaded.decoder.dtype, CPU)
    cache.reserve(0, 300)
    assert facts["memory"]["cache"] == cache.nbytes


def test_window_layers_are_reckoned_as_windows(folder: Path) -> None:
    spec = Loaded.open(folder).decoder.spec
    both = (cache_bytes(spec, length, torch.float32) for length in (10_000, 13 + CHUNK))
    assert len(set(both)) == 1


@pytest.mark.parametrize("kv_dtype", ["float32", "bfloat16", "int8"])
def test_the_cache_is_reckoned_in_its_own_dtype(folder: Path, kv_dtype: str) -> None:
    spec, dtype = Loaded.open(folder).decoder.spec, getattr(torch, kv_dtype)
    cache = StaticCache(spec, 1, 300, CHUNK, dtype, CPU)
    memory = checkpoint_facts(folder, 300, kv_dtype)["memory"]
    assert (memory["cache"], memory["kv_dtype"]) == (cache.nbytes, kv_dtype)
    [finding] = [f for f in Examination(folder, 300, kv_dtype).findings if f.check == "memory"]
    assert f"{cache.nbytes / 2**20:,.1f} MiB of cache" in finding.message


def test_only_chosen_experts_are_active() -> None:
    expert = MlpSpec(8)
    feed = ExpertsSpec(count=4, active=1, expert=expert, router=RouterSpec())
    layer = LayerSpec(AttentionSpec(2, 2, 4), feed, NormSpec(1e-6))
    spec = ModelSpec(10, 8, (layer,), NormSpec(1e-6), 16)
    sizes = {f"layers.0.feed.experts.{i}.up.weight": 64 for i in range(4)}
    assert active_parameters(spec, sizes | {"embed.weight": 80}) == 64 + 80


@pytest.mark.parametrize(
    ("template", "level", "words"),
    [
        ("{{ messages[0].content }}{{ eos_token }}", "ok", "a token that ends a text"),
        ("<user>{{ messages[0].content }}", "ok", "spells no token"),
        ("{{ raise_exception('a system message comes first') }}</s>", "ok", "ends a text"),
        ("[INST]{{ messages[0].content }}[/INST]", "warning", "none of which ends a text"),
        ("{% if %}</s>", "warning", "it is not valid Jinja, line 1"),
        ("</s>{{ nothing.at_all }}", "warning", "it fails, line 1: 'nothing' is undefined"),
        ("{{ ''.__class__.x }}</s>", "warning", "unsafe"),
    ],
)
def test_a_chat_template_is_tried(folder: Path, template: str, level: str, words: str) -> None:
    chats.save_chat_tokenizer(folder, template)
    (found,) = [one for one in Examination(folder).findings if one.check == "chat template"]
    assert found.level == level
    assert words in found.message
    assert (found.hint is None) == (level == "ok")
