"""Guessing ahead changes nothing but the number of steps, and stops where it doesn't pay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lmtool import ModelError
from lmtool.engine.cache.static import StaticCache
from lmtool.engine.loop import Emission, Loop
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.request import Request, Sampling, Stop, Timings
from lmtool.engine.sequence import Sequence as Text
from lmtool.engine.spec import DynamicScaling, LongScaling, ModelSpec
from lmtool.engine.speculate import (
    CHECK,
    FIRST,
    LOSS,
    REST,
    ROWS,
    TOKEN,
    Drafter,
    Guesser,
    LookupDrafter,
    ModelDrafter,
    Pace,
    Way,
    step_bytes,
)
from lmtool.engine.step import Piece, Step
from reference.random_specs import LONGEST, VOCAB, RandomSource, models
from reference.side_by_side import PLAIN, assert_same, ids_of, requests, said, stack

CPU = torch.device("cpu")
HOT = Sampling(temperature=1.5)
thorough = settings(max_examples=60, deadline=None, derandomize=True)


@dataclass
class Scripted:
    """Guesses what it is told to for each place of a text, however wrong that is."""

    script: Sequence[int]
    cost: float = 0.0
    guesses: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """How long the text was at each guess, and how long the guess."""

    def propose(self, sequence: Text, count: int) -> Sequence[int]:
        begin = len(sequence.generated)
        guess = self.script[begin : begin + count]
        self.guesses.append((begin, len(guess)))
        return guess


def guessed(drafter: Drafter, most: int = 8) -> Way:
    return Way(lambda: drafter, most)


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The widths of steps to come."""
    widths: list[int] = []
    whole = Step.of

    def recording(pieces: Sequence[Piece], device: torch.device) -> Step:
        widths.append(sum(len(piece.ids) for piece in pieces))
        return whole(pieces, device)

    monkeypatch.setattr(Step, "of", recording)
    return widths


@st.composite
def several_ways(draw: st.DrawFn) -> Any:
    """Ways to guess, made from the decoder and what it says without."""
    kinds = draw(
        st.lists(st.sampled_from(("lookup", "model", "other model", "script")), max_size=3)
    )
    most = draw(st.integers(1, 6))
    noise = draw(st.lists(st.booleans(), min_size=LONGEST, max_size=LONGEST))

    def way(kind: str, decoder: Decoder, spec: ModelSpec, text: Sequence[int]) -> Way:
        if kind == "lookup":
            return Way(LookupDrafter, most)
        if kind == "script":
            script = [(id + wrong) % VOCAB for id, wrong in zip(text, noise, strict=False)]
            return Way(lambda: Scripted(script), most)
        other = decoder if kind == "model" else Decoder(spec, RandomSource(5))
        return Way(lambda: ModelDrafter(other, LONGEST - 3, 4, 0.1), most)

    return lambda *known: [way(kind, *known) for kind in kinds]


@thorough
@given(
    models(),
    st.integers(0, 2**31),
    st.lists(requests, min_size=1, max_size=4),
    several_ways(),
    st.integers(2, 7),
)
def test_texts_are_the_same_with_any_guesses(
    spec: ModelSpec, seed: int, asked: list[Request], speculate: Any, chunk: int
) -> None:
    decoder = Decoder(spec, RandomSource(seed))
    wanted = said(Loop(decoder, asked, LONGEST, Timings(), chunk=chunk))
    text = ids_of(wanted.get((0, 0), []))
    ways = speculate(decoder, spec, text)
    timings = Timings()
    loop = Loop(decoder, asked, LONGEST, timings, 3, chunk, ways)
    got = said(loop)
    assert got.keys() == wanted.keys()
    for key, emissions in got.items():
        assert_same(emissions, wanted[key])
    assert timings.right <= (timings.guessed or 0)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return stack(PLAIN, replace(PLAIN, window=5))


def run(
    decoder: Decoder, request: Request, way: Way | None = None
) -> tuple[list[Emission], Timings]:
    timings = Timings()
    texts = said(Loop(decoder, [request], 200, timings, ways=[way] if way else []))
    return texts[0, 0], timings


@pytest.fixture(scope="module")
def text(decoder: Decoder) -> list[int]:
    """A sampled text of 100 tokens."""
    return ids_of(run(decoder, REQUEST)[0])


REQUEST = Request((1, 2, 3), 100, HOT)


