"""Each rule against a slow twin and transformers' warpers, each draw against its claim."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from lmtool.engine import sequence
from lmtool.engine.request import Request, Sampling
from lmtool.engine.sampling import penalties, rules
from lmtool.engine.sampling.sampler import RULES, Draw, Rule, choose, narrowed, uniform

NEVER = float("-inf")
thorough = settings(max_examples=150, deadline=None, derandomize=True)

# Whole numbers and quarters: ties are common, and thresholds are met exactly.
rows = st.lists(st.integers(-20, 20).map(lambda n: n / 4), min_size=1, max_size=12)


def random_logits(count: int, vocab: int, seed: int = 0, spread: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, vocab, generator=generator) * spread


def knob(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


def probabilities(logits: Sequence[float]) -> list[float]:
    highest = max(logits)
    weights = [math.exp(value - highest) for value in logits]
    return [weight / math.fsum(weights) for weight in weights]


def kept(logits: Tensor) -> set[int]:
    return set(torch.isfinite(logits).nonzero().flatten().tolist())


def slow_top_k(logits: Sequence[float], k: int) -> set[int]:
    last = sorted(logits, reverse=True)[min(k, len(logits)) - 1]
    return {id for id, value in enumerate(logits) if k == 0 or value >= last}


def slow_top_p(logits: Sequence[float], p: float) -> list[float]:
    """How likely the tokens are that stay, likeliest first: ties may stay or go."""
    ordered = sorted(probabilities(logits), reverse=True)
    taken: list[float] = []
    for probability in ordered:
        if taken and math.fsum(taken) >= p:
            break
        taken.append(probability)
    return taken


@thorough
@given(rows, st.integers(0, 15))
def test_top_k_against_a_slow_twin(row: list[float], k: int) -> None:
    assert kept(rules.top_k(torch.tensor([row]), knob(k))[0]) == slow_top_k(row, k)


@thorough
@given(rows, st.floats(0, 1))
def test_top_p_against_a_slow_twin(row: list[float], p: float) -> None:
    got = kept(rules.top_p(torch.tensor([row]), knob(p))[0])
    chances = probabilities(row)
    allowed = {tuple(slow_top_p(row, q)) for q in (p - 1e-6, p, p + 1e-6)}
    assert any(
        sorted((chances[id] for id in got), reverse=True) == pytest.approx(list(wanted))
        for wanted in allowed
    )
    outside = [chances[id] for id in range(len(row)) if id not in got]
    assert all(chance <= min(chances[id] for id in got) for chance in outside)


@thorough
@given(rows, st.floats(0, 1))
def test_min_p_against_a_slow_twin(row: list[float], p: float) -> None:
    chances = probabilities(row)
    got = kept(rules.min_p(torch.tensor([row]), knob(p))[0])
    sure = {id for id, chance in enumerate(chances) if chance > p * max(chances) * (1 + 1e-5)}
    ruled_out = {id for id, chance in enumerate(chances) if chance < p * max(chances) * (1 - 1e-5)}
    assert sure <= got
    assert not ruled_out & got
    assert row.index(max(row)) in got


WARPERS = {
    "temperature": (TemperatureLogitsWarper, (0.05, 0.7, 1.3, 40.0)),
    "top_k": (TopKLogitsWarper, (1, 2, 50, 998)),
    "top_p": (TopPLogitsWarper, (0.05, 0.5, 0.9, 0.999)),
    "min_p": (MinPLogitsWarper, (0.001, 0.05, 0.3, 1.0)),
}


@pytest.mark.parametrize(("name", "rule", "neutral"), RULES, ids=[rule[0] for rule in RULES])
def test_each_rule_as_transformers_has_it(name: str, rule: Rule, neutral: float) -> None:
    warper, values = WARPERS[name]
    logits = random_logits(5, 1000)
    for value in values:
        wanted = warper(value)(torch.empty(5, 0, dtype=torch.int64), logits)
        torch.testing.assert_close(rule(logits, knob(*[value] * 5)), wanted)
    torch.testing.assert_close(rule(logits, knob(*[neutral] * 5)), logits, rtol=0, atol=0)


def test_all_rules_together_in_transformers_order() -> None:
    logits = random_logits(3, 1000, seed=1)
    setting = Sampling(temperature=0.8, top_k=40, top_p=0.9, min_p=0.02)
    wanted, none = logits, torch.empty(3, 0, dtype=torch.int64)
    for name, _, _ in RULES:
        wanted = WARPERS[name][0](getattr(setting, name))(none, wanted)
    torch.testing.assert_close(narrowed(logits, [setting] * 3), wanted)


def test_a_knob_turns_its_own_row_only() -> None:
    logits = random_logits(4, 50, seed=2)
    settings = [
        Sampling(temperature=1.0),
        Sampling(temperature=0.5, top_k=3),
        Sampling(temperature=1.0, top_p=0.4),
        Sampling(temperature=2.0, min_p=0.1, top_k=1),
    ]
    together = narrowed(logits, settings)
    for row, setting in enumerate(settings):
        assert torch.equal(together[row], narrowed(logits[row : row + 1], [setting])[0])
    assert torch.equal(together[0], logits[0])


def draws(count: int, sampling: Sampling, sample: int = 0) -> list[Draw]:
    return [Draw(sampling, sample, position) for position in range(count)]


SHAPES = {
    "plain": Sampling(temperature=1.0),
    "cold": Sampling(temperature=0.6),
    "hot": Sampling(temperature=3.0),
    "top_k": Sampling(temperature=1.0, top_k=4),
    "top_p": Sampling(temperature=1.0, top_p=0.8),
    "min_p": Sampling(temperature=1.0, min_p=0.1),
    "all": Sampling(temperature=1.4, top_k=9, top_p=0.9, min_p=0.02),
}


@pytest.mark.parametrize("name", SHAPES)
def test_choices_follow_the_distribution_they_claim(name: str) -> None:
    """Chi-square over 20,000 draws.

    Its limit lets 1 in 10,000 fair samplers fail, but seeds are fixed: who passes goes on passing.
    """
    logits, count = random_logits(1, 12, seed=3, spread=1.0), 20_000
    sampling = SHAPES[name]
    claim = narrowed(logits, [sampling])[0].double().softmax(-1)
    found = Counter(choose(logits.expand(count, -1), draws(count, sampling)))
    possible = (claim > 0).nonzero().flatten().tolist()
    assert found.keys() <= set(possible)
    expected = [count * claim[id].item() for id in possible]
    got = [found[id] for id in possible]
    square = sum((n - e) ** 2 / e for n, e in zip(got, expected, strict=True))
    freedom = len(possible) - 1
    # Wilson and Hilferty's approximation of the quantile at 1 - 1e-4, which is 3.72 sigmas.
    part = 2 / (9 * freedom)
    assert square < freedom * (1 - part + 3.72 * math.sqrt(part)) ** 3


@thorough
@given(st.integers(1, 8), st.data())
def test_a_choice_is_the_same_alone_and_among_others(count: int, data: st.DataObject) -> None:
    logits = random_logits(count, 300, seed=data.draw(st.integers(0, 99)))
    kinds = st.sampled_from([Sampling(), *SHAPES.values()])
    among = [
        Draw(data.draw(kinds), data.draw(st.integers(0, 3)), data.draw(st.integers(0, 500)))
        for _ in range(count)
    ]
    together = choose(logits, among)
    alone = [choose(logits[row : row + 1], [draw])[0] for row, draw in enumerate(among)]
    assert together == alone


def test_greedy_takes_the_lowest_id_among_equals() -> None:
    for vocab in (3, 17, 1000, 40_000):
        logits = torch.zeros(3, vocab)
        logits[1, [vocab // 2, vocab - 1]] = 1.0
        logits[2, vocab - 1] = 1.0
        assert choose(logits, draws(3, Sampling())) == [0, vocab // 2, vocab - 1]


def test_uniform_is_pinned() -> None:
    """These numbers are a promise: a seed gives the same text in the next version too."""
    assert uniform(0, 0, 0) == 0.633398068541001
    assert uniform(1, 2, 3) == 0.16706876100415513
    assert uniform(-7, 15, 4096) == 0.5461810030192545
    assert uniform(2**63, 0, 1) == 0.14753139161641116


def test_uniform_is_uniform_and_its_arguments_are_independent() -> None:
    count = 4000
    for numbers in (
        [uniform(5, 0, position) for position in range(count)],
        [uniform(seed, 0, 9) for seed in range(count)],
        [uniform(5, sample, 9) for sample in range(count)],
    ):
        assert all(0 <= number < 1 for number in numbers)
        found = np.bincount([int(number * 20) for number in numbers], minlength=20)
        assert ((found - count / 20) ** 2 / (count / 20)).sum() < 50.8  # 19 degrees, 1 in 10,000
        neighbours = np.corrcoef(numbers[:-1], numbers[1:])[0, 1]
        assert abs(neighbours) < 4 / math.sqrt(count)
    assert uniform(1, 23, 4) != uniform(12, 3, 4)


EXTREMES = [
    *(Sampling(temperature=value) for value in (1e-45, 1e-38, 1e-3, 1e6, 1e38, 1e300)),
    Sampling(temperature=1.0, top_p=0.0),
    Sampling(temperature=1.0, top_p=1e-30),
    Sampling(temperature=1.0, top_p=1 - 1e-12),
    Sampling(temperature=1.0, top_k=10**9),
    Sampling(temperature=1.0, min_p=1.0),
    Sampling(temperature=1.0, min_p=1e-45),
    Sampling(temperature=1e-3, top_k=10**9, top_p=0.0, min_p=1.0),
    Sampling(temperature=1e6, top_k=3, top_p=0.999999, min_p=1e-9),
]


@pytest.mark.parametrize("sampling", EXTREMES, ids=str)
@pytest.mark.parametrize("barred", [False, True], ids=["", "barred"])
def test_extreme_settings_choose_what_may_be_chosen(sampling: Sampling, barred: bool) -> None:
    logits = random_logits(1, 100, seed=4, spread=30.0)
    best = int(logits.argmax())
    if barred:
        logits[0, best] = NEVER
        best = int(logits.argmax())
    after = narrowed(logits, [sampling])
    assert not after.isnan().any()
    assert after[0, best] > NEVER
    chosen = set(choose(logits.expand(200, -1), draws(200, sampling)))
    assert all(logits[0, id] > NEVER for id in chosen)
    narrow = sampling.temperature < 0.01 or sampling.top_p < 0.1 or sampling.min_p == 1.0
    assert not narrow or chosen == {best}
    # Below the resolution of temperature 1e6 all are alike: 200 draws meet many of them.
    assert sampling.temperature < 1e6 or sampling.top_k == 3 or len(chosen) > 60


def test_a_draw_reaches_the_tail_of_a_large_vocabulary() -> None:
    """Half the probability lies in 128,000 tokens of 4e-6 each, too fine for a float32 sum."""
    vocab, count = 128_001, 200
    logits = torch.zeros(1, vocab)
    logits[0, 0] = math.log(vocab - 1)
    found = [choose(logits, [draw])[0] for draw in draws(count, Sampling(temperature=1.0))]
    tail = [id for id in found if id]
    assert abs(len(tail) - count / 2) < 4 * math.sqrt(count / 4)
    spread = [sum(id * 4 // vocab == quarter for id in tail) for quarter in range(4)]
    assert all(abs(n - len(tail) / 4) < 4 * math.sqrt(len(tail) * 3 / 16) for n in spread)
    numbers = [uniform(0, 0, position) for position in range(count)]
    wanted = [0 if u < 0.5 else 1 + int((u - 0.5) * 2 * (vocab - 1)) for u in numbers]
    assert max(abs(got - want) for got, want in zip(found, wanted, strict=True)) <= 1


def test_top_p_in_a_large_vocabulary_keeps_what_it_says() -> None:
    vocab = 128_000
    after = rules.top_p(torch.zeros(1, vocab), knob(0.9))
    assert abs(len(kept(after[0])) - 0.9 * vocab) <= 0.001 * vocab


@given(seed=st.integers(0, 1000), penalty=st.sampled_from((0.5, 1.1, 1.3, 2.0)))
@settings(max_examples=25, deadline=None)
def test_repetition_is_transformers_own(seed: int, penalty: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 50, generator=generator) * 4
    texts = torch.randint(0, 50, (3, 12), generator=generator)
    wanted = RepetitionPenaltyLogitsProcessor(penalty)(texts, logits.clone())
    for row in range(3):
        got = penalties.repetition(logits[row], texts[row].tolist(), penalty)
        torch.testing.assert_close(got, wanted[row], atol=0, rtol=0)


def test_repetition_acts_on_greedy_choices_of_its_own_row() -> None:
    logits = torch.tensor([[1.0, 0.9], [1.0, 0.9]])
    draws = [Draw(Sampling(repetition=2.0), 0, 0, recent) for recent in ((0,), (1,))]
    assert choose(logits, draws) == [1, 0]


def test_recent_tokens_are_those_of_the_window() -> None:
    def recent(last: int) -> tuple[int, ...]:
        request = Request((1, 2, 3), sampling=Sampling(repetition=1.5, repeat_last=last))
        return sequence.Sequence(request, generated=[4, 5]).recent()

    assert [recent(last) for last in (0, 1, 2, 3, 9, -1)] == [
        (),
        (5,),
        (4, 5),
        (3, 4, 5),
        (1, 2, 3, 4, 5),
        (1, 2, 3, 4, 5),
    ]
