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
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from lmtool.engine import sequence
from lmtool.engine.request import Request, Sampling
from lmtool.engine.sampling import rules
from lmtool.engine.sampling.draw import Draw, uniform
from lmtool.engine.sampling.sampler import RULES, Rule, choose, narrowed
from reference import naive_sampler

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
    "typical": (TypicalLogitsWarper, (0.001, 0.05, 0.3, 0.9, 0.999)),
}


@pytest.mark.parametrize("name", WARPERS)
def test_each_rule_as_transformers_has_it(name: str) -> None:
    warper, values = WARPERS[name]
    (rule,) = (rule for known, rule, _ in RULES if known == name)
    logits = random_logits(5, 1000)
    for value in values:
        wanted = warper(value)(torch.empty(5, 0, dtype=torch.int64), logits)
        torch.testing.assert_close(rule(logits, knob(*[value] * 5)), wanted)


@pytest.mark.parametrize(("name", "rule", "neutral"), RULES, ids=[rule[0] for rule in RULES])
def test_a_rule_that_is_off_does_nothing(name: str, rule: Rule, neutral: float) -> None:
    for logits in (random_logits(5, 1000), barred_but(random_logits(5, 1000), 3)):
        assert rule(logits, knob(*[neutral] * 5)).equal(logits)
    assert name == "temperature" or name.startswith("xtc") or getattr(Sampling(), name) == neutral


def barred_but(logits: Tensor, every: int) -> Tensor:
    """Only every third token or so can be chosen."""
    places = torch.arange(logits.shape[-1])
    return logits.masked_fill(places % every != 0, NEVER)


TWINS = {
    "top_nsigma": (naive_sampler.top_nsigma, (0.117, 0.713, 1.013, 2.57)),
    "typical": (naive_sampler.typical, (0.0, 0.0531, 0.213, 0.513, 0.917, 0.9991)),
    "xtc_threshold": (naive_sampler.xtc, (0.0, 0.0113, 0.0531, 0.213, 0.5)),
}


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_rules_that_transformers_lacks_or_words_otherwise(name: str, spread: float) -> None:
    (rule,) = (rule for known, rule, _ in RULES if known == name)
    twin, values = TWINS[name]
    whole = random_logits(3, 400, seed=8, spread=spread)
    for logits in (whole, barred_but(whole, 3), barred_but(whole, 399)):
        for value in values:
            got = rule(logits, knob(*[value] * 3))
            for row in range(3):
                assert got[row].tolist() == twin(logits[row].tolist(), value)


def test_typical_by_hand() -> None:
    """Entropy 1.14 nats: a surprise of 1.20 is nearest, then 0.69, 1.90 and 3.00."""
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log() - 7
    some = [(0.2, {1}), (0.29, {1}), (0.31, {0, 1}), (0.79, {0, 1}), (0.81, {0, 1, 2})]
    for mass, wanted in [*some, (0.96, {0, 1, 2, 3})]:
        assert kept(rules.typical(logits, knob(mass))[0]) == wanted
    # The likeliest is not always typical: here it says far less than is expected.
    flat = torch.cat([torch.tensor([0.4]), torch.full((60,), 0.01)]).log()[None]
    assert 0 not in kept(rules.typical(flat, knob(0.5))[0])


def test_top_nsigma_is_the_same_at_any_temperature() -> None:
    logits = random_logits(2, 500, seed=5)
    cool, hot = (Sampling(temperature=t, top_nsigma=1.2) for t in (0.01, 100.0))
    after = narrowed(logits.repeat(2, 1), draws(2, cool) + draws(2, hot))
    assert [kept(row) for row in after[:2]] == [kept(row) for row in after[2:]]
    assert 1 < len(kept(after[0])) < 500


def test_top_nsigma_is_not_undone_by_what_a_penalty_pushed_far_down() -> None:
    logits = random_logits(1, 500, seed=5)
    wanted = kept(rules.top_nsigma(logits, knob(1.0))[0])
    logits[0, next(id for id in range(500) if id not in wanted)] -= 1e30
    assert kept(rules.top_nsigma(logits, knob(1.0))[0]) == wanted


