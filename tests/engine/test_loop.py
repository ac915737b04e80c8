"""Texts side by side: each is what it would be alone, whoever comes and goes beside it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lmtool.engine.cache.static import StaticCache
from lmtool.engine.loop import Loop
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.request import Request, Sampling, Timings
from lmtool.engine.sampling.sampler import choose
from lmtool.engine.scheduler import Part, Scheduler
from lmtool.engine.sequence import Sequence as Text
from lmtool.engine.spec import (
    LongScaling,
    ModelSpec,
    RopeSpec,
)
from lmtool.engine.step import WASTE, Piece, Step
from reference.random_specs import LONGEST, RandomSource, models
from reference.side_by_side import (
    PLAIN,
    assert_as_alone,
    ids_of,
    requests,
    said,
    stack,
)

CPU = torch.device("cpu")
thorough = settings(max_examples=60, deadline=None, derandomize=True)


@thorough
@given(
    models(),
    st.integers(0, 2**31),
    st.lists(requests, min_size=1, max_size=6),
    st.integers(2, 5),
    st.integers(1, 7),
)
def test_a_text_is_the_same_alone_and_among_others(
    spec: ModelSpec, seed: int, asked: list[Request], rows: int, chunk: int
) -> None:
    decoder = Decoder(spec, RandomSource(seed))
    together = Loop(decoder, asked, LONGEST, Timings(), rows, chunk)
    got = said(together)
    assert_as_alone(decoder, asked, together, got)


HOT = Sampling(temperature=1.5)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return stack(PLAIN, replace(PLAIN, window=5))


def test_samples_share_one_prefill_however_many(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fed: list[int] = []
    whole = Loop._run

    def counting(self: Loop, parts: Sequence[Part], cache: StaticCache) -> Tensor:
        fed.append(sum(len(part.piece.ids) for part in parts))
        return whole(self, parts, cache)

    monkeypatch.setattr(Loop, "_run", counting)
    request = Request((1, 2, 3, 4, 5, 6), 10, HOT, samples=20)
    timings = Timings()
    texts = said(Loop(decoder, [request], 200, timings, rows=4))
    assert len({tuple(ids_of(text)) for text in texts.values()}) == 20
    assert timings.prompt_tokens == 6
    assert sum(fed) == 6 + 20 * 9
    assert timings.decoded_tokens == 200
    alone = said(Loop(decoder, [replace(request, samples=40)], 200, Timings(), rows=40))
    assert all(ids_of(texts[key]) == ids_of(alone[key]) for key in texts)


def test_samples_start_in_their_order_where_rows_are_scarce(decoder: Decoder) -> None:
    request = Request((1, 2, 3), 5, HOT, samples=7)
    loop = Loop(decoder, [request], 200, Timings(), rows=3)
    first_said = dict.fromkeys(emission.sequence.sample for emission in loop.run())
    assert list(first_said)[:4] == [0, 1, 2, 3]


def test_prompts_share_steps_and_texts_run_on_meanwhile(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[list[int]] = []
    whole = Loop._run

    def recording(self: Loop, parts: Sequence[Part], cache: StaticCache) -> Tensor:
        steps.append([len(part.piece.ids) for part in parts])
        return whole(self, parts, cache)

    monkeypatch.setattr(Loop, "_run", recording)
    asked = [Request(tuple(range(length)), 4, HOT) for length in (2, 3, 12)]
    said(Loop(decoder, asked, 200, Timings(), chunk=8))
    assert steps == [[2, 3, 3], [1, 1, 6], [1, 1, 3], [1, 1, 1], [1], [1]]


def test_the_last_row_moves_into_a_gap(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that run stay neighbours, so that they run as one segment."""
    segments: list[int] = []
    whole = Step.of

    def recording(pieces: Sequence[Piece], device: torch.device, paged: bool) -> Step:
        step = whole(pieces, device, paged)
        segments.append(len(step.segments))
        return step

    monkeypatch.setattr(Step, "of", recording)
    asked = [Request((1, 2), count, HOT) for count in (9, 2, 12, 4, 7)]
    texts = said(Loop(decoder, asked, 200, Timings()))
    assert [len(text) for text in texts.values()] == [9, 2, 12, 4, 7]
    assert segments == [5, *[1] * 11]


def test_a_long_row_beside_short_ones_has_a_segment_of_its_own() -> None:
    lengths = [20] * 5 + [2 * WASTE] + [20] * 3
    pieces = [Piece(row, length - 1, (0,), length) for row, length in enumerate(lengths)]
    segments = Step.of(pieces, CPU).segments
    assert [(segment.row, segment.rows) for segment in segments] == [(0, 5), (5, 1), (6, 3)]
    assert all(segment.waste <= WASTE for segment in segments)


def test_those_that_come_together_are_seated_by_length(decoder: Decoder) -> None:
    texts = [Text(Request(tuple(range(length))), number=length) for length in (9, 3, 6)]
    table = Scheduler(texts, 8)
    assert table.seat(StaticCache(decoder.spec, 8, 200, 8, torch.float32, CPU))
    assert [text.number for text in table.seated()] == [3, 6, 9]


def test_a_text_that_outgrows_a_rope_is_read_anew() -> None:
    scaling = LongScaling((1.0, 1.0), (5.0, 9.0), 12, 1.0, afresh=True)
    long = replace(PLAIN, rope=RopeSpec(4, 100.0, scaling))
    decoder = stack(long, replace(long, window=5))
    assert decoder.spec.turning_points() == {13}
    asked = [Request((1, 2, 3), 30, HOT), Request((4,) * 11, 9, HOT), Request((5,) * 20, 5, HOT)]
    together = said(Loop(decoder, asked, 200, Timings(), chunk=5))
    for place, request in enumerate(asked):
        ids = list(request.ids)
        for emission in together[place, 0]:
            cache = StaticCache(decoder.spec, 1, 200, 200, torch.float32, CPU)
            cache.reserve(0, len(ids))
            logits = decoder(Step.of([Piece(0, 0, ids, len(ids))], CPU), cache)
            # What is read anew at once is what a text of this length always was.
            wanted = Text(Request(tuple(ids), sampling=HOT)).draw()
            assert choose(logits, [wanted]) == [emission.id]
            ids.append(emission.id)


def test_who_iterates_may_end_a_text(decoder: Decoder) -> None:
    asked = [Request((1, 2, 3), 9, HOT), Request((3, 2, 1), 9, HOT)]
    counts = [0, 0]
    for emission in Loop(decoder, asked, 200, Timings()).run():
        counts[emission.sequence.number] += 1
        if emission.sequence.number == 0 and counts[0] == 4:
            emission.sequence.finish = "stop"
    assert counts == [4, 9]


def test_whoever_breaks_off_frees_the_cache(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches: list[weakref.ref[StaticCache]] = []
    whole = Scheduler.seat

    def watching(self: Scheduler, cache: StaticCache) -> bool:
        caches.append(weakref.ref(cache))
        return whole(self, cache)

    monkeypatch.setattr(Scheduler, "seat", watching)
    emissions = Loop(decoder, [Request((1, 2, 3), 9, HOT)], 200, Timings()).run()
    next(emissions)
    assert caches[0]() is not None
    emissions.close()
    gc.collect()
    assert caches[0]() is None


def test_nothing_to_do(decoder: Decoder) -> None:
    assert said(Loop(decoder, [], 200, Timings())) == {}
