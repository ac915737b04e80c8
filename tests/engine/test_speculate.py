"""Guessing ahead changes nothing but the number of steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool.engine.cache.static import StaticCache
from lmtool.engine.loop import Loop
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.request import Request, Sampling, Stop, Timings
from lmtool.engine.spec import DynamicScaling, LongScaling, ModelSpec
from lmtool.engine.speculate import (
    FIRST,
    ROWS,
    Guessing,
    LookupDrafter,
    ModelDrafter,
    Way,
)
from lmtool.engine.step import Piece, Step
from reference.random_specs import LONGEST, VOCAB, RandomSource, models
from reference.scripted_drafter import HOT, REQUEST, Scripted, guessed, run
from reference.side_by_side import PLAIN, assert_same, ids_of, requests, said, stack

CPU = torch.device("cpu")
thorough = settings(max_examples=60, deadline=None, derandomize=True)


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The widths of steps to come."""
    widths: list[int] = []
    whole = Step.of

    def recording(pieces: Sequence[Piece], device: torch.device, paged: bool = False) -> Step:
        widths.append(sum(len(piece.ids) for piece in pieces))
        return whole(pieces, device, paged)

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
        return Way(lambda: ModelDrafter(other, LONGEST - 3, 4), most, 0.1)

    return lambda *known: [way(kind, *known) for kind in kinds]


@thorough
@given(
    models(),
    st.integers(0, 2**31),
    st.lists(requests, min_size=1, max_size=4),
    several_ways(),
    st.integers(2, 7),
    st.booleans(),
)
def test_texts_are_the_same_with_any_guesses(
    spec: ModelSpec, seed: int, asked: list[Request], speculate: Any, chunk: int, apart: bool
) -> None:
    decoder = Decoder(spec, RandomSource(seed))
    wanted = said(Loop(decoder, asked, LONGEST, Timings(), chunk=chunk))
    text = ids_of(wanted.get((0, 0), []))
    guessing = Guessing(tuple(speculate(decoder, spec, text)), apart=apart)
    timings = Timings()
    loop = Loop(decoder, asked, LONGEST, timings, 3, chunk, guessing)
    got = said(loop)
    assert got.keys() == wanted.keys()
    for key, emissions in got.items():
        assert_same(emissions, wanted[key])
    assert timings.right <= (timings.guessed or 0)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return stack(PLAIN, replace(PLAIN, window=5))


@pytest.fixture(scope="module")
def text(decoder: Decoder) -> list[int]:
    """A sampled text of 100 tokens."""
    return ids_of(run(decoder, REQUEST)[0])


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
    texts = said(
        Loop(decoder, [REQUEST], 20, Timings(), guessing=Guessing((guessed(drafter, most),)))
    )
    assert ids_of(texts[0, 0]) == text[:17]
    assert texts[0, 0][-1].sequence.finish == "context"


def test_whoever_listens_may_end_a_text_within_a_run(decoder: Decoder, text: list[int]) -> None:
    heard: list[int] = []
    timings = Timings()
    loop = Loop(decoder, [REQUEST], 200, timings, guessing=Guessing((guessed(Scripted(text)),)))
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
        said(Loop(decoder, [request], 200, timings, guessing=Guessing((way,))))
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
    texts = said(Loop(decoder, [request], 200, timings, rows=3, guessing=Guessing((way,))))
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


def test_tokens_of_a_guess_may_attend_each_by_itself(
    decoder: Decoder, text: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[list[int]] = []
    whole = Step.of

    def recording(pieces: Sequence[Piece], device: torch.device, paged: bool = False) -> Step:
        step = whole(pieces, device, paged)
        widths.append([segment.width for segment in step.segments])
        return step

    monkeypatch.setattr(Step, "of", recording)
    for apart in (False, True):
        guessing = Guessing((guessed(Scripted(text)),), apart=apart)
        texts = said(Loop(decoder, [REQUEST], 200, Timings(), guessing=guessing))
        assert ids_of(texts[0, 0]) == text
        assert widths[1] == ([1] * (FIRST + 1) if apart else [FIRST + 1])
        widths.clear()


@pytest.mark.parametrize("window", [None, 5])
def test_half_precision_is_exact_where_products_are(window: int | None) -> None:
    """Products of few inputs are summed in one order however many rows they have."""
    source = RandomSource(3)
    source.dtype = torch.bfloat16
    spec = stack(PLAIN, replace(PLAIN, window=window)).spec
    decoder = Decoder(spec, source)
    assert decoder.dtype == torch.bfloat16
    for sampling in (Sampling(), HOT):
        request = replace(REQUEST, sampling=sampling, logprobs=0)
        wanted, _ = run(decoder, request)
        way = guessed(Scripted(ids_of(wanted)))
        texts = said(
            Loop(decoder, [request], 200, Timings(), guessing=Guessing((way,), apart=True))
        )
        assert ids_of(texts[0, 0]) == ids_of(wanted)
        assert [one.logprob for one in texts[0, 0]] == [one.logprob for one in wanted]


def test_of_several_ways_the_first_that_has_something_to_say(
    decoder: Decoder, text: list[int]
) -> None:
    right = Scripted(text)
    wrong = Scripted([(id + 1) % VOCAB for id in text])
    silent = Scripted(())
    guessing = Guessing((guessed(silent), guessed(wrong), guessed(right)))
    texts = said(Loop(decoder, [REQUEST], 200, Timings(), guessing=guessing))
    assert ids_of(texts[0, 0]) == text
    # Each at its own pace: while the second rests, the third goes on.
    places = [[place for place, _ in drafter.guesses] for drafter in (silent, wrong, right)]
    assert places[0] == sorted({*places[1], *places[2], *places[0]})
    assert places[1][:1] == [1]
    assert not set(places[1]) & set(places[2])
    assert len(places[2]) > len(places[1])
