"""Losses against transformers: windows, batches, chunks, and the arithmetic of error bars."""

from __future__ import annotations

import itertools
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmtool import InputError, UsageError
from lmtool.engine.loop import CHUNK
from lmtool.engine.score import BLOCK, Loss, Passage, losses, slide
from lmtool.engine.session import Session
from reference.random_checkpoints import VOCAB, Case

KINDS = (
    Case("llama", "Llama", {"max_position_embeddings": 1400}),
    Case("gemma2", "Gemma2", {"head_dim": 8, "sliding_window": 16, "final_logit_softcapping": 9.0}),
    Case("gpt2", "GPT2", {"n_embd": 48, "n_head": 6, "n_layer": 2, "n_positions": 256}),
)


@pytest.fixture(scope="module", params=KINDS, ids=lambda case: case.name)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    case: Case = request.param
    folder = case.save(tmp_path_factory.mktemp(case.name))
    return Session.load(folder, device="cpu"), case.model()


def ids_of(count: int, seed: int = 0) -> list[int]:
    return torch.randint(VOCAB, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def guide(model: Any, ids: list[int], width: int, stride: int) -> list[float]:
    """transformers' guide to perplexity, each token's loss by itself."""
    found: list[float] = []
    before = 0
    for begin in range(0, len(ids), stride):
        end = min(begin + width, len(ids))
        window = torch.tensor([ids[begin:end]])
        with torch.no_grad():
            logits = model(window).logits[0].float()
        each = torch.nn.functional.cross_entropy(logits[:-1], window[0, 1:], reduction="none")
        found += each[-(end - before) :].tolist() if before else each.tolist()
        before = end
        if end == len(ids):
            break
    return found


@pytest.mark.parametrize(("width", "stride"), [(64, 32), (100, 7), (256, 255), (200, 100)])
def test_windows_are_those_of_the_guide(pair: Any, width: int, stride: int) -> None:
    session, model = pair
    ids = ids_of(250 + stride)
    found = [x for one in losses(session, slide([ids[:50], ids[50:]], width, stride)) for x in one]
    assert found == pytest.approx(guide(model, ids, width, stride), abs=1e-4)


def test_a_window_longer_than_a_chunk(tmp_path: Path) -> None:
    session = Session.load(KINDS[0].save(tmp_path), device="cpu")
    ids = ids_of(2 * CHUNK + 130)
    (found,) = losses(session, slide([ids], 1400, 700))
    assert found == pytest.approx(guide(KINDS[0].model(), ids, 1400, 700), abs=1e-4)


def test_texts_of_any_length_side_by_side(pair: Any) -> None:
    session, model = pair
    texts = [ids_of(length, length) for length in (1, 2, 3, 90, 5, 1, 256, 40, 7)]
    passages = [Passage(ids, min(1 + n % 3, len(ids))) for n, ids in enumerate(texts)]
    for passage, found in zip(passages, losses(session, passages), strict=True):
        whole = guide(model, list(passage.ids), 256, 256) if len(passage.ids) > 1 else []
        assert found == pytest.approx(whole[passage.first - 1 :], abs=1e-4)


def test_a_text_that_does_not_fit_or_is_not_the_models() -> None:
    class Small:
        context = 4
        spec = type("Spec", (), {"vocab": 10})

    small: Any = Small()
    with pytest.raises(InputError, match="5 tokens doesn't fit into a context of 4"):
        list(losses(small, [Passage([1, 2, 3, 4, 5], 1)]))
    with pytest.raises(InputError, match="token id 10 is outside the vocabulary of 10"):
        list(losses(small, [Passage([1, 10], 1)]))


@given(
    length=st.integers(0, 60),
    width=st.integers(2, 20),
    stride=st.integers(1, 20),
    cuts=st.lists(st.integers(0, 60), max_size=5),
)
def test_every_token_but_the_first_is_scored_once(
    length: int, width: int, stride: int, cuts: list[int]
) -> None:
    ids = list(range(length))
    at = [0, *sorted(cut for cut in cuts if cut < length), length]
    blocks = [ids[a:b] for a, b in itertools.pairwise(at)]
    if stride > width:
        with pytest.raises(UsageError):
            list(slide(blocks, width, stride))
        return
    passages = list(slide(blocks, width, stride))
    assert [id for one in passages for id in one.ids[one.first :]] == ids[1:]
    assert all(len(one.ids) <= width and one.first >= 1 for one in passages)
    # As much context as the stride leaves, from the second window on.
    assert all(one.first == max(1, width - stride) for one in passages[1:])


def test_the_error_of_independent_blocks_is_that_of_their_mean() -> None:
    generator = torch.Generator().manual_seed(3)
    blocks = torch.randn(200, generator=generator) + 5
    loss = Loss()
    for value in blocks.tolist():
        loss.add([value] * BLOCK)
    assert loss.mean == pytest.approx(statistics.mean(blocks.tolist()))
    expected = statistics.stdev(blocks.tolist()) / math.sqrt(200)
    assert loss.error == pytest.approx(expected, rel=1e-6)
    loss.bytes = loss.tokens * 4
    assert loss.bits_per_byte == pytest.approx(loss.nats / math.log(2) / loss.bytes)
    assert loss.bits_error == pytest.approx(expected / math.log(2) / 4)


def test_losses_add_up() -> None:
    first, second = Loss(bytes=10), Loss(bytes=3)
    first.add([1.0, 2.0, 3.0])
    second.add([6.0])
    both = first + second
    assert (both.tokens, both.bytes, both.nats) == (4, 13, 12.0)
    assert both.perplexity == pytest.approx(math.exp(3))
    assert both.error is not None
    assert sum([first, second], Loss()).mean == both.mean


def test_of_nothing_there_is_no_loss() -> None:
    nothing = Loss()
    assert (nothing.mean, nothing.error, nothing.perplexity, nothing.bits_per_byte) == (None,) * 4
    hopeless = Loss()
    hopeless.add([1e4])
    assert hopeless.perplexity == math.inf
    assert hopeless.error is None
