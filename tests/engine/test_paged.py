"""A cache in blocks: what is read is what was written, and in the end every block is free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lmtool import InputError, UsageError
from lmtool.engine.cache.blocks import Blocks, needed
from lmtool.engine.cache.paged import PagedCache, Plan, block_bytes, find_plan
from lmtool.engine.cache.static import StaticCache
from lmtool.engine.loop import Loop
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.request import Request, Sampling, Timings
from lmtool.engine.scheduler import Part
from lmtool.engine.spec import LongScaling, ModelSpec, RopeSpec
from lmtool.engine.speculate import Guessing, LookupDrafter, Way
from lmtool.engine.step import Piece, Step
from reference.naive_decoder import NaiveDecoder
from reference.random_specs import LONGEST, VOCAB, RandomSource, models
from reference.side_by_side import (
    PLAIN,
    assert_as_alone,
    assert_same,
    feed,
    requests,
    rows_of_ids,
    said,
    stack,
)

CPU = torch.device("cpu")
thorough = settings(max_examples=60, deadline=None, derandomize=True)


BLOCK = 4


@thorough
@given(
    models(),
    st.integers(0, 2**31),
    rows_of_ids,
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.sampled_from((None, 3)),
)
def test_blocks_are_read_as_the_text_that_they_are(
    spec: ModelSpec, seed: int, rows: list[list[int]], widths: list[int], alike: int | None
) -> None:
    source = RandomSource(seed)
    decoder = Decoder(spec, source)
    naive = NaiveDecoder(spec, {name: w.numpy() for name, w in source.made.items()})
    cache = PagedCache(spec, 15, torch.float32, CPU, alike, BLOCK)
    for got, ids in zip(feed(decoder, cache, rows, widths), rows, strict=True):
        wanted = naive.logits(ids)
        assert np.abs(got.numpy() - wanted).max() <= 2e-4 * max(1, np.abs(wanted).max())


@thorough
@given(
    models(),
    st.integers(0, 2**31),
    rows_of_ids,
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.sampled_from((torch.bfloat16, torch.float16, torch.int8)),
)
def test_other_dtypes_are_as_in_rows(
    spec: ModelSpec, seed: int, rows: list[list[int]], widths: list[int], dtype: torch.dtype
) -> None:
    decoder = Decoder(spec, RandomSource(seed))
    got = feed(decoder, PagedCache(spec, 15, dtype, CPU, block=BLOCK), rows, widths)
    for one, ids in zip(got, rows, strict=True):
        cache = StaticCache(spec, 1, LONGEST, LONGEST, dtype, CPU)
        cache.reserve(0, len(ids))
        other = decoder(Step.of([Piece(0, 0, ids, len(ids), "all")], CPU), cache)
        # A number between two codes may fall either way.
        assert (one - other).abs().max() <= 0.02 * max(1.0, float(other.abs().max()))


def beginning_alike(asked: list[Request], shared: list[int]) -> list[Request]:
    """The same, but that every other one's prompt begins with `shared`, as far as it goes."""
    alike: list[Request] = []
    for number, request in enumerate(asked):
        ids = (*shared, *request.ids)[: max(1, len(request.ids))] if number % 2 else request.ids
        alike.append(replace(request, ids=ids))
    return alike


@thorough
@given(
    models(),
    st.integers(0, 2**31),
    st.lists(requests, min_size=1, max_size=6),
    st.lists(st.integers(0, VOCAB - 1), max_size=LONGEST),
    st.integers(2, 5),
    st.integers(1, 7),
    st.integers(0, 9),
)
def test_a_text_is_the_same_however_little_memory_there_is(
    spec: ModelSpec,
    seed: int,
    asked: list[Request],
    shared: list[int],
    rows: int,
    chunk: int,
    more: int,
) -> None:
    decoder = Decoder(spec, RandomSource(seed))
    asked = beginning_alike(asked, shared)
    least = max(needed(request, LONGEST, BLOCK) for request in asked)
    with watched() as caches:
        plan = Plan(least + more, block=BLOCK)
        together = Loop(decoder, iter(asked), LONGEST, Timings(), rows, chunk, plan=plan)
        got = said(together)
    assert_as_alone(decoder, asked, together, got)
    assert caches[0].blocks.held == 0


@contextmanager
def watched() -> Iterator[list[PagedCache]]:
    """The caches that are made meanwhile."""
    made: list[PagedCache] = []
    whole = Plan.make

    def make(self: Plan, *args: Any) -> PagedCache:
        made.append(whole(self, *args))
        return made[-1]

    with patch.object(Plan, "make", make):
        yield made


def fed(loop: Loop) -> int:
    """Tokens that all of a loop's steps read."""
    counts: list[int] = []
    whole = Loop._run

    def counting(self: Loop, parts: Sequence[Part], cache: PagedCache) -> Tensor:
        counts.append(sum(len(part.piece.ids) for part in parts))
        return whole(self, parts, cache)

    with patch.object(Loop, "_run", counting):
        said(loop)
    return sum(counts)


