"""LoRA adapters: what peft computes with them beside the model, we do with them added to it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lmtool import ModelError
from lmtool.engine.weights.adapter import Lora
from lmtool.engine.weights.checkpoint import open_checkpoint
from lmtool.engine.weights.load import load_decoder
from lmtool.engine.weights.save import save_quantized
from lmtool.engine.weights.shapes import adapt
from reference.adapters import change_config, peft_logprobs, save_adapter
from reference.cases import CASES
from reference.loaded import CPU, Loaded
from reference.random_checkpoints import random_ids, reference_logprobs

IDS = random_ids(14)
SOME = ["q_proj", "v_proj", "down_proj"]
TIED = {"tie_word_embeddings": True}


def opened(
    folder: Path,
    loras: Sequence[Lora],
    dtype: torch.dtype | None = None,
    quant: Any = None,
) -> Loaded:
    checkpoint = open_checkpoint(folder)
    adapted = adapt(checkpoint, loras)
    checkpoint = checkpoint if adapted is None else adapted.checkpoint
    decoder = load_decoder(checkpoint, dtype, CPU, quant=quant, adapted=adapted)[0]
    return Loaded(folder, decoder)


def logprobs(folder: Path, *loras: Lora, **options: Any) -> Tensor:
    loaded = opened(folder, loras, **options)
    return loaded.logprobs(IDS, [len(IDS)], loaded.cache())


def checkpoint_of(name: str, folder: Path, **changes: Any) -> Path:
    case = next(case for case in CASES if case.name == name)
    return replace(case, changes=case.changes | {"num_hidden_layers": 2} | changes).save(folder)


def same(ours: Tensor, theirs: Tensor) -> bool:
    return bool((ours - theirs).abs().max() < 2e-4)


FAMILIES = ("llama", "gpt2", "phi3", "gpt_neox", "falcon", "bloom", "mpt", "gemma3")
MIXTURES = ("mixtral", "qwen2_moe", "granitemoe", "gpt_oss", "deepseek_v3")


@pytest.mark.parametrize("name", [*FAMILIES, *MIXTURES])
def test_every_linear_map_of_a_family(name: str, tmp_path: Path) -> None:
    base = checkpoint_of(name, tmp_path / "base")
    adapter = save_adapter(base, tmp_path / "adapter")
    theirs = peft_logprobs(base, [(adapter, 1.0)], IDS)
    assert not same(theirs, reference_logprobs(base, IDS))
    assert same(logprobs(base, Lora(adapter)), theirs)


FEATURES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "patterns": (
        "llama",
        {},
        {
            "use_rslora": True,
            "rank_pattern": {"q_proj": 7, r"layers\.1\.mlp\.down_proj": 3},
            "alpha_pattern": {"v_proj": 11, ".*up_proj": 1},
        },
    ),
    "chosen layers": ("llama", {}, {"target_modules": SOME, "layers_to_transform": [1]}),
    "a regex": ("llama", {}, {"target_modules": r".*\.1\..*(q|v)_proj", "lora_dropout": 0.2}),
    "all biases": ("qwen2", {}, {"bias": "all"}),
    "own biases, transposed": ("gpt2", {}, {"bias": "lora_only"}),
    "biases of factors": ("gpt2", {}, {"lora_bias": True}),
    "dora": ("phi3", {}, {"use_dora": True}),
    "dora, transposed": ("gpt2", {}, {"use_dora": True}),
    "dora of an embedding": ("llama", {}, {"use_dora": True, "target_modules": ["embed_tokens"]}),
    "embedding": ("gemma", {}, {"target_modules": ["embed_tokens", "q_proj"]}),
    "embedding alone, tied": ("llama", TIED, {"target_modules": [*SOME, "embed_tokens"]}),
    "head alone, tied": ("llama", TIED, {"target_modules": [*SOME, "lm_head"]}),
    "both alike, tied": (
        "llama",
        TIED,
        {"target_modules": ["embed_tokens"], "ensure_weight_tying": True},
    ),
    "positions": ("gpt2", {}, {"target_modules": ["wte", "wpe", "c_attn"]}),
    "saved head": ("llama", {}, {"target_modules": SOME, "modules_to_save": ["lm_head"]}),
    "saved head, tied": ("llama", TIED, {"target_modules": SOME, "modules_to_save": ["lm_head"]}),
    "saved embedding, tied": (
        "llama",
        TIED,
        {"target_modules": SOME, "modules_to_save": ["embed_tokens"]},
    ),
    "saved both, tied": (
        "llama",
        TIED,
        {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    ),
    "saved norms": ("llama", {}, {"modules_to_save": ["norm", "input_layernorm"]}),
    "tokens": ("llama", {}, {"trainable_token_indices": [9, 3, IDS[4], IDS[2]]}),
    "tokens, tied": ("llama", TIED, {"trainable_token_indices": [9, 3, IDS[4], IDS[2]]}),
    "a parameter": (
        "llama",
        {},
        {"target_modules": ["v_proj"], "target_parameters": ["q_proj.weight"]},
    ),
    "square experts": (
        "gpt_oss",
        {"intermediate_size": 48},
        {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.down_proj"]},
    ),
}


@pytest.mark.parametrize("feature", FEATURES)
def test_what_else_an_adapter_can_hold(feature: str, tmp_path: Path) -> None:
    name, changes, config = FEATURES[feature]
    base = checkpoint_of(name, tmp_path / "base", **changes)
    adapter = save_adapter(base, tmp_path / "adapter", **config)
    theirs = peft_logprobs(base, [(adapter, 1.0)], IDS)
    assert not same(theirs, reference_logprobs(base, IDS))
    assert same(logprobs(base, Lora(adapter)), theirs)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint_of("llama", tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(base, tmp_path_factory.mktemp("adapter"), target_modules=SOME)


@pytest.fixture
def broken(adapter: Path, tmp_path: Path) -> Path:
    """A copy of the adapter to spoil."""
    return Path(shutil.copytree(adapter, tmp_path / "broken"))


def test_several_are_added_with_their_scales(base: Path, adapter: Path, tmp_path: Path) -> None:
    other = save_adapter(base, tmp_path / "other", seed=2, r=3, target_modules=["q_proj", "o_proj"])
    theirs = peft_logprobs(base, [(adapter, 0.5), (other, -1.5)], IDS)
    assert same(logprobs(base, Lora(adapter, 0.5), Lora(other, -1.5)), theirs)
    assert same(logprobs(base, Lora(other, -1.5), Lora(adapter, 0.5)), theirs)


def test_a_scale_of_dora_is_pefts(base: Path, tmp_path: Path) -> None:
    turned = save_adapter(base, tmp_path / "dora", use_dora=True)
    assert same(logprobs(base, Lora(turned, 0.4)), peft_logprobs(base, [(turned, 0.4)], IDS))


def test_scale_0_is_the_base_model_bit_for_bit(base: Path, adapter: Path) -> None:
    assert torch.equal(logprobs(base, Lora(adapter, 0.0)), logprobs(base))


def test_weights_that_no_adapter_touches_stay_the_files_own(base: Path, adapter: Path) -> None:
    plain, changed = opened(base, []), opened(base, [Lora(adapter)])
    assert torch.equal(plain.decoder.embed, changed.decoder.embed)
    checkpoint = open_checkpoint(base)
    adapted = adapt(checkpoint, [Lora(adapter)])
    assert adapted is not None
    assert adapted.changes("layers.0.mixer.q.weight")
    assert not adapted.changes("layers.0.mixer.k.weight")
    assert not adapted.changes("embed.weight")


def test_half_precision_is_rounded_once(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == "llama")
    base = case.save(tmp_path / "base", torch.bfloat16)
    adapter = save_adapter(base, tmp_path / "adapter")
    exact = peft_logprobs(base, [(adapter, 1.0)], IDS)
    half = logprobs(base, Lora(adapter))
    assert 1e-3 < (half - exact).abs().mean() < 0.15
    assert same(logprobs(base, Lora(adapter), dtype=torch.float32), exact)


@pytest.mark.parametrize("quant", ["int8", "int4"])
def test_before_rounding_and_after(quant: Any, base: Path, adapter: Path, tmp_path: Path) -> None:
    lora = Lora(adapter)
    exact = logprobs(base, lora)
    first = logprobs(base, lora, quant=quant)
    far = (logprobs(base) - exact).abs().mean()
    assert (first - exact).abs().mean() < far / 2
    save_quantized(open_checkpoint(base), quant, tmp_path / "plain")
    afterwards = logprobs(tmp_path / "plain", lora)
    assert (afterwards - exact).abs().mean() < far / 2
    save_quantized(open_checkpoint(base), quant, tmp_path / "merged", loras=[lora])
    assert torch.equal(logprobs(tmp_path / "merged"), first)


def test_a_tied_head_unties_where_it_is_quantized(tmp_path: Path) -> None:
    base = checkpoint_of("llama", tmp_path / "base", **TIED)
    adapter = save_adapter(base, tmp_path / "adapter", target_modules=["lm_head"])
    exact = logprobs(base, Lora(adapter))
    save_quantized(open_checkpoint(base), "int8", tmp_path / "plain")
    save_quantized(open_checkpoint(base), "int8", tmp_path / "merged", loras=[Lora(adapter)])
    for ours in (logprobs(tmp_path / "plain", Lora(adapter)), logprobs(tmp_path / "merged")):
        assert (ours - exact).abs().mean() < 0.1


def test_experts_named_one_by_one(tmp_path: Path) -> None:
    """As adapters were before transformers held experts together, whichever the files do."""
    base = checkpoint_of("mixtral", tmp_path / "base")
    case = next(case for case in CASES if case.name == "mixtral")
    case = replace(case, changes=case.changes | {"num_hidden_layers": 2})
    case.save(tmp_path / "together", save_original_format=False)
    adapter = save_adapter(base, tmp_path / "adapter", target_modules=["q_proj"])
    generator = torch.Generator().manual_seed(3)
    tensors = load_file(adapter / "adapter_model.safetensors")
    for expert in range(5):
        for name, outputs, inputs in (("w1", 80, 48), ("w2", 48, 80), ("w3", 80, 48)):
            module = f"base_model.model.model.layers.1.block_sparse_moe.experts.{expert}.{name}"
            tensors[f"{module}.lora_A.weight"] = torch.randn(4, inputs, generator=generator) * 0.2
            tensors[f"{module}.lora_B.weight"] = torch.randn(outputs, 4, generator=generator) * 0.2
    save_file(tensors, adapter / "adapter_model.safetensors")
    change_config(
        adapter, lambda config: config.update(target_modules=["q_proj", "w1", "w2", "w3"])
    )
    theirs = peft_logprobs(base, [(adapter, 1.0)], IDS)
    assert same(logprobs(base, Lora(adapter)), theirs)
    assert same(logprobs(tmp_path / "together", Lora(adapter)), theirs)


def test_a_fingerprint_is_of_tensors_config_and_scale(
    base: Path, adapter: Path, broken: Path
) -> None:
    def digest(*loras: Lora) -> str:
        adapted = adapt(open_checkpoint(base), loras)
        assert adapted is not None
        return adapted.fingerprint

    first = digest(Lora(adapter))
    assert digest(Lora(broken)) == first  # wherever it lies
    assert digest(Lora(adapter, 0)) == ""
    different = {first, digest(Lora(adapter, 0.5)), digest(Lora(adapter), Lora(adapter))}
    change_config(broken, lambda config: config.update(lora_alpha=7))
    different.add(digest(Lora(broken)))
    assert len(different) == 4


def refused(base: Path, folder: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        logprobs(base, Lora(folder))
    assert "\n" not in caught.value.message
    return caught.value


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "another kind": ({"peft_type": "LOHA"}, "of the kind LOHA"),
    "no kind": ({"peft_type": None}, "describes no adapter"),
    "no alpha": ({"lora_alpha": ...}, "lacks `lora_alpha`"),
    "no rank": ({"r": ...}, "lacks `r`"),
    "a senseless alpha": ({"lora_alpha": "x"}, "`lora_alpha` is 'x', not a number"),
    "infinite": ({"lora_alpha": 1e999}, "not a number"),
    "rank 0": ({"r": 0}, "`r` is 0, not a whole number, 1 or more"),
    "another rank": ({"r": 5}, "have rank 4, but adapter_config.json says 5"),
    "a senseless pattern": ({"rank_pattern": {"(": 4}}, "`(` is no pattern of names"),
    "senseless ranks": ({"rank_pattern": {"q": "a"}}, "not an object of numbers"),
    "a changed base": ({"init_lora_weights": "pissa"}, "`init_lora_weights` is pissa"),
    "copied layers": ({"layer_replication": [[0, 1]]}, "`layer_replication` makes another LoRA"),
    "unknown": ({"use_tomorrows_lora": True}, "`use_tomorrows_lora` makes another LoRA"),
    "not dora": ({"use_dora": True}, "lacks its lora_magnitude_vector"),
    "tokens": ({"trainable_token_indices": [True]}, "not a list of token ids"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_that_is_wrong_is_named(name: str, base: Path, broken: Path) -> None:
    changes, said = CONFIGS[name]

    def change(config: dict[str, Any]) -> None:
        config.update(changes)
        for key in [key for key, value in changes.items() if value is ...]:
            del config[key]

    change_config(broken, change)
    assert said in refused(base, broken).message


@pytest.mark.parametrize("changes", [{"target_modules": None}, {"use_new": False}, {"new": "x"}])
def test_what_changes_nothing_is_let_pass(changes: Any, base: Path, broken: Path) -> None:
    change_config(broken, lambda config: config.update(changes))
    assert not same(logprobs(base, Lora(broken)), logprobs(base))


def test_tensors_that_are_wrong_are_named(base: Path, adapter: Path, broken: Path) -> None:
    path = broken / "adapter_model.safetensors"
    good = load_file(path)
    q = "base_model.model.model.layers.0.self_attn.q_proj"
    spoilt: list[tuple[dict[str, Tensor | None], str]] = [
        ({f"{q}.lora_B.weight": None}, "`model.layers.0.self_attn.q_proj` lacks its lora_B"),
        ({f"{q}.lora_B.weight": torch.zeros(40, 4)}, "shape [40, 48], which doesn't fit"),
        ({f"{q}.lora_A.weight": torch.zeros(4, 32)}, "which doesn't fit the model's [48, 48]"),
        ({f"{q}.lora_A.weight": torch.zeros(4)}, "make no product"),
        ({f"{q}.lora_A.weight": torch.zeros(4, 48, dtype=torch.uint8)}, "stored as U8, not"),
        ({f"{q}.lora_A.weight": torch.full((4, 48), torch.nan)}, f"`{q}.lora_A.weight` holds"),
        ({f"{q}.lora_B.weight": torch.full((48, 4), torch.inf)}, f"`{q}.lora_B.weight` holds"),
        ({"base_model.model.model.norm.weight": torch.zeros(9)}, "doesn't fit the model's [48]"),
        ({"base_model.model.lm_head.weight": torch.zeros(300, 48)}, "[300, 48] doesn't fit"),
    ]
    for changes, said in spoilt:
        tensors = {name: t for name, t in (good | changes).items() if t is not None}
        save_file(tensors, path)
        assert said in refused(base, broken).message
    path.write_bytes((adapter / path.name).read_bytes()[:-100])
    assert "cut short" in refused(base, broken).message
    path.write_bytes(b"")
    assert "cut short" in refused(base, broken).message


def test_an_adapter_of_another_base(base: Path, tmp_path: Path) -> None:
    other = checkpoint_of("gpt2", tmp_path / "other")
    adapter = save_adapter(other, tmp_path / "adapter")
    fault = refused(base, adapter)
    assert "has no place for it: `base_model.model." in fault.message
    assert fault.message.endswith(" more")
    assert fault.hint == f"it was made for `{other}`"
    deeper = checkpoint_of("llama", tmp_path / "deeper", num_hidden_layers=3)
    adapter = save_adapter(deeper, tmp_path / "deep", target_modules=["q_proj"])
    fault = refused(base, adapter)
    assert "no place for 2 of its 6 tensors: " in fault.message


def test_folders_that_hold_no_adapter(base: Path, adapter: Path, broken: Path) -> None:
    assert refused(base, base).message.endswith("it has no adapter_config.json")
    assert refused(base, broken / "nowhere").message.startswith("no such adapter")
    assert "is a file" in refused(base, adapter / "adapter_config.json").message
    assert torch.equal(
        logprobs(base, Lora(adapter / "adapter_model.safetensors")), logprobs(base, Lora(adapter))
    )
    (broken / "adapter_model.safetensors").rename(broken / "adapter_model.bin")
    fault = refused(base, broken)
    assert "pickle" in fault.message
    assert "safetensors" in (fault.hint or "")
    (broken / "adapter_model.bin").unlink()
    assert "has no adapter_model.safetensors" in refused(base, broken).message
    (broken / "adapter_config.json").write_text("{")
    assert "is not JSON" in refused(base, broken).message
    above = broken / "above"
    shutil.copytree(adapter, above / "default")
    assert "above/default" in (refused(base, above).hint or "")


def test_two_that_cannot_be_together(base: Path, tmp_path: Path) -> None:
    both = [
        save_adapter(base, tmp_path / f"{seed}", seed, modules_to_save=["layernorm"])
        for seed in (1, 2)
    ]
    turned = save_adapter(base, tmp_path / "dora", use_dora=True)
    plain = save_adapter(base, tmp_path / "plain")
    for pair, said in ((both, "both replace `model.layers.0.input"), ((plain, turned), "DoRA")):
        with pytest.raises(ModelError, match=said):
            logprobs(base, *map(Lora, pair))
