"""What is kept from one text to the next: fewer tokens read, and the same texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool.engine import kept as module
from lmtool.engine.kept import KeptCache
from lmtool.engine.loop import Emission, Loop
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.request import Request, Sampling, Timings
from lmtool.engine.spec import DynamicScaling, LongScaling, ModelSpec, RopeSpec
from lmtool.engine.speculate import Guessing, LookupDrafter, Way
from reference.random_specs import LONGEST, VOCAB, RandomSource, models
from reference.side_by_side import PLAIN, assert_same, ids_of, requests, said, stack

thorough = settings(max_examples=60, deadline=None, derandomize=True)
HOT = Sampling(temperature=1.5)

turns = st.lists(
    st.tuples(
        requests,
        st.integers(0, LONGEST),  # how much of the text before the prompt begins with
        st.sampled_from((1, 2, 5, 99)),  # tokens after which it is broken off
    ),
    min_size=2,
    max_size=4,
)


@thorough
@given(models(), st.integers(0, 2**31), turns, st.integers(1, 7), st.booleans())
def test_a_talk_says_what_its_turns_would_say_alone(
    spec: ModelSpec, seed: int, talk: list[tuple[Request, int, int]], chunk: int, guess: bool
) -> None:
    decoder = Decoder(spec, RandomSource(seed))
    guessing = Guessing((Way(LookupDrafter, 3),)) if guess else None
    kept, text = KeptCache(), tuple[int, ...]()
    with patch.object(module, "FEWEST", 2):
        for request, common, tokens in talk:
            ids = (*text[:common], *request.ids)[: LONGEST - 1]
            request = replace(request, ids=ids)
            alone = said(Loop(decoder, [request], LONGEST, Timings(), chunk=LONGEST))
            timings = Timings()
            loop = Loop(decoder, [request], LONGEST, timings, 4, chunk, guessing, kept=kept)
            got = broken_off(loop, tokens)
            for sample in range(request.samples):
                emissions = got.get(sample, [])
                wanted = alone.get((0, sample), [])
                assert_same(emissions, wanted[: len(emissions)])
            assert timings.reused_tokens is not None
            if tokens == 99 or got:
                assert timings.reused_tokens + timings.prompt_tokens == len(ids)
            text = (*ids, *ids_of(got.get(0, [])))
            assert kept.ids == (*text, *kept.ids)[: len(kept.ids)] or request.samples > 1


def broken_off(loop: Loop, tokens: int) -> dict[int, list[Emission]]:
    """What each sample says until `tokens` are said together."""
    texts: dict[int, list[Emission]] = {}
    stream = loop.run()
    for count, emission in enumerate(stream, 1):
        texts.setdefault(emission.sequence.sample, []).append(emission)
        if count == tokens:
            stream.close()
    return texts


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return stack(PLAIN, replace(PLAIN, window=5))


Turn = Callable[..., tuple[list[int], Timings]]


@pytest.fixture
def turn(decoder: Decoder) -> Turn:
    def run(kept: KeptCache, ids: tuple[int, ...], count: int = 6, **more: object) -> object:
        timings = Timings()
        request = Request(ids, count, HOT, **more)  # type: ignore[arg-type]
        texts = said(Loop(decoder, [request], 200, timings, chunk=8, kept=kept))
        return ids_of(texts.get((0, 0), [])), timings

    return run  # type: ignore[return-value]


def test_a_turn_reads_what_is_new(turn: Turn) -> None:
    kept = KeptCache()
    first, timings = turn(kept, (1, 2, 3))
    assert (timings.prompt_tokens, timings.reused_tokens) == (3, 0)
    assert kept.ids == (1, 2, 3, *first[:-1])  # what comes last is never read
    second, timings = turn(kept, (1, 2, 3, *first, 4, 5))
    assert (timings.prompt_tokens, timings.reused_tokens) == (3, 8)
    again, timings = turn(kept, (1, 2, 3, *first, 4, 5))
    assert (timings.prompt_tokens, timings.reused_tokens) == (1, 10)
    assert again == second == turn(KeptCache(), (1, 2, 3, *first, 4, 5))[0]


def test_a_window_is_read_anew_where_it_was_rewound_too_far(turn: Turn) -> None:
    ids = tuple(place * 5 % VOCAB for place in range(60))
    kept = KeptCache()
    turn(kept, ids, 1)
    for common, reused in ((55, 55), (51, 51), (50, 0)):  # rings of 5 + 8 slots for 60 tokens
        other = (*ids[:common], *(12 - id for id in ids[common:]))
        text, timings = turn(kept, other, 1)
        assert timings.reused_tokens == reused
        assert text == turn(KeptCache(), other, 1)[0]
        kept.clear()
        turn(kept, ids, 1)


def test_samples_share_what_is_kept_and_leave_their_prompt(turn: Turn) -> None:
    kept = KeptCache()
    turn(kept, (1, 2, 3, 4))
    _, timings = turn(kept, (1, 2, 3, 4, 5, 6), samples=3)
    assert (timings.prompt_tokens, timings.reused_tokens) == (2, 4)
    assert kept.ids == (1, 2, 3, 4, 5, 6)
    _, timings = turn(kept, (1, 2, 3, 4, 5, 6, 7))
    assert timings.reused_tokens == 6


def test_scores_of_a_prompt_are_computed(turn: Turn) -> None:
    kept = KeptCache()
    turn(kept, (1, 2, 3, 4))
    _, timings = turn(kept, (1, 2, 3, 4, 5), logprobs=0, prompt_logprobs=True)
    assert (timings.prompt_tokens, timings.reused_tokens) == (5, 0)


def test_a_prompt_alone_is_kept(turn: Turn) -> None:
    kept = KeptCache()
    assert turn(kept, (1, 2, 3), 0)[0] == []
    assert kept.ids == (1, 2, 3)


def test_a_step_broken_off_leaves_what_was_cached_before(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle of a step, be it of the prompt or of the answer."""
    request = Request(tuple(range(12)), 9, HOT)
    whole = Decoder.hidden_wanted
    for steps, cached in ((0, 0), (1, 8), (2, 12), (5, 15)):
        kept = KeptCache()
        left = steps

        def breaking(self: Decoder, *arguments: object) -> torch.Tensor:
            nonlocal left
            hidden = whole(self, *arguments)  # type: ignore[arg-type]
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return hidden

        with monkeypatch.context() as scope:
            scope.setattr(Decoder, "hidden_wanted", breaking)
            with pytest.raises(KeyboardInterrupt):
                said(Loop(decoder, [request], 200, Timings(), chunk=8, kept=kept))
        assert len(kept.ids) == cached
        timings = Timings()
        got = said(Loop(decoder, [request], 200, timings, chunk=8, kept=kept))
        assert timings.reused_tokens == min(cached, 11)
        alone = said(Loop(decoder, [request], 200, Timings(), chunk=8))
        assert ids_of(got[0, 0]) == ids_of(alone[0, 0])


