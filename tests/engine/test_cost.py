"""Bytes read and operations done, against sums by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lmtool.engine.cost import Cost, cache_bytes_read, held_bytes, prompt_flops, weight_bytes
from reference.loaded import Loaded
from reference.random_checkpoints import SMALL, VOCAB, Case

M, F = SMALL["hidden_size"], SMALL["intermediate_size"]
HEADS, GROUPS, WIDTH = 6, 2, 8
ATTENTION = M * (HEADS + 2 * GROUPS) * WIDTH + HEADS * WIDTH * M
MLP = 3 * M * F
LAYERS = SMALL["num_hidden_layers"]
MATRICES = LAYERS * (ATTENTION + MLP)
HEAD = VOCAB * M


def opened(folder: Path, family: str, dtype: torch.dtype | None = None, **changes) -> Loaded:
    return Loaded.open(Case("cost", family, changes).save(folder), dtype)


def test_a_step_reads_every_matrix_once(tmp_path: Path) -> None:
    decoder = opened(tmp_path, "Llama").decoder
    assert weight_bytes(decoder) == 4 * (MATRICES + HEAD)
    assert weight_bytes(decoder, rows=8) == weight_bytes(decoder)
    assert held_bytes(decoder) == weight_bytes(decoder) + 4 * HEAD  # the embedding


def test_weights_count_in_the_dtype_they_are_held_in(tmp_path: Path) -> None:
    wide = opened(tmp_path, "Llama").decoder
    narrow = Loaded.open(tmp_path, torch.bfloat16).decoder
    assert weight_bytes(narrow) == weight_bytes(wide) / 2


def test_of_experts_only_those_are_read_that_rows_choose(tmp_path: Path) -> None:
    changes = {"num_local_experts": 4, "num_experts_per_tok": 2}
    decoder = opened(tmp_path, "Mixtral", **changes).decoder
    common = 4 * (LAYERS * (ATTENTION + 4 * M) + HEAD)
    every = 4 * LAYERS * 4 * MLP
    assert weight_bytes(decoder) == pytest.approx(common + every / 2)
    assert weight_bytes(decoder, rows=2) == pytest.approx(common + every * 3 / 4)
    assert weight_bytes(decoder, rows=100) == pytest.approx(common + every)
    attention = 4 * HEADS * WIDTH * LAYERS  # at a first token, which sees itself
    active = 2 * (LAYERS * (ATTENTION + 4 * M + 2 * MLP) + HEAD)
    assert prompt_flops(decoder.spec, 0, 1) == active + attention


def test_a_prompt_multiplies_by_every_matrix_and_attends_to_what_is_before(tmp_path: Path) -> None:
    spec = opened(tmp_path, "Llama").decoder.spec
    keys = 11 + 12 + 13  # three tokens behind ten
    attention = LAYERS * 2 * HEADS * 2 * WIDTH * keys
    assert prompt_flops(spec, 10, 3) == 2 * MATRICES * 3 + 2 * HEAD + attention
    assert prompt_flops(spec, 10, 0) == 0


def test_a_tied_head_is_read_though_the_embedding_is_not(tmp_path: Path) -> None:
    decoder = opened(tmp_path, "Llama", tie_word_embeddings=True).decoder
    assert weight_bytes(decoder) == 4 * (MATRICES + HEAD)
    assert prompt_flops(decoder.spec, 0, 1) > 2 * (MATRICES + HEAD)


@pytest.mark.parametrize(
    ("begin", "tokens", "keys"),
    [(0, 1, 1), (10, 1, 11), (10, 3, 12), (0, 0, 0)],
)
def test_cache_bytes_are_the_mean_over_steps(
    tmp_path: Path, begin: int, tokens: int, keys: int
) -> None:
    spec = opened(tmp_path, "Llama").decoder.spec
    expected = keys * LAYERS * GROUPS * 2 * WIDTH * 2
    assert cache_bytes_read(spec, begin, tokens, torch.bfloat16) == expected


def test_codes_are_read_with_their_scales(tmp_path: Path) -> None:
    spec = opened(tmp_path, "Llama").decoder.spec
    each = LAYERS * GROUPS * 2 * (WIDTH + 4)  # a float32 for each head of 8
    assert cache_bytes_read(spec, 10, 1, torch.int8) == 11 * each


def test_a_window_bounds_what_is_read(tmp_path: Path) -> None:
    spec = opened(tmp_path, "Mistral", sliding_window=9, head_dim=WIDTH).decoder.spec
    each = LAYERS * GROUPS * 2 * WIDTH * 4
    assert cache_bytes_read(spec, 100, 5, torch.float32) == 9 * each
    assert cache_bytes_read(spec, 6, 4, torch.float32) == (7 + 8 + 9 + 9) / 4 * each


def test_rows_add_up(tmp_path: Path) -> None:
    decoder = opened(tmp_path, "Llama").decoder
    one, four = (Cost.of(decoder, rows, 5, 7, 3) for rows in (1, 4))
    assert four.weight_bytes == one.weight_bytes
    assert four.cache_bytes == 4 * one.cache_bytes
    assert four.prompt_flops == 4 * one.prompt_flops
    assert one.step_bytes == one.weight_bytes + one.cache_bytes
