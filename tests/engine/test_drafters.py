"""What is guessed, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lmtool import ModelError
from lmtool.engine.cache.static import StaticCache
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.request import Request, Sampling, Stop
from lmtool.engine.sequence import Sequence as Text
from lmtool.engine.speculate import (
    ATTEND_BYTES,
    ATTENDING,
    CHECK,
    LOSS,
    REST,
    TOKEN,
    Drafter,
    Guesser,
    Guessing,
    LookupDrafter,
    ModelDrafter,
    Pace,
    Price,
    Way,
    step_bytes,
)
from lmtool.engine.step import Step
from reference.random_specs import VOCAB
from reference.scripted_drafter import HOT, REQUEST, Scripted, guessed, run
from reference.side_by_side import PLAIN, ids_of, stack


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return stack(PLAIN, replace(PLAIN, window=5))


def ask(drafter: Drafter, ids: Sequence[int], count: int = 4) -> list[int]:
    return list(drafter.propose(Text(Request(tuple(ids))), count))


def test_lookup_goes_on_as_the_text_did_last_time() -> None:
    assert ask(LookupDrafter(), [1, 2, 3, 4, 5, 6, 1, 2, 3]) == [4, 5, 6, 1]
    # The latest of several, three ids before two.
    assert ask(LookupDrafter(), [1, 2, 3, 4, 1, 2, 3, 5, 6, 1, 2, 3]) == [5, 6, 1, 2]
    assert ask(LookupDrafter(), [1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3]) == [4, 9, 2, 3]
    assert ask(LookupDrafter(), [7, 2, 3, 4, 5, 2, 3]) == [4, 5, 2, 3]
    # What repeats itself goes on repeating itself.
    assert ask(LookupDrafter(), [1, 2, 1, 2, 1, 2]) == [1, 2, 1, 2]
    assert ask(LookupDrafter(), [5, 5, 5], 3) == [5, 5, 5]
    for nothing in ([1], [1, 1], [1, 2], [1, 2, 3, 4], [1, 2, 3, 1, 3]):
        assert ask(LookupDrafter(), nothing) == []


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 9), st.data())
def test_lookup_is_the_plain_search(ids: list[int], count: int, data: st.DataObject) -> None:
    drafter = LookupDrafter()
    text = Text(Request(tuple(ids[:1])))
    for id in ids[1:]:
        text.generated.append(id)
        if data.draw(st.booleans()):  # else it rests
            known = [ids[0], *text.generated]
            assert drafter.propose(text, count) == plain_search(known, count)


def plain_search(ids: list[int], count: int) -> list[int]:
    for size in (3, 2):
        for begin in range(len(ids) - size - 1, -1, -1):
            if ids[begin : begin + size] == ids[-size:]:
                text = list(ids)
                for _ in range(count):
                    text.append(text[begin + size + len(text) - len(ids)])
                return text[len(ids) :]
    return []


@pytest.mark.parametrize("sampling", [Sampling(), HOT, Sampling(1.0, top_k=4, repetition=1.3)])
def test_a_model_that_drafts_for_itself_is_always_right(
    decoder: Decoder, sampling: Sampling
) -> None:
    request = replace(REQUEST, sampling=sampling, stop=Stop(eos=frozenset({3}), min_tokens=100))
    wanted, _ = run(decoder, request)
    way = Way(lambda: ModelDrafter(decoder, 200, 16), 5, 0.01)
    got, timings = run(decoder, request, way)
    assert ids_of(got) == ids_of(wanted)
    assert timings.right == timings.guessed >= 70


class Watched:
    """A decoder that counts what it reads."""

    def __init__(self, decoder: Decoder) -> None:
        self.spec, self.dtype, self.device = decoder.spec, decoder.dtype, decoder.device
        self.decoder = decoder
        self.fed: list[int] = []

    def __call__(self, step: Step, cache: StaticCache) -> Tensor:
        self.fed.append(len(step.ids))
        return self.decoder(step, cache)


def test_a_draft_model_reads_each_token_once(decoder: Decoder) -> None:
    watched = Watched(decoder)
    drafter = ModelDrafter(watched, 200, 4)
    text = Text(Request((1, 2, 3, 4, 5, 6)))

    def wanted(count: int) -> list[int]:
        return ModelDrafter(decoder, 200, 200).propose(text, count)

    guess = drafter.propose(text, 3)
    assert guess == wanted(3)
    assert watched.fed == [4, 2, 1, 1]
    # Two come true, and something else follows.
    text.generated += [*guess[:2], (guess[2] + 1) % VOCAB]
    watched.fed.clear()
    assert drafter.propose(text, 2) == wanted(2)
    assert watched.fed == [1, 1]
    # None comes true, and much is said while it rests.
    text.generated += [(wanted(1)[0] + 1) % VOCAB, 1, 2, 3, 4, 5]
    watched.fed.clear()
    assert drafter.propose(text, 1) == wanted(1)
    assert watched.fed == [4, 2]
    # All come true, and the model's own next.
    text.generated += [*wanted(4), 7]
    assert drafter.propose(text, 4) == wanted(4)


def test_a_draft_model_is_silent_beyond_its_context(decoder: Decoder) -> None:
    drafter = ModelDrafter(decoder, 6, 200)
    assert len(ask(drafter, range(4), 5)) == 2
    for length in (6, 7, 9):
        assert ask(ModelDrafter(decoder, 6, 200), range(length), 5) == []
    request = replace(REQUEST, max_new=20)
    short = Way(lambda: ModelDrafter(decoder, 9, 4), 5)
    got, timings = run(decoder, request, short)
    assert ids_of(got) == ids_of(run(decoder, request)[0])
    assert 0 < timings.guessed == timings.right <= 6


def test_a_draft_model_whose_logits_are_no_numbers(decoder: Decoder) -> None:
    class Broken(Watched):
        def __call__(self, step: Step, cache: StaticCache) -> Tensor:
            return super().__call__(step, cache) * float("nan")

    way = Way(lambda: ModelDrafter(Broken(decoder), 200, 4), 5)
    with pytest.raises(ModelError, match="the model's logits are not numbers"):
        run(decoder, REQUEST, way)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.integers(1, 20),
    st.sampled_from((0.0, 0.1, 0.6)),
    st.integers(1, 4),
    st.lists(st.floats(0, 1), min_size=1, max_size=30),
    st.integers(1, 600),
)
def test_no_text_loses_more_than_it_may(
    most: int, cost: float, rows: int, luck: list[float], tokens: int
) -> None:
    """Whatever comes true: but for the last guess, at most LOSS of a plain step a token."""
    pace, price = Pace(most), Price()
    made, balance, worst, turn = 0, 0.0, 0.0, 0
    while made < tokens:
        count = pace.next()
        assert 0 <= count <= most
        made += 1
        if count:
            right = min(count, int(luck[turn % len(luck)] * (count + 1)))
            turn += 1
            made += right
            paid = price.of(count, cost, made, rows)
            pace.learn(count, right, paid)
            balance += right - paid
            worst = max(worst, paid)
        assert -balance <= LOSS * made + worst


def rests(rights: Sequence[int], most: int = 8) -> list[int]:
    """Tokens without a guess after each of guesses of which so many are right."""
    pace, found = Pace(most), list[int]()
    for right in rights:
        count, rest = pace.next(), 0
        while count == 0:
            rest += 1
            count = pace.next()
        found.append(rest)
        pace.learn(count, min(right, count), CHECK + TOKEN * count)
    return found[1:]


def test_failures_make_rests_grow_and_success_ends_them() -> None:
    failing = rests([0] * 9)
    assert failing == sorted(failing)
    assert (failing[0], failing[-1]) == (12, REST[1])
    assert rests([8, 8, 8, 0, 0, 8]) == [0] * 5
    # Credit is limited: soon a long success counts no more.
    assert any(rests([8] * 50 + [0] * 12))
    # And a failure after rests and a success is a first one again.
    assert rests([0, 0, 0, 8, 0, 0, 0, 0])[-1] < failing[6]


def test_guesses_grow_as_they_come_true() -> None:
    pace = Pace(16)
    lengths: list[int] = []
    for right in (99, 99, 99, 5, 99, 0, 99):
        lengths.append(pace.next())
        pace.learn(lengths[-1], min(right, lengths[-1]), 0.5)
    assert lengths == [4, 8, 16, 16, 6, 12, 2]
    assert Pace(1).next() == 1


def test_what_a_guess_costs() -> None:
    assert Price().of(4, 0.0, 999, 1) == pytest.approx(CHECK + 4 * TOKEN)
    assert Price().of(4, 0.1, 999, 3) == pytest.approx(CHECK + 12 * (TOKEN + 0.1))
    spec = stack(PLAIN, PLAIN, replace(PLAIN, window=5)).spec
    apart = Price.apart(spec, 2, 1e6)
    # Keys and values of a head of 4 in each of two layers, in 2 bytes.
    assert apart.slot == pytest.approx(ATTENDING * 2 * 8 * 2 / 1e6)
    assert apart.token == pytest.approx(TOKEN + 3 * ATTEND_BYTES / 1e6)
    assert apart.of(1, 0.0, 500, 1) - apart.of(1, 0.0, 0, 1) == pytest.approx(500 * apart.slot)


def test_what_a_step_costs() -> None:
    spec = stack(PLAIN).spec
    more = replace(spec, layers=spec.layers * 3)
    assert step_bytes(more, 0, 2) == 3 * step_bytes(spec, 0, 2)
    assert step_bytes(spec, 1000, 2) - step_bytes(spec, 0, 2) == 2000
    untied = replace(spec, tied=False)
    assert step_bytes(spec, 0, 2) - step_bytes(untied, 0, 2) == 2 * spec.vocab * spec.hidden


def test_nothing_is_kept_of_texts_that_have_ended() -> None:
    guesser = Guesser(Guessing((guessed(Scripted([1, 2, 3, 4])),)))
    one = Text(REQUEST)
    assert guesser.guess(one, 8)
    one.finish = "stop"
    guesser.learn(one, 4, 4, 1)
    assert not vars(guesser)["_texts"]
    assert not vars(guesser)["_last"]
