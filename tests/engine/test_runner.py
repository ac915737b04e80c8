"""Recorded one-token steps say what the decoder itself says, whatever the stack."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lmtool import UsageError
from lmtool.engine import runner as runners
from lmtool.engine.cache.static import StaticCache
from lmtool.engine.knockout import Part
from lmtool.engine.matrix import Placement
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.runner import Compiled, Replayed, Runner, check_compiler
from lmtool.engine.session import Session
from lmtool.engine.step import Piece, Step
from lmtool.engine.weights.checkpoint import open_checkpoint
from lmtool.engine.weights.load import load_decoder
from reference.loaded import CPU, Loaded
from reference.random_checkpoints import Case, random_ids

needs_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="there is no C++ compiler"
)


def logits_of(run: Runner, loaded: Loaded, ids: list[int], prompt: int) -> Tensor:
    """Logits after each id from the prompt's last on, fed one by one after the prompt."""
    cache = loaded.cache(slack=64)
    rows: list[Tensor] = []
    for begin, end in [(0, prompt), *((n, n + 1) for n in range(prompt, len(ids)))]:
        cache.reserve(0, end)
        piece = Piece(0, begin, ids[begin:end], end)
        rows.append(run(Step.of([piece], CPU), cache))
    return torch.cat(rows)


@pytest.mark.parametrize("window", [None, 24])
def test_records_follow_a_growing_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int | None
) -> None:
    """Every family's records are tested with the families; here a text outgrows several."""
    monkeypatch.setattr(runners, "FEWEST", 16)
    changes = {"sliding_window": window} if window else {}
    loaded = Loaded.open(Case("growing", "Mistral", changes).save(tmp_path))
    ids = random_ids(150)
    wanted = logits_of(loaded.decoder, loaded, ids, 10)
    got = logits_of(Replayed(loaded.decoder), loaded, ids, 10)
    torch.testing.assert_close(got.log_softmax(-1), wanted.log_softmax(-1), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bfloat16])
def test_a_cache_of_another_dtype_runs_as_it_is(tmp_path: Path, dtype: torch.dtype) -> None:
    loaded = Loaded.open(Case("plain", "Llama").save(tmp_path))
    answers: list[Tensor] = []
    for run in (loaded.decoder, Replayed(loaded.decoder)):
        cache = StaticCache(loaded.decoder.spec, 1, 64, 64, dtype, CPU)
        steps = [Step.of([Piece(0, n, [n], 20)], CPU) for n in range(20)]
        answers.append(torch.cat([run(step, cache) for step in steps]))
    assert torch.equal(*answers)


@needs_compiler
def test_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(runners.INDUCTOR, "max_autotune", False)  # which takes a minute
    folder = Case("plain", "Llama").save(tmp_path)
    checkpoint = open_checkpoint(folder)
    decoder, _ = load_decoder(checkpoint, None, CPU, Placement(constant=True))
    loaded, ids = Loaded(folder, decoder), random_ids(40)
    wanted = logits_of(decoder, loaded, ids, 20)
    compiled = Compiled(decoder)
    got = logits_of(compiled, loaded, ids, 20)
    torch.testing.assert_close(got.log_softmax(-1), wanted.log_softmax(-1), atol=1e-4, rtol=1e-5)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    again = logits_of(compiled, loaded, ids, 20)
    assert torch.equal(again, got)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before


@needs_compiler
def test_a_compiled_model_that_lacks_something_is_compiled_too(tmp_path: Path) -> None:
    session = Session.load(Case("plain", "Llama").save(tmp_path / "plain"), compiled=True)
    whole = session.runner
    session.ablate([Part("mlp", 1)])
    assert isinstance(session.runner, Compiled)
    assert session.runner is not whole


def test_what_cannot_be_compiled_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experts = Case("experts", "Mixtral", {"num_local_experts": 4}).save(tmp_path / "experts")
    with pytest.raises(UsageError, match="mixtures of experts"):
        Session.load(experts, compiled=True)
    plain = Case("plain", "Llama").save(tmp_path / "plain")
    with pytest.raises(UsageError, match="quantized"):
        Session.load(plain, compiled=True, quant="int8")
    monkeypatch.setattr(runners, "which", lambda name: None)
    spec = open_checkpoint(plain).spec
    with pytest.raises(UsageError, match="needs a C\\+\\+ compiler"):
        check_compiler(spec, CPU, None)


def test_a_plain_session_runs_the_decoder_itself(tmp_path: Path) -> None:
    session = Session.load(Case("plain", "Llama").save(tmp_path))
    assert isinstance(session._runner, Decoder)
