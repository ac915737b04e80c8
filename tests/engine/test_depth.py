"""Layers cost what they should: memory grows with their number, and windows hold no more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lmtool.engine.cache.static import StaticCache
from lmtool.engine.spec import AttentionSpec, LatentSpec, ModelSpec
from lmtool.engine.weights.checkpoint import open_checkpoint
from lmtool.engine.weights.load import load_decoder
from reference.cases_experts import CASES
from reference.loaded import CPU, Loaded
from reference.random_checkpoints import Case, random_ids, reference_logprobs

WIDTHS = {"hidden_size": 24, "intermediate_size": 32, "num_attention_heads": 3}


def deep(layers: int) -> Case:
    changes = {**WIDTHS, "num_key_value_heads": 1, "num_hidden_layers": layers}
    return Case(f"{layers} layers", "Llama", changes)


def test_a_hundred_layers_run(tmp_path: Path) -> None:
    loaded, ids = Loaded.open(deep(100).save(tmp_path)), random_ids(40)
    wanted = reference_logprobs(tmp_path, ids)
    for widths in ([40], [9, 1, 30]):
        got = loaded.logprobs(ids, widths, loaded.cache())
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)


def test_memory_grows_with_the_layers_and_with_nothing_else(tmp_path: Path) -> None:
    bytes_held: list[int] = []
    parameters: list[int] = []
    for layers in (10, 20, 100):
        folder = deep(layers).save(tmp_path / str(layers))
        decoder, reader = load_decoder(open_checkpoint(folder), None, CPU)
        cache = StaticCache(decoder.spec, 2, 1000, 64, torch.float32, CPU)
        cache.reserve(0, 700)
        bytes_held.append(cache.nbytes)
        parameters.append(reader.parameters)
    assert bytes_held == [layers * bytes_held[0] // 10 for layers in (10, 20, 100)]
    each = (parameters[1] - parameters[0]) // 10
    assert parameters[2] - parameters[1] == 80 * each


def spec_of(name: str, folder: Path) -> ModelSpec:
    case = next(case for case in CASES if case.name == name)
    return open_checkpoint(case.save(folder)).spec


@pytest.mark.parametrize("name", ["mixtral window", "gpt_oss", "qwen2_moe window"])
def test_window_layers_hold_only_their_window(name: str, tmp_path: Path) -> None:
    """Of 4000 tokens, read 16 at a time, a window layer keeps its window and one piece."""
    spec, slack, length = spec_of(name, tmp_path), 16, 4000
    cache = StaticCache(spec, 1, length, slack, torch.float32, CPU)
    cache.reserve(0, length)
    expected = 0
    for layer in spec.layers:
        mixer = layer.mixer
        assert isinstance(mixer, AttentionSpec)
        slots = length if mixer.window is None else mixer.window + slack
        expected += 2 * 4 * mixer.kv_heads * mixer.head_dim * slots
    assert cache.nbytes == expected
    assert any(layer.mixer.window for layer in spec.layers)


def test_latent_layers_hold_only_their_latent(tmp_path: Path) -> None:
    """A position costs its latent and its turned key, however many heads read them."""
    spec = spec_of("deepseek_v3", tmp_path)
    mixer = spec.layers[0].mixer
    assert isinstance(mixer, LatentSpec)
    cache = StaticCache(spec, 1, 300, 16, torch.float32, CPU)
    held = mixer.kv_rank + mixer.rope.width
    assert cache.nbytes == len(spec.layers) * 4 * 300 * held
    many = replace(mixer, heads=100 * mixer.heads)
    crowded = replace(spec, layers=(replace(spec.layers[0], mixer=many),) * len(spec.layers))
    assert StaticCache(crowded, 1, 300, 16, torch.float32, CPU).nbytes == cache.nbytes