def test_a_second_generation_takes_over(decoder: Decoder) -> None:
    kept = KeptCache()
    one = Loop(decoder, [Request((1, 2, 3), 9, HOT)], 200, Timings(), kept=kept).run()
    first = [next(one).id, next(one).id]
    ids = (1, 2, 3, *first, 4)
    timings = Timings()
    two = Loop(decoder, [Request(ids, 5, HOT)], 200, timings, kept=kept)
    text = ids_of(said(two)[0, 0])
    assert timings.reused_tokens == 4
    one.close()
    assert kept.ids == (*ids, *text[:-1])


def test_another_model_finds_nothing(decoder: Decoder) -> None:
    kept = KeptCache()
    said(Loop(decoder, [Request((1, 2, 3), 5, HOT)], 200, Timings(), kept=kept))
    other = stack(PLAIN)
    timings = Timings()
    said(Loop(other, [Request((1, 2, 3, 4), 5, HOT)], 200, timings, kept=kept))
    assert timings.reused_tokens == 0


def test_what_leaves_a_full_context_is_not_kept(decoder: Decoder) -> None:
    kept = KeptCache()
    request = Request((1, 2, 3, 4), 30, HOT, shift=1)
    text = ids_of(said(Loop(decoder, [request], 16, Timings(), kept=kept))[0, 0])
    assert len(kept.ids) < 16
    assert kept.ids == (1, *text[-len(kept.ids) : -1])
    timings = Timings()
    said(Loop(decoder, [Request((*kept.ids, 5), 1, HOT)], 16, timings, kept=kept))
    assert timings.prompt_tokens == 1


@pytest.mark.parametrize("afresh", [False, True])
def test_a_rope_for_long_texts_is_not_mixed_with_one_for_short(afresh: bool) -> None:
    scaling = LongScaling((1.0, 1.0), (5.0, 9.0), 12, 1.0, afresh=afresh)
    decoder = stack(replace(PLAIN, rope=RopeSpec(4, 100.0, scaling)))
    kept = KeptCache()
    ids = tuple(range(8))
    for length, count, reused in (
        (4, 2, 0),
        (8, 1, 4),
        (12, 1, 8),
        (13, 3, 0),  # all before was turned for short texts
        (16, 1, 13),
        (9, 1, 0),
        (9, 9, 8),  # becomes long on the way: is read anew then, or goes on
        (14, 1, 13 if afresh else 0),
    ):
        ids = tuple(place * 7 % VOCAB for place in range(length))
        request = Request(ids, count, HOT, logprobs=VOCAB)
        timings = Timings()
        got = said(Loop(decoder, [request], 200, timings, kept=kept))[0, 0]
        assert_same(got, said(Loop(decoder, [request], 200, Timings()))[0, 0])
        if length != 14:
            assert timings.reused_tokens == reused, length


def test_a_rope_that_grows_with_the_text_reuses_short_texts_alone() -> None:
    decoder = stack(replace(PLAIN, rope=RopeSpec(4, 100.0, DynamicScaling(4.0, 12))))
    kept = KeptCache()
    for length, reused in ((8, 0), (12, 8), (13, 0), (14, 0), (14, 13)):
        ids = tuple(place * 7 % VOCAB for place in range(length))
        timings = Timings()
        said(Loop(decoder, [Request(ids, 1, HOT)], 200, timings, kept=kept))
        assert timings.reused_tokens == reused, length