def test_guesses_that_come_true_make_steps_rare(
    decoder: Decoder, text: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = steps_of(monkeypatch)
    got, timings = run(decoder, REQUEST, guessed(Scripted(text)))
    assert ids_of(got) == text
    # The prompt, FIRST + 1 tokens, nine at a time, and what is then left.
    assert widths == [3, FIRST + 1, *[9] * 10, 4]
    assert timings.guessed == timings.right == sum(widths[1:]) - len(widths[1:])


def test_wrong_guesses_become_ever_rarer(
    decoder: Decoder, text: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = steps_of(monkeypatch)
    drafter = Scripted([(id + 1) % VOCAB for id in text])
    got, timings = run(decoder, REQUEST, guessed(drafter))
    assert ids_of(got) == text
    assert (timings.guessed, timings.right) == (sum(n for _, n in drafter.guesses), 0)
    assert len(widths) == 100
    places = [place for place, _ in drafter.guesses]
    rests = [after - before for before, after in pairwise(places)]
    assert places[0] == 1
    assert rests == sorted(rests)
    assert len(places) <= 5


def test_a_text_ends_within_a_guess_that_came_true(decoder: Decoder, text: list[int]) -> None:
    place = next(n for n in range(20, 60) if text[n] not in text[:n] or n == 59)
    last = text[place]
    first = text.index(last)
    for stop, finish in (
        (Stop(eos=frozenset({last})), "eos"),
        (Stop(ids=frozenset({last})), "stop"),
    ):
        got, timings = run(decoder, replace(REQUEST, stop=stop), guessed(Scripted(text), 90))
        assert ids_of(got) == text[: first + 1]
        assert got[-1].sequence.finish == finish
        assert timings.decoded_tokens == first + 1


@pytest.mark.parametrize("most", range(1, 12))
def test_no_guess_leads_beyond_the_last_token(
    decoder: Decoder, text: list[int], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = steps_of(monkeypatch)
    got, _ = run(decoder, replace(REQUEST, max_new=17), guessed(Scripted(text), most))
    assert (ids_of(got), got[-1].sequence.finish) == (text[:17], "length")
    assert sum(widths) == 3 + 16
    drafter = Scripted(text)
    texts = said(Loop(decoder, [REQUEST], 20, Timings(), ways=[guessed(drafter, most)]))
    assert ids_of(texts[0, 0]) == text[:17]
    assert texts[0, 0][-1].sequence.finish == "context"


def test_whoever_listens_may_end_a_text_within_a_run(decoder: Decoder, text: list[int]) -> None:
    heard: list[int] = []
    timings = Timings()
    loop = Loop(decoder, [REQUEST], 200, timings, ways=[guessed(Scripted(text))])
    for emission in loop.run():
        assert emission.sequence.generated[-1] == emission.id
        heard.append(emission.id)
        if len(heard) == 9:
            emission.sequence.finish = "stop"
    assert heard == text[:9]
    assert timings.decoded_tokens == 9


def test_reports_within_a_run(decoder: Decoder, text: list[int]) -> None:
    request = replace(REQUEST, logprobs=3)
    wanted, _ = run(decoder, request)
    got, timings = run(decoder, request, guessed(Scripted(text)))
    assert timings.right > 50
    for one, other in zip(got, wanted, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
        assert [c.id for c in one.top] == [c.id for c in other.top]


@pytest.mark.parametrize("scaling", [
    LongScaling((1.0, 1.0), (5.0, 9.0), 12, 1.0, afresh=True),
    LongScaling((1.0, 1.0), (5.0, 9.0), 12, 1.2),
    DynamicScaling(8.0, 9),
])  # fmt: skip
def test_ropes_that_know_the_length(scaling: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rope = replace(PLAIN.rope, scaling=scaling)
    decoder = stack(replace(PLAIN, rope=rope), replace(PLAIN, rope=rope, window=5))
    wanted, _ = run(decoder, REQUEST)
    widths = steps_of(monkeypatch)
    got, timings = run(decoder, REQUEST, guessed(Scripted(ids_of(wanted))))
    assert ids_of(got) == ids_of(wanted)
    assert timings.right > 80
    if decoder.spec.turning_points():
        # From 3 to 12 in three steps, all 13 anew, and on.
        assert widths[:4] == [3, 5, 4, 13]


def test_no_guessing_in_a_crowd(decoder: Decoder, text: list[int]) -> None:
    counts: list[int] = []
    for samples in (ROWS, ROWS + 1):
        timings = Timings()
        request = replace(REQUEST, samples=samples, max_new=9)
        way = Way(lambda: Scripted(text), 8)
        said(Loop(decoder, [request], 200, timings, ways=[way]))
        counts.append(timings.guessed or 0)
    assert counts[0] > 0
    assert counts[1] == 0


def test_samples_have_the_distribution_of_the_model(decoder: Decoder) -> None:
    """Of 3000 pairs of tokens, as many of each as the model's probabilities say."""
    count = 3000
    # Three tokens, so that there is room for a guess of the second.
    request = Request((1, 2, 3), 3, Sampling(temperature=1.0, top_k=3, seed=11), samples=count)
    script = ids_of(run(decoder, replace(request, sampling=Sampling(), samples=1))[0])
    timings = Timings()
    way = Way(lambda: Scripted(script), 4)
    texts = said(Loop(decoder, [request], 200, timings, rows=3, ways=[way]))
    assert timings.right > count / 20
    found = Counter(tuple(ids_of(emissions)[:2]) for emissions in texts.values())
    expected = {
        (first, second): one * two
        for first, one in probabilities(decoder, [1, 2, 3]).items()
        for second, two in probabilities(decoder, [1, 2, 3, first]).items()
    }
    surprise = sum((found[pair] - count * p) ** 2 / (count * p) for pair, p in expected.items())
    assert len(expected) == 9
    assert surprise < 26.1  # chi squared with 8 degrees of freedom, 99.9 %


def probabilities(decoder: Decoder, ids: list[int]) -> dict[int, float]:
    cache = StaticCache(decoder.spec, 1, 200, 200, torch.float32, CPU)
    logits = decoder(Step.of([Piece(0, 0, ids, len(ids))], CPU), cache)[0]
    best = logits.topk(3)
    return dict(zip(best.indices.tolist(), best.values.softmax(-1).tolist(), strict=True))


# Drafters by themselves.


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
    way = Way(lambda: ModelDrafter(decoder, 200, 16, 0.01), 5)
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
    drafter = ModelDrafter(watched, 200, 4, 0.1)
    text = Text(Request((1, 2, 3, 4, 5, 6)))

    def wanted(count: int) -> list[int]:
        return ModelDrafter(decoder, 200, 200, 0.1).propose(text, count)

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
    drafter = ModelDrafter(decoder, 6, 200, 0.1)
    assert len(ask(drafter, range(4), 5)) == 2
    for length in (6, 7, 9):
        assert ask(ModelDrafter(decoder, 6, 200, 0.1), range(length), 5) == []
    request = replace(REQUEST, max_new=20)
    short = Way(lambda: ModelDrafter(decoder, 9, 4, 0.0), 5)
    got, timings = run(decoder, request, short)
    assert ids_of(got) == ids_of(run(decoder, request)[0])
    assert 0 < timings.guessed == timings.right <= 6


def test_a_draft_model_whose_logits_are_no_numbers(decoder: Decoder) -> None:
    class Broken(Watched):
        def __call__(self, step: Step, cache: StaticCache) -> Tensor:
            return super().__call__(step, cache) * float("nan")

    way = Way(lambda: ModelDrafter(Broken(decoder), 200, 4, 0.0), 5)
    with pytest.raises(ModelError, match="the model's logits are not numbers"):
        run(decoder, REQUEST, way)


# The pace by itself.


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
    pace = Pace(most, cost)
    made, balance, worst, turn = 0, 0.0, 0.0, 0
    while made < tokens:
        count = pace.next()
        assert 0 <= count <= most
        made += 1
        if count:
            right = min(count, int(luck[turn % len(luck)] * (count + 1)))
            turn += 1
            made += right
            pace.learn(count, right, rows)
            price = CHECK + (TOKEN + cost) * count * rows
            balance += right - price
            worst = max(worst, price)
        assert -balance <= LOSS * made + worst


def rests(rights: Sequence[int], most: int = 8) -> list[int]:
    """Tokens without a guess after each of guesses of which so many are right."""
    pace, found = Pace(most, 0.0), list[int]()
    for right in rights:
        count, rest = pace.next(), 0
        while count == 0:
            rest += 1
            count = pace.next()
        found.append(rest)
        pace.learn(count, min(right, count))
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
    pace = Pace(16, 0.0)
    lengths: list[int] = []
    for right in (99, 99, 99, 5, 99, 0, 99):
        lengths.append(pace.next())
        pace.learn(lengths[-1], min(right, lengths[-1]))
    assert lengths == [4, 8, 16, 16, 6, 12, 2]
    assert Pace(1, 0.0).next() == 1


def test_what_a_step_costs() -> None:
    spec = stack(PLAIN).spec
    more = replace(spec, layers=spec.layers * 3)
    assert step_bytes(more, 0, 2) == 3 * step_bytes(spec, 0, 2)
    assert step_bytes(spec, 1000, 2) - step_bytes(spec, 0, 2) == 2000
    untied = replace(spec, tied=False)
    assert step_bytes(spec, 0, 2) - step_bytes(untied, 0, 2) == 2 * spec.vocab * spec.hidden


def test_of_several_ways_the_first_that_has_something_to_say(
    decoder: Decoder, text: list[int]
) -> None:
    right = Scripted(text)
    wrong = Scripted([(id + 1) % VOCAB for id in text])
    silent = Scripted(())
    ways = [guessed(silent), guessed(wrong), guessed(right)]
    texts = said(Loop(decoder, [REQUEST], 200, Timings(), ways=ways))
    assert ids_of(texts[0, 0]) == text
    # Each at its own pace: while the second rests, the third goes on.
    places = [[place for place, _ in drafter.guesses] for drafter in (silent, wrong, right)]
    assert places[0] == sorted({*places[1], *places[2], *places[0]})
    assert places[1][:1] == [1]
    assert not set(places[1]) & set(places[2])
    assert len(places[2]) > len(places[1])


def test_nothing_is_kept_of_texts_that_have_ended(decoder: Decoder, text: list[int]) -> None:
    guesser = Guesser([guessed(Scripted(text))])
    one = Text(REQUEST)
    assert guesser.guess(one, 8)
    one.finish = "stop"
    guesser.learn(one, 4, 4, 1)
    assert not vars(guesser)["_texts"]
    assert not vars(guesser)["_guessed"]