def test_xtc_by_hand() -> None:
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    for threshold, wanted in (
        (0.05, {3}),
        (0.15, {2, 3}),
        (0.25, {1, 2, 3}),
        (0.35, {0, 1, 2, 3}),
        (0.45, {0, 1, 2, 3}),
    ):
        assert kept(rules.xtc(logits, knob(threshold))[0]) == wanted
    assert kept(rules.xtc(torch.zeros(1, 4), knob(0.2))[0]) == {0}  # of equals the first stays


def test_xtc_acts_as_often_as_its_probability_says() -> None:
    """And its coin has nothing to do with which token is drawn then."""
    logits, count = torch.tensor([[0.6, 0.4]]).log(), 8000
    own = Sampling(temperature=1.0, xtc_probability=0.25, xtc_threshold=0.1)
    found = choose(logits.expand(count, -1), draws(count, own)).count(0)
    wanted = 0.75 * 0.6
    assert abs(found / count - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / count)
    never, always = (Sampling(temperature=1.0, xtc_probability=p) for p in (0.0, 1.0))
    assert set(choose(logits.expand(99, -1), draws(99, always))) == {1}
    assert set(choose(logits.expand(99, -1), draws(99, never))) == {0, 1}


def test_all_rules_together_in_transformers_order() -> None:
    logits = random_logits(3, 1000, seed=1)
    setting = Sampling(temperature=0.8, top_k=40, top_p=0.9, min_p=0.02, typical=0.8)
    wanted, none = logits, torch.empty(3, 0, dtype=torch.int64)
    for name in WARPERS:
        wanted = WARPERS[name][0](getattr(setting, name))(none, wanted)
    torch.testing.assert_close(narrowed(logits, draws(3, setting)), wanted)


def test_a_knob_turns_its_own_row_only() -> None:
    logits = random_logits(7, 50, seed=2)
    settings = [
        Sampling(temperature=1.0),
        Sampling(temperature=0.5, top_k=3),
        Sampling(temperature=1.0, top_p=0.4),
        Sampling(temperature=2.0, min_p=0.1, top_k=1),
        Sampling(temperature=1.0, typical=0.4),
        Sampling(temperature=1.0, top_nsigma=0.8),
        Sampling(temperature=1.0, xtc_probability=1.0, xtc_threshold=0.01),
    ]
    turns = [Draw(setting, 0, 0) for setting in settings]
    together = narrowed(logits, turns)
    for row, turn in enumerate(turns):
        assert torch.equal(together[row], narrowed(logits[row : row + 1], [turn])[0])
    assert torch.equal(together[0], logits[0])


def draws(count: int, sampling: Sampling) -> list[Draw]:
    return [Draw(sampling, sampling.seed, position) for position in range(count)]


SHAPES = {
    "plain": Sampling(temperature=1.0),
    "cold": Sampling(temperature=0.6),
    "hot": Sampling(temperature=3.0),
    "top_k": Sampling(temperature=1.0, top_k=4),
    "top_p": Sampling(temperature=1.0, top_p=0.8),
    "min_p": Sampling(temperature=1.0, min_p=0.1),
    "typical": Sampling(temperature=1.0, typical=0.6),
    "top_nsigma": Sampling(temperature=1.0, top_nsigma=1.5),
    "xtc": Sampling(temperature=1.0, xtc_probability=1.0, xtc_threshold=0.1),
    "all": Sampling(temperature=1.4, top_k=9, top_p=0.9, min_p=0.02, typical=0.95, top_nsigma=2.5),
}


@pytest.mark.parametrize("name", SHAPES)
def test_choices_follow_the_distribution_they_claim(name: str) -> None:
    """Chi-square over 20,000 draws.

    Its limit lets 1 in 10,000 fair samplers fail, but seeds are fixed: who passes goes on passing.
    """
    logits, count = random_logits(1, 12, seed=3, spread=1.0), 20_000
    sampling = SHAPES[name]
    left = naive_sampler.narrowed(logits[0].tolist(), sampling, coin=0.0)
    claim = torch.tensor(naive_sampler.probabilities(left))
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
    Sampling(temperature=1.0, typical=0.0),
    Sampling(temperature=1e-30, typical=0.5, top_nsigma=1e-30, xtc_probability=1.0),
    Sampling(temperature=1.0, top_nsigma=1e30),
    Sampling(temperature=1.0, xtc_probability=1.0, xtc_threshold=0.0),
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
    after = narrowed(logits, draws(1, sampling))
    assert not after.isnan().any()
    assert after[0, best] > NEVER or sampling.xtc_threshold == 0
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
