"""Checkpoint folders that can't be: each is refused as a `ModelError` that names what is wrong."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmtool import ModelError
from lmtool.engine.families.table import FAMILIES
from lmtool.engine.weights.checkpoint import open_checkpoint
from reference.loaded import Loaded
from reference.random_checkpoints import Case
from reference.safetensors_files import data_of, header_of, written

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n"


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Case("single", "Llama").save(tmp_path_factory.mktemp("single"))


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    Case("sharded", "Llama").save(folder, max_shard_size="60KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 3
    return folder


@pytest.fixture
def folder(single: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(single, tmp_path / "model"))


@pytest.fixture
def shards(sharded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sharded, tmp_path / "model"))


def refusal(folder: Path) -> str:
    """The one line with which a folder is refused, its path written FOLDER."""
    with pytest.raises(ModelError) as caught:
        Loaded.open(folder)
    message = caught.value.message.replace(str(folder), "FOLDER")
    assert "\n" not in message
    assert len(message) < 500
    return message


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_folders_that_are_none(tmp_path: Path, folder: Path) -> None:
    assert refusal(tmp_path / "nothing") == "no such model folder: `FOLDER`"
    assert refusal(tmp_path / ("long" * 100)) == "cannot open `FOLDER`: File name too long"
    assert refusal(folder / CONFIG) == "`FOLDER` is a file, not a model folder"
    assert refusal(folder / CONFIG / "deeper") == "cannot open `FOLDER`: Not a directory"
    assert refusal(tmp_path) == "`FOLDER` is not a model folder: it has no config.json"


CONFIGS = {
    "": "is not JSON",
    "{": "is not JSON",
    '{"a": 1} x': "is not JSON",
    "\xff\xfe": "is not JSON",
    '{"a":' * 100_000: "is not JSON",
    "[]": "is not a JSON object",
    "null": "is not a JSON object",
    '"llama"': "is not a JSON object",
    POINTER: "is a Git LFS pointer, not the file itself",
    "{}": "has no `model_type`, so its architecture is unknown",
    '{"model_type": 1}': "has no `model_type`, so its architecture is unknown",
    '{"model_type": ["llama"]}': "has no `model_type`, so its architecture is unknown",
}


@pytest.mark.parametrize("text", CONFIGS, ids=lambda text: text[:12])
def test_configs_that_are_none(folder: Path, text: str) -> None:
    (folder / CONFIG).write_bytes(text.encode("latin-1"))
    assert refusal(folder).startswith(f"`FOLDER/config.json` {CONFIGS[text]}")


def test_a_config_that_is_a_folder(folder: Path) -> None:
    (folder / CONFIG).unlink()
    (folder / CONFIG).mkdir()
    assert refusal(folder) == "cannot read `FOLDER/config.json`: Is a directory"


def test_an_unknown_architecture_is_named_with_the_known_ones(folder: Path) -> None:
    change(folder / CONFIG, model_type="llama17")
    with pytest.raises(ModelError, match="is of architecture `llama17`") as caught:
        open_checkpoint(folder)
    assert caught.value.hint is not None
    assert all(name in caught.value.hint for name in ("llama", "mistral", "qwen2", "qwen3"))
    assert {"llama", "mistral", "qwen2", "qwen3"} <= FAMILIES.keys()


def test_a_generation_config_may_be_missing_but_not_broken(folder: Path) -> None:
    path = folder / "generation_config.json"
    path.unlink(missing_ok=True)
    Loaded.open(folder)
    path.write_text("{")
    assert refusal(folder).startswith("`FOLDER/generation_config.json` is not JSON")


def test_no_weights_at_all(folder: Path) -> None:
    (folder / SINGLE).rename(folder / "other.safetensors")
    assert refusal(folder) == (
        f"`FOLDER` has neither {SINGLE} nor {INDEX}, only `other.safetensors`"
    )
    (folder / "other.safetensors").rename(folder / "model.gguf")
    assert refusal(folder) == (
        "`FOLDER` holds its weights as `model.gguf`, which lmtool doesn't read"
    )
    (folder / "model.gguf").unlink()
    assert refusal(folder) == f"`FOLDER` has no weights: neither {SINGLE} nor {INDEX}"


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_a_pickle_is_refused_and_never_opened(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / SINGLE).unlink()
    trace = tmp_path / "sprung"
    (folder / name).write_bytes(pickle.dumps({"lm_head.weight": Trap(trace)}))
    (folder / name).chmod(0o000)
    assert refusal(folder) == (
        f"`FOLDER` holds its weights as pickle (`{name}`), which could run code and is never opened"
    )
    assert not trace.exists()


def test_a_trap_beside_safetensors_stays_shut(folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "sprung"
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt"):
        (folder / name).write_bytes(pickle.dumps(Trap(trace)))
    Loaded.open(folder)
    assert not trace.exists()
    pickle.loads((folder / "optimizer.pt").read_bytes())
    assert trace.exists(), "the trap wouldn't have sprung"


def test_missing_shards_are_named(shards: Path) -> None:
    names = sorted(path.name for path in shards.glob("model-*"))
    (shards / names[1]).unlink()
    assert refusal(shards) == (
        f"`FOLDER` lacks 1 of the {len(names)} shards that {INDEX} names: {names[1]}"
    )
    for name in names[2:]:
        (shards / name).unlink()
    message = refusal(shards)
    assert f"lacks {len(names) - 1} of the {len(names)} shards" in message
    assert ", ".join(names[1:4]) in message


def test_a_shard_cut_short_or_a_pointer_is_named(shards: Path) -> None:
    shard = min(shards.glob("model-*"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10])
    assert refusal(shards) == (
        f"`FOLDER/{shard.name}` is cut short: {len(whole)} bytes expected, {len(whole) - 10} there"
    )
    shard.write_text(POINTER)
    assert refusal(shards) == (
        f"`FOLDER/{shard.name}` is a Git LFS pointer, not the weights themselves"
    )


@pytest.mark.parametrize(
    "name",
    ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", ".", "", "x/", 5, None, ["x"]],
    ids=repr,
)
def test_an_index_that_points_outside_its_folder(shards: Path, name: object) -> None:
    index = json.loads((shards / INDEX).read_text())
    index["weight_map"]["lm_head.weight"] = name
    (shards / INDEX).write_text(json.dumps(index))
    assert refusal(shards) == f"`FOLDER/{INDEX}` names a shard outside its folder: {name!r}"


@pytest.mark.parametrize("places", [{}, [], None, "model.safetensors", 1], ids=repr)
def test_an_index_without_a_map(shards: Path, places: object) -> None:
    (shards / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert refusal(shards) == f"`FOLDER/{INDEX}` has no weight_map"


def test_an_index_that_is_wrong_about_a_shard(shards: Path) -> None:
    index = json.loads((shards / INDEX).read_text())
    places = index["weight_map"]
    names = sorted(set(places.values()))
    held_last = next(tensor for tensor, name in places.items() if name == names[-1])
    places[held_last] = names[0]
    (shards / INDEX).write_text(json.dumps(index))
    assert refusal(shards) == (
        f"`FOLDER/{names[0]}` lacks `{held_last}`, which {INDEX} says it holds"
    )
    (shards / INDEX).write_text("{")
    assert refusal(shards).startswith(f"`FOLDER/{INDEX}` is not JSON")


def test_a_name_that_no_file_can_have(shards: Path) -> None:
    index = json.loads((shards / INDEX).read_text())
    for name in ("x" * 300, "nul\0", "\ud800"):
        index["weight_map"]["lm_head.weight"] = name
        (shards / INDEX).write_text(json.dumps(index))
        assert refusal(shards)


def test_one_file_goes_before_an_index_that_an_earlier_save_left(folder: Path) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": {"x": "gone.safetensors"}}))
    Loaded.open(folder)


def with_weights(folder: Path, **changed: torch.Tensor | None) -> Path:
    """Change weights by name, or with None leave them out; `__` stands for a dot."""
    weights = load_file(folder / SINGLE)
    for name, tensor in changed.items():
        name = name.replace("__", ".")
        if tensor is None:
            del weights[name]
        else:
            weights[name] = tensor
    save_file(weights, folder / SINGLE, metadata={"format": "pt"})
    return folder


def test_shapes_that_contradict_the_config(folder: Path) -> None:
    with_weights(folder, model__norm__weight=torch.ones(47))
    assert refusal(folder) == (
        f"`FOLDER/{SINGLE}`: `model.norm.weight` has shape [47], but config.json implies [48]"
    )


@pytest.mark.parametrize(
    ("field", "value", "weight", "there", "implied"),
    [
        ("vocab_size", 212, "model.embed_tokens", [211, 48], [212, 48]),
        ("intermediate_size", 81, "model.layers.0.mlp.gate_proj", [80, 48], [81, 48]),
        ("num_key_value_heads", 3, "model.layers.0.self_attn.k_proj", [16, 48], [24, 48]),
        ("head_dim", 16, "model.layers.0.self_attn.q_proj", [48, 48], [96, 48]),
    ],
)
def test_a_config_that_contradicts_the_shapes(
    folder: Path, field: str, value: int, weight: str, there: list[int], implied: list[int]
) -> None:
    change(folder / CONFIG, **{field: value})
    assert refusal(folder) == (
        f"`FOLDER/{SINGLE}`: `{weight}.weight` has shape {there}, but config.json implies {implied}"
    )


def test_a_missing_weight(folder: Path) -> None:
    with_weights(folder, model__layers__1__mlp__up_proj__weight=None)
    assert refusal(folder) == "`FOLDER` lacks the weight `model.layers.1.mlp.up_proj.weight`"
    change(folder / CONFIG, mlp_bias=True)
    assert refusal(folder) == "`FOLDER` lacks the weight `model.layers.0.mlp.gate_proj.bias`"


def test_superfluous_weights(folder: Path) -> None:
    with_weights(folder, model__layers__0__mlp__up_proj__bias=torch.ones(80))
    assert refusal(folder) == (
        "`FOLDER` holds 1 weights that its config.json has no place for, "
        "such as `model.layers.0.mlp.up_proj.bias`"
    )


def test_a_layer_more_than_the_config_says(folder: Path) -> None:
    change(folder / CONFIG, num_hidden_layers=2)
    assert "holds 9 weights that its config.json has no place for" in refusal(folder)


def test_weights_that_nobody_needs_may_be_there(folder: Path) -> None:
    with_weights(folder, model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(4))
    Loaded.open(folder)


@pytest.mark.parametrize("dtype", ["I32", "U32", "U8", "BOOL", "F8_E4M3"])
def test_weights_in_a_dtype_that_is_no_weight(folder: Path, dtype: str) -> None:
    """Of the right shape, but whole numbers, flags or bytes of some packed format."""
    header, data = header_of(folder / SINGLE), data_of(folder / SINGLE)
    name = "model.norm.weight"
    begin, end = header[name]["data_offsets"]
    if not dtype.endswith("32"):
        # One byte each: the rest goes to a tensor that nobody needs.
        spare = {"dtype": "U8", "shape": [144], "data_offsets": [begin + 48, end]}
        header["rotary_emb.inv_freq"] = spare
        end = begin + 48
    header[name] |= {"dtype": dtype, "data_offsets": [begin, end]}
    written(folder / SINGLE, header, data)
    assert refusal(folder) == (
        f"`FOLDER/{SINGLE}`: `{name}` is stored as {dtype}, which lmtool doesn't read"
    )
