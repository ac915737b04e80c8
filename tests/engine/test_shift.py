"""A context that is full and shifts, against one that starts anew with what stays."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool.engine.loop import Emission, Loop
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.request import Request, Sampling, Stop, Timings
from lmtool.engine.sequence import Sequence
from lmtool.engine.spec import ModelSpec
from lmtool.engine.speculate import Guessing, LookupDrafter, ModelDrafter, Way
from reference.random_specs import VOCAB, RandomSource, models
from reference.side_by_side import PLAIN, assert_same, ids_of, said, stack

thorough = settings(max_examples=15, deadline=None, derandomize=True)
CONTEXT = 12
HOT = Sampling(temperature=1.5, seed=3, repetition=1.2, repeat_last=-1)


def anew(decoder: Decoder, request: Request, context: int) -> list[Emission]:
    """What a greedy request says where each full context is left for one that starts anew."""
    window, out = list(request.ids), list[Emission]()
    most = request.max_new or 0
    while len(out) < most:
        count = min(most - len(out), context - len(window))
        piece = replace(request, ids=tuple(window), max_new=count, shift=None)
        out += said(Loop(decoder, [piece], context, Timings()))[0, 0]
        window += ids_of(out[len(out) - count :])
        kept = request.shift or 0
        gone = max(1, (len(window) - kept) // 2)
        window = window[:kept] + window[kept + gone :]
    return out


@thorough
@given(
    models(),
    st.integers(0, 2**31),
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=CONTEXT - 1),
    st.integers(0, 1),
    st.integers(2, 7),
)
def test_a_shifted_text_is_that_of_a_context_that_starts_anew(
    spec: ModelSpec, seed: int, ids: list[int], kept: int, chunk: int
) -> None:
    decoder = Decoder(spec, RandomSource(seed))
    request = Request(tuple(ids), 30, Sampling(), logprobs=VOCAB, shift=kept)
    got = said(Loop(decoder, [request], CONTEXT, Timings(), chunk=chunk))[0, 0]
    assert len(got) == 30
    assert got[-1].sequence.finish == "length"
    assert_same(got, anew(decoder, request, CONTEXT))


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return stack(PLAIN, replace(PLAIN, window=5))


def test_who_runs_beside_it_makes_no_difference(decoder: Decoder) -> None:
    asked = [
        Request((1, 2, 3, 4), 50, HOT, samples=3, shift=1),
        Request((5,), 9, HOT),
        Request((6, 7), None, HOT),
        Request((8, 9, 10), 30, HOT, shift=0),
    ]
    together = said(Loop(decoder, asked, CONTEXT, Timings(), rows=3, chunk=5))
    for number, request in enumerate(asked):
        alone = said(Loop(decoder, [request], CONTEXT, Timings()))
        for sample in range(request.samples):
            got, wanted = together[number, sample], alone[0, sample]
            assert ids_of(got) == ids_of(wanted)
            assert got[-1].sequence.finish == wanted[-1].sequence.finish
            assert got[-1].sequence.dropped == wanted[-1].sequence.dropped
    assert together[2, 0][-1].sequence.finish == "context"
    assert len({tuple(ids_of(together[0, sample])) for sample in range(3)}) == 3


@pytest.mark.parametrize("sampling", [Sampling(), HOT], ids=["greedy", "hot"])
def test_guesses_make_no_difference(decoder: Decoder, sampling: Sampling) -> None:
    other = stack(PLAIN)
    request = Request((1, 2, 3, 4, 1, 2), 60, sampling, shift=1)
    plain = said(Loop(decoder, [request], CONTEXT, Timings()))[0, 0]
    ways = (
        Way(LookupDrafter, 4),
        Way(lambda: ModelDrafter(other, CONTEXT, 4), 4),
        Way(lambda: ModelDrafter(decoder, CONTEXT - 3, 4), 4),
    )
    for way in ways:
        timings = Timings()
        loop = Loop(decoder, [request], CONTEXT, timings, guessing=Guessing((way,)))
        assert ids_of(said(loop)[0, 0]) == ids_of(plain)
    assert timings.guessed


def test_it_ends_by_everything_but_the_context(decoder: Decoder) -> None:
    request = Request((1, 2, 3), 60, HOT, shift=0)
    ids = ids_of(said(Loop(decoder, [request], CONTEXT, Timings()))[0, 0])
    last = ids[40]
    place = ids.index(last)
    stopping = replace(request, max_new=None, stop=Stop(eos=frozenset({last})))
    got = said(Loop(decoder, [stopping], CONTEXT, Timings()))[0, 0]
    assert ids_of(got) == ids[: place + 1]
    assert got[-1].sequence.finish == "eos"


@pytest.mark.parametrize(
    ("kept", "context", "views"),
    [
        (0, 4, ["abcd", "cd", "cde", "cdef", "ef"]),
        (1, 6, ["abcdef", "adef", "adefg", "adefgh", "afgh"]),
        (0, 2, ["ab", "b", "bc", "c", "cd"]),
        (1, 3, ["abc", "ac", "acd", "ad", "ade"]),
    ],
)
def test_what_stays_in_view(kept: int, context: int, views: list[str]) -> None:
    """Letters stand for tokens; each full context is followed by what it shifts to."""
    text = Sequence(Request((ord("a"),), None, shift=kept))
    seen: list[str] = []
    for place in range(1, 9):
        full = text.length + 1 >= context
        if full:
            seen.append("".join(map(chr, (*text.ids(0, context), ord("a") + place))))
        text.cached = text.length
        text.accept(ord("a") + place, context)
        seen.append("".join(map(chr, text.ids(0, context))))
        assert (text.cached == 0) == full
        assert text.length == len(seen[-1])
        assert text.ids(1, 3) == text.ids(0, context)[1:3]
        assert text.said(0, text.total) == tuple(range(ord("a"), ord("a") + place + 1))
    first = next(at for at, view in enumerate(seen) if len(view) == context)
    assert seen[first : first + 5] == views
