"""What acts on greedy choices too: each penalty against a slow twin, and transformers' own.

And all samplers mixed in one batch, against the twin.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
)

from lmtool import InputError
from lmtool.engine.request import Request, Sampling
from lmtool.engine.sampling.draw import COIN, TOKEN, Draw
from lmtool.engine.sampling.repeats import completing, repeated
from lmtool.engine.sampling.sampler import adjusted, choose, narrowed
from lmtool.engine.sequence import Sequence as Text
from reference import naive_sampler

NEVER = float("-inf")
VOCAB = 12
thorough = settings(max_examples=60, deadline=None, derandomize=True)

texts = st.lists(st.integers(0, 3), max_size=40)
"""Of four letters, so that they repeat themselves."""


def random_logits(count: int, vocab: int = VOCAB, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, vocab, generator=generator) * 3


def turn(sampling: Sampling, prompt: Sequence[int], said: Sequence[int] = ()) -> Draw:
    return Text(Request(tuple(prompt), sampling=sampling), generated=list(said)).draw()


def same(got: Tensor, wanted: Sequence[float]) -> None:
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float32))


ALONE = {
    "bias": {"logit_bias": ((3, 2.5), (7, -1.25), (11, NEVER))},
    "repetition": {"repetition": 1.3},
    "repetition of few": {"repetition": 0.7, "repeat_last": 5},
    "repetition of all": {"repetition": 1.3, "repeat_last": -1},
    "presence": {"presence": 0.75},
    "presence below 0": {"presence": -2.0},
    "frequency": {"frequency": 0.3},
    "no_repeat_ngram": {"no_repeat_ngram": 2},
    "dry": {"dry_multiplier": 0.8},
    "dry, broken": {
        "dry_multiplier": 0.5,
        "dry_base": 1.2,
        "dry_allowed_length": 1,
        "dry_breakers": frozenset({3, 9}),
    },
}


@pytest.mark.parametrize("name", ALONE)
@thorough
@given(texts, texts)
def test_each_penalty_against_a_slow_twin(name: str, prompt: list[int], said: list[int]) -> None:
    sampling = Sampling(**ALONE[name])
    logits = random_logits(1)
    got = adjusted(logits, [turn(sampling, prompt, said)])[0]
    same(got, naive_sampler.adjusted(logits[0].tolist(), sampling, prompt, said))


@thorough
@given(texts, st.sets(st.integers(0, 3), max_size=2))
def test_repeats_of_a_text_against_a_slow_twin(text: list[int], breakers: set[int]) -> None:
    wanted = {id: naive_sampler.repeats(text, id, breakers) for id in range(4)}
    assert repeated(text, breakers) == {id: n for id, n in wanted.items() if n}


def test_repeats_by_hand() -> None:
    assert repeated([]) == repeated([5]) == repeated([5, 6]) == {}
    assert repeated([5, 5, 5, 5]) == {5: 3}
    assert repeated([1, 2, 9, 1, 2]) == {9: 2}
    assert repeated([1, 2, 9, 1, 2], {1}) == {9: 1}
    assert repeated([1, 2, 9, 1, 2], {2}) == {}
    assert repeated([1, 2, 9, 1, 2], {9}) == {}


def test_dry_by_hand() -> None:
    """Three tokens repeated, one more than is free: multiplier * base."""
    sampling = Sampling(dry_multiplier=0.8, dry_base=2.0, dry_allowed_length=2)
    text = [1, 2, 3, 7, 0, 1, 2, 3]
    after = adjusted(torch.zeros(1, VOCAB), [turn(sampling, text)])[0]
    assert after[7] == pytest.approx(-1.6)
    assert after.nonzero().flatten().tolist() == [7]
    shorter = adjusted(torch.zeros(1, VOCAB), [turn(sampling, [3, 7, 0, 3])])
    assert not shorter.any()


def test_dry_of_a_very_long_repeat_is_no_infinity() -> None:
    sampling = Sampling(dry_multiplier=1e300, dry_base=1e5, temperature=1e-3)
    after = adjusted(torch.zeros(1, VOCAB), [turn(sampling, [5] * 3000)])
    assert after.isfinite().all()
    assert choose(torch.zeros(1, VOCAB), [turn(sampling, [5] * 3000)]) != [5]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@thorough
@given(texts)
def test_no_repeat_ngram_is_transformers_own(size: int, text: list[int]) -> None:
    logits = random_logits(1)
    ids = torch.tensor([text], dtype=torch.int64)
    wanted = NoRepeatNGramLogitsProcessor(size)(ids, logits.clone())
    got = adjusted(logits, [turn(Sampling(no_repeat_ngram=size), text)])
    torch.testing.assert_close(got, wanted, atol=0, rtol=0)


def test_no_repeat_ngram_stands_back_where_nothing_else_is_left() -> None:
    logits = random_logits(2, 3)
    draws = [turn(Sampling(no_repeat_ngram=1), text) for text in ([0, 1, 2], [0, 1])]
    after = adjusted(logits, draws)
    assert torch.equal(after[0], logits[0])
    assert after[1].isfinite().tolist() == [False, False, True]
    assert completing([], 1) == completing([1], 2) == completing([1, 1], 0) == set()


@thorough
@given(texts, texts, st.sampled_from((0.5, 1.1, 1.3, 2.0)))
def test_repetition_is_transformers_own(text: list[int], other: list[int], by: float) -> None:
    logits, sampling = random_logits(2), Sampling(repetition=by, repeat_last=-1)
    got = adjusted(logits, [turn(sampling, text), turn(sampling, other)])
    for row, ids in enumerate((text, other)):
        said = torch.tensor([ids], dtype=torch.int64)
        wanted = RepetitionPenaltyLogitsProcessor(by)(said, logits[row : row + 1].clone())
        torch.testing.assert_close(got[row], wanted[0], atol=0, rtol=0)


def test_bias_is_transformers_own() -> None:
    logits = random_logits(2)
    pairs = ((1, 2.0), (5, -3.5), (8, NEVER))
    processor = SequenceBiasLogitsProcessor([[[id], by] for id, by in pairs])
    wanted = processor(torch.ones(2, 1, dtype=torch.int64), logits.clone())
    got = adjusted(logits, [turn(Sampling(logit_bias=pairs), [1])] * 2)
    torch.testing.assert_close(got, wanted)


def test_presence_and_frequency_count_what_was_generated_only() -> None:
    logits = torch.zeros(1, VOCAB)
    for sampling, wanted in (
        (Sampling(presence=0.5), {4: -0.5, 6: -0.5}),
        (Sampling(frequency=0.5), {4: -1.5, 6: -0.5}),
        (Sampling(presence=0.25, frequency=0.5), {4: -1.75, 6: -0.75}),
    ):
        after = adjusted(logits, [turn(sampling, [9, 9, 9, 6], [4, 6, 4, 4])])[0]
        assert {int(id): after[id].item() for id in after.nonzero()} == wanted


def test_a_bias_bars_and_forces_greedy_choices() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0]] * 3)
    by = [((0, NEVER),), ((2, 2.5),), ((0, -0.5),)]
    draws = [turn(Sampling(logit_bias=pairs), [0]) for pairs in by]
    assert choose(logits, draws) == [1, 2, 0]


def test_nothing_left_to_choose_is_said() -> None:
    everything = tuple((id, NEVER) for id in range(3))
    for temperature in (0.0, 1.0):
        sampling = Sampling(temperature, logit_bias=everything)
        with pytest.raises(InputError, match="no token is left"):
            choose(random_logits(2, 3), [turn(Sampling(), [1]), turn(sampling, [1])])


def test_what_is_off_leaves_the_model_s_own_logits() -> None:
    logits = random_logits(2)
    draws = [turn(Sampling(), [1, 1], [1]), turn(Sampling(temperature=1.0), [1, 1], [1])]
    assert adjusted(logits, draws) is logits
    assert narrowed(logits[1:], draws[1:]).equal(logits[1:])
    before = logits.clone()
    choose(logits, [turn(replace(Sampling(), **knobs), [1], [2]) for knobs in ALONE.values()][:2])
    assert torch.equal(logits, before)


MIXED: dict[str, Any] = {
    "temperature": st.sampled_from((0.0, 0.37, 1.0, 1.9)),
    "top_k": st.sampled_from((0, 3, 7)),
    "top_p": st.sampled_from((1.0, 0.913, 0.517)),
    "min_p": st.sampled_from((0.0, 0.0531)),
    "typical": st.sampled_from((1.0, 0.871, 0.293)),
    "top_nsigma": st.sampled_from((0.0, 1.117, 0.613)),
    "xtc_probability": st.sampled_from((0.0, 0.5, 1.0)),
    "xtc_threshold": st.sampled_from((0.0713, 0.213, 0.6)),
    "repetition": st.sampled_from((1.0, 1.31, 0.83)),
    "repeat_last": st.sampled_from((-1, 0, 3, 64)),
    "presence": st.sampled_from((0.0, 0.713, -1.31)),
    "frequency": st.sampled_from((0.0, 0.317)),
    "no_repeat_ngram": st.sampled_from((0, 1, 2, 3)),
    "dry_multiplier": st.sampled_from((0.0, 0.813)),
    "dry_base": st.sampled_from((1.0, 1.71)),
    "dry_allowed_length": st.sampled_from((1, 2)),
    "dry_breakers": st.sampled_from((frozenset(), frozenset({2}))),
    "logit_bias": st.sampled_from(((), ((1, 2.31), (3, NEVER)))),
    "seed": st.integers(0, 5),
}
samplings = st.builds(Sampling, **MIXED)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(samplings, texts, texts), min_size=1, max_size=5), st.integers(0, 10**6))
def test_samplers_mixed_in_one_batch_against_a_slow_twin(
    rows: list[tuple[Sampling, list[int], list[int]]], seed: int
) -> None:
    logits = random_logits(len(rows), seed=seed)
    draws = [turn(*row) for row in rows]
    got = choose(logits, draws)
    for own, draw, (sampling, prompt, said), id in zip(logits, draws, rows, got, strict=True):
        numbers = draw.uniform(TOKEN), draw.uniform(COIN)
        assert id == naive_sampler.choose(own.tolist(), sampling, prompt, said, *numbers)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.tuples(samplings, texts, texts), min_size=2, max_size=6), st.integers(0, 10**6))
def test_a_row_does_not_depend_on_its_neighbours(
    rows: list[tuple[Sampling, list[int], list[int]]], seed: int
) -> None:
    logits = random_logits(len(rows), 400, seed)
    draws = [turn(*row) for row in rows]
    warm = [draw for draw in draws if draw.sampling.temperature > 0]
    after = adjusted(logits, draws)
    for row, draw in enumerate(draws):
        assert torch.equal(after[row], adjusted(logits[row : row + 1], [draw])[0])
    for row, draw in enumerate(warm):
        together = narrowed(logits[: len(warm)], warm)[row]
        assert torch.equal(together, narrowed(logits[row : row + 1], [draw])[0])


def test_guesses_count_as_text() -> None:
    """A turn after tokens guessed ahead is the turn that comes when they are text."""
    for knobs in ALONE.values():
        text = Text(Request((1, 2, 1), sampling=Sampling(**knobs)), generated=[2, 1])
        longer = Text(text.request, generated=[2, 1, 3, 2])
        assert text.draw((3, 2)) == longer.draw()


@pytest.mark.parametrize("repeats", [True, False], ids=["one token", "many"])
def test_a_long_text_costs_no_more_than_its_length(repeats: bool) -> None:
    """All penalties at once over 30,000 tokens; what is quadratic takes minutes."""
    text = [7] * 30_000 if repeats else [place * place % 997 for place in range(30_000)]
    sampling = Sampling(
        repetition=1.1, repeat_last=-1, presence=0.1, frequency=0.1, no_repeat_ngram=5
    )
    sampling = replace(sampling, dry_multiplier=0.8)
    logits = random_logits(1, 1000)
    began = time.perf_counter()
    choose(logits, [turn(sampling, text[:10_000], text[10_000:])])
    assert time.perf_counter() - began < 2


def test_a_penalty_is_nan_for_nobody() -> None:
    for sampling in (
        Sampling(repetition=1e-30),
        Sampling(repetition=1e30, temperature=1e-30),
        Sampling(presence=2, frequency=2, temperature=1e-3),
        Sampling(dry_multiplier=1e30, no_repeat_ngram=2, logit_bias=((1, NEVER), (2, 1e6))),
    ):
        draws = [turn(replace(sampling, temperature=t), [1, 2, 1], [1, 2, 1]) for t in (0, 1e-3)]
        logits = random_logits(2)
        assert not adjusted(logits, draws).isnan().any()
        assert all(0 <= id < VOCAB and math.isfinite(id) for id in choose(logits, draws))