def test_a_beginning_is_read_once_for_all() -> None:
    decoder, shared = stack(PLAIN, replace(PLAIN, window=5)), tuple(range(10)) * 3
    asked = [Request((*shared, number), 2) for number in range(9)]
    loop = Loop(decoder, asked, 200, Timings(), 8, chunk=12, plan=Plan(200, block=BLOCK))
    whole = len(shared) // BLOCK * BLOCK
    # Then each reads what is its own, and one token of its answer.
    assert fed(loop) == whole + 9 * (len(shared) + 1 - whole + 1)


def test_what_was_left_is_found_until_its_room_is_needed() -> None:
    decoder, ids = stack(PLAIN), tuple(range(9))
    asked = [Request(ids, 1), Request((7,) * 7, 1), Request(ids, 1)]
    for count, wanted in ((20, 9 + 7 + 1), (3, 9 + 7 + 5)):  # a text's end goes first
        loop = Loop(decoder, asked, 200, Timings(), 1, plan=Plan(count, block=BLOCK))
        loop._most = 1
        assert fed(loop) == wanted


def test_the_first_goes_on_where_memory_ends() -> None:
    decoder = stack(PLAIN)
    asked = [Request((number, 2, 3), 30) for number in range(5)]
    timings = Timings()
    loop = Loop(decoder, asked, 200, timings, 8, plan=Plan(9, block=BLOCK))
    ends = [emission.sequence.number for emission in loop.run() if emission.sequence.finish]
    assert ends == [0, 1, 2, 3, 4]
    assert timings.preempted > 0


def test_a_request_that_never_fits_is_refused() -> None:
    plan = Plan(5, block=BLOCK)
    plan.check(Request((1,) * 10, 10), 200)
    plan.check(Request((1,) * 10, None), 20)
    for request in (Request((1,) * 10, 11), Request((1,) * 10, None)):
        with pytest.raises(InputError, match=r"can come to .* tokens, and --max-memory holds"):
            plan.check(request, 200)
    with pytest.raises(InputError):  # while its samples run, it keeps its prompt
        plan.check(Request((1,) * 10, 10, samples=2), 200)


def test_a_budget_is_kept() -> None:
    spec, cpu = stack(PLAIN).spec, torch.device("cpu")
    each = block_bytes(spec, torch.float32)
    plan = find_plan(spec, torch.float32, cpu, each * 10 + 5, 64, 100_000)
    cache = plan.make(spec, torch.float32, cpu)
    assert each * 9 < cache.nbytes <= each * 10 + 5
    with pytest.raises(UsageError, match="--max-memory"):
        find_plan(spec, torch.float32, cpu, each, 64, 100)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=60))
def test_blocks_are_counted(moves: list[tuple[int, int]]) -> None:
    blocks, held, names = Blocks(5), list[int](), dict[int, bytes]()
    for place, kind in moves:
        if kind == 0:
            block = blocks.take()
            assert (block is None) == (len(set(held)) == 5)
            if block is not None:
                assert block not in held
                names.pop(block, None)
                held.append(block)
        elif not held:
            continue
        elif kind == 1:
            blocks.leave(held.pop(place % len(held)))
        elif kind == 2:
            block = held[place % len(held)]
            blocks.share(block)
            held.append(block)
        else:
            block = held[place % len(held)]
            name = names.setdefault(block, bytes([place]))
            blocks.name(block, name)
        assert blocks.held == len(set(held))
        assert all(blocks.shared(block) == (held.count(block) > 1) for block in held)


def test_texts_that_are_read_anew_give_their_blocks_back() -> None:
    """Where a rope turns, a context is full, or guesses come false; with little memory, too."""
    scaling = LongScaling((1.0, 1.0), (5.0, 9.0), 12, 1.0, afresh=True)
    long = replace(PLAIN, rope=RopeSpec(4, 100.0, scaling))
    decoder, hot = stack(long, replace(long, window=5)), Sampling(temperature=1.5)
    asked = [
        Request((1, 2, 3) * 3, 30, hot, shift=2, samples=1 + n % 2, logprobs=VOCAB)
        for n in range(3)
    ]
    guessing = Guessing((Way(LookupDrafter, 3),))
    alone = [said(Loop(decoder, [request], 24, Timings())) for request in asked]
    for count in (100, 9):
        plan = Plan(count, block=BLOCK)
        with watched() as caches:
            got = said(Loop(decoder, asked, 24, Timings(), 4, 7, guessing, plan=plan))
        for (place, sample), emissions in got.items():
            assert_same(emissions, alone[place][0, sample])
        assert caches[0].blocks.held == 0
