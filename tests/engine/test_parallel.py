"""Models shared by several processes, against the same models whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lmtool import UsageError
from lmtool.engine.launch import launched
from lmtool.engine.parallel import Plan, portion
from lmtool.engine.quant.int4 import Int4Weight
from lmtool.engine.quant.int8 import Int8Weight
from lmtool.engine.spec import AttentionSpec
from lmtool.engine.weights.checkpoint import open_checkpoint
from lmtool.engine.weights.load import load_decoder
from reference.cases import CASES
from reference.shared_model import compare

CPU = torch.device("cpu")
SHARED = (
    "llama",
    "llama biases",
    "llama multi-query",
    "llama tied",
    "qwen3",
    "mistral window",
    "gemma2 caps",
    "olmo2",
    "cohere normed",
    "glm4",
    "phi3",
    "apertus",
    "qwen2_moe",
    "flex_olmo",
    "deepseek_v2",
    "deepseek_v3",
    "gpt_oss",
    "gpt2",
    "gptj",
    "opt 350m",
    "gpt_neox",
    "phi qk norm",
    "stablelm 12b",
    "bloom",
    "falcon 40b",
    "falcon alibi",
    "mpt six heads",
)
"""Of each way in which layers differ, a kind of checkpoint that is made so."""

BY_NAME = {case.name: case for case in CASES}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("shared")
    return {name: BY_NAME[name].save(root / name.replace(" ", "_")) for name in SHARED}


@pytest.fixture(scope="module", params=[2, 4])
def found(
    request: pytest.FixtureRequest, folders: dict[str, Path], lmtool_environ: dict[str, str]
) -> dict[str, Any]:
    """What two and four processes find out about all of these checkpoints."""
    size = request.param
    names = SHARED if size == 4 else SHARED[::4]
    answers = compare([folders[name] for name in names], size, lmtool_environ)
    return dict(zip(names, answers, strict=True)) | {"size": size}


@pytest.mark.parametrize("name", SHARED)
def test_processes_together_say_what_one_says_alone(found: dict[str, Any], name: str) -> None:
    if name not in found:
        pytest.skip("four processes are enough for it")
    answer = found[name]
    assert "error" not in answer, answer
    assert answer["drift"] < 1e-4
    assert answer["spread"] > 0.5
    assert answer["alike"]
    assert answer["share"] <= -(-answer["heads"] // found["size"])


@pytest.mark.parametrize("name", ["llama", "deepseek_v2", "gpt_oss", "phi qk norm", "bloom"])
@pytest.mark.parametrize("size", [2, 3, 4, 6])
def test_shares_make_up_the_whole(folders: dict[str, Path], name: str, size: int) -> None:
    """Every number of every weight is somewhere; of what is cut, no process has all."""
    checkpoint = open_checkpoint(folders[name])
    plans = [Plan(checkpoint.spec, rank, size) for rank in range(size)]
    cut = 0
    for prefix in ("layers.0.mixer.", "layers.1.feed.", ""):
        for part in ("q", "k", "v", "kv", "out", "up", "down", "experts.0.up", "shared.down"):
            name = f"{prefix}{part}.weight" if prefix else "head.weight"
            cuts = [plan.cut(name) for plan in plans]
            if cuts[0] is None:
                continue
            cut += 1
            spans = [one.span for one in cuts if one is not None]
            assert {place for span in spans for place in span} == set(range(cuts[0].size))
            assert all(0 < len(span) < cuts[0].size for span in spans)
    assert cut > 5


def test_groups_keep_their_key_and_value() -> None:
    """A process's queries read the key-value heads that it has, in the same order."""
    for heads, kv_heads in ((6, 2), (8, 8), (8, 1), (12, 3), (32, 8)):
        spec = AttentionSpec(heads, kv_heads, 4)
        share = heads // kv_heads
        for size in range(1, heads + 1):
            seen: list[int] = []
            for rank in range(size):
                plan = object.__new__(Plan)
                plan.rank, plan.size = rank, size
                own = plan.heads(spec)
                seen += own.queries
                assert own.queries
                assert len(own.queries) % len(own.keys) == 0
                local = len(own.queries) // len(own.keys)
                for place, head in enumerate(own.queries):
                    assert own.keys[place // local] == head // share
            assert seen == list(range(heads))


def test_too_many_processes_are_told_how_many_would_do(folders: dict[str, Path]) -> None:
    spec = open_checkpoint(folders["llama"]).spec
    Plan(spec, 5, 6)
    with pytest.raises(UsageError, match="over 7 processes: a layer of it has only 6") as caught:
        Plan(spec, 0, 7)
    assert caught.value.hint == "start from 2 to 6"


def test_portions_are_near_in_size() -> None:
    for count in range(1, 20):
        for size in range(1, count + 1):
            sizes = [len(portion(count, rank, size)) for rank in range(size)]
            assert sum(sizes) == count
            assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("quant", ["int8", "int4"])
def test_quantized_weights_are_cut_along_their_blocks(quant: str) -> None:
    weight = torch.randn(48, 96, generator=torch.Generator().manual_seed(0))
    whole = (Int8Weight if quant == "int8" else Int4Weight).quantize(weight)
    for axis, span in ((0, range(7, 20)), (1, range(32, 96)), (1, range(64))):
        wanted = whole.dense().narrow(axis, span.start, len(span))
        assert torch.equal(whole.part(axis, span).dense(), wanted)
    if quant == "int4":
        with pytest.raises(UsageError, match="32 inputs share a scale"):
            whole.part(1, range(16, 64))


def test_shares_of_what_is_quantized_are_shares_of_the_whole(folders: dict[str, Path]) -> None:
    """Codes don't depend on how many processes there are: weights are quantized, then cut."""
    checkpoint = open_checkpoint(folders["llama"])
    whole = load_decoder(checkpoint, None, CPU, quant="int8")[0]
    plan = Plan(checkpoint.spec, 1, 2)
    share = load_decoder(checkpoint, None, CPU, quant="int8", plan=plan)[0]
    wanted, got = (each.blocks[0].feed.into.matrix.dense() for each in (whole, share))  # pyright: ignore
    own, width = plan.neurons(checkpoint.spec.layers[0].feed), len(wanted) // 2  # pyright: ignore
    rows = [*own, *(width + place for place in own)]
    assert torch.equal(got, wanted[rows])


def test_a_process_alone_is_not_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    assert launched() is None
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert launched() is None
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UsageError, match="WORLD_SIZE is no number: `two`"):
        launched()
