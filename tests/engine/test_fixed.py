"""Bit for bit: a text and its numbers are the same alone and in any company, order and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool.engine.cache.blocks import needed
from lmtool.engine.cache.layout import KVCache
from lmtool.engine.cache.paged import Plan, block_bytes
from lmtool.engine.fixed import (
    LEAST,
    READ,
    TILES,
    Tiled,
    Whole,
    find_exact,
    find_tiled,
    find_whole,
    place_matters,
    size_matters,
)
from lmtool.engine.loop import Emission, Loop
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.model.rope import Rotary
from lmtool.engine.request import Outcome, Request, Sampling, Timings
from lmtool.engine.session import Session
from lmtool.engine.spec import LongScaling, ModelSpec, RopeSpec
from lmtool.engine.step import Step
from reference.cases import CASES
from reference.random_checkpoints import random_ids
from reference.random_specs import LONGEST, VOCAB, RandomSource, models
from reference.side_by_side import PLAIN, requests, said, stack

BLOCK = 4


def same_bits(got: Sequence[Emission], wanted: Sequence[Emission]) -> None:
    for one, other in zip(got, wanted, strict=True):
        assert (one.id, one.logprob, one.top) == (other.id, other.logprob, other.top)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    models(),
    st.integers(0, 2**31),
    st.lists(requests, min_size=1, max_size=5),
    st.lists(st.integers(0, VOCAB - 1), max_size=LONGEST),
    st.sampled_from((torch.float32, torch.bfloat16)),
    st.integers(2, 5),
    st.integers(1, 7),
    st.integers(0, 9),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_a_text_has_the_same_bits_in_any_company(
    spec: ModelSpec,
    seed: int,
    asked: list[Request],
    shared: list[int],
    dtype: torch.dtype,
    rows: int,
    chunk: int,
    more: int,
    whole: bool,
    chance: Random,
) -> None:
    source = RandomSource(seed)
    source.dtype = dtype
    runner = (find_exact if whole else find_tiled)(Decoder(spec, source))
    asked = [replace(request, ids=(*shared, *request.ids)[: len(request.ids)]) for request in asked]
    asked = chance.sample(asked, len(asked))
    least = max(needed(request, LONGEST, BLOCK) for request in asked)

    def run(some: list[Request], memory: int, rows: int, chunk: int) -> Loop:
        plan = Plan(memory, READ, BLOCK)
        return Loop(runner, some, LONGEST, Timings(), rows, chunk, plan=plan)

    together = run(asked, least + more, rows, chunk)
    got = said(together)
    for place, request in enumerate(asked):
        alone = run([request], 100, 32, LONGEST)
        wanted = said(alone)
        for sample in range(request.samples):
            same_bits(got.get((place, sample), []), wanted.get((0, sample), []))
        assert together.prompts[place] == alone.prompts[0]


FAMILIES = ("ministral", "gemma2", "gpt_oss", "deepseek_v3", "mixtral", "mpt")
"""Windows, caps, sinks, latents, experts, ALiBi."""


@pytest.mark.parametrize("name", FAMILIES)
def test_families_say_the_same_in_any_order_and_memory(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Through the front door: texts of several blocks, half of which begin alike."""
    case = next(case for case in CASES if case.name == name)
    dtype, kv_dtype = ("float32", "int8") if name in ("mpt", "ministral") else ("bfloat16", "auto")
    session = Session.load(
        case.save(tmp_path_factory.mktemp("fixed")),
        device="cpu",
        dtype=dtype,
        kv_dtype=kv_dtype,
        threads=1,
    )
    shared = tuple(random_ids(64))
    hot = Sampling(temperature=1.0)
    asked = [
        Request((*shared, place) if place % 2 else shared[place:30], 7 * place, hot, logprobs=3)
        for place in range(2, 8)
    ]
    asked.append(Request((3,), 12, hot, logprobs=3))  # alone, all of its steps have one token
    stored = session.decoder.dtype if kv_dtype == "auto" else torch.int8
    tight = 5 * block_bytes(session.spec, stored)

    def answers(requests: list[Request], **options: Any) -> list[Any]:
        timings = Timings()
        events = session.stream(requests, deterministic=True, timings=timings, **options)
        found = {event.request: event for event in events if isinstance(event, Outcome)}
        assert ("max_memory" in options) == (timings.preempted > 0)
        return [found[place].samples for place in range(len(requests))]

    def bits(samples: Any) -> list[Any]:
        return [(token.id, token.logprob, token.top) for token in samples[0]]

    wanted = [bits(one) for one in answers(asked)]
    turned = answers(asked[::-1], max_memory=tight)
    assert [bits(one) for one in turned[::-1]] == wanted
    assert bits(answers(asked[5:])[0]) == wanted[5]
    assert bits(answers(asked[6:])[0]) == wanted[6]


def test_a_usual_model_runs_in_large_tiles() -> None:
    tiled = find_tiled(stack(PLAIN))
    assert tiled.tile == TILES[0]


class Leaning(Whole):
    """A token's last digit gives away whether fewer than so many run beside it."""

    fewer = 0

    def hidden_wanted(self, step: Step, cache: KVCache) -> torch.Tensor:
        hidden = super().hidden_wanted(step, cache).clone()
        if max(len(step.extents), self.least) < self.fewer:
            hidden[-1, 0] = torch.nextafter(hidden[-1, 0], torch.tensor(9.0))
        return hidden


def test_a_size_that_matters_is_noticed() -> None:
    leaning = Leaning(stack(PLAIN), 1)
    leaning.fewer = 10
    assert size_matters(leaning)
    leaning.least = LEAST[1]
    assert not size_matters(leaning)


def test_a_step_is_filled_up_and_says_the_same() -> None:
    decoder = stack(PLAIN)
    asked = [Request(tuple(id % VOCAB for id in random_ids(20)), 5), Request((3, 4), 4)]
    counts: list[int] = []

    whole = Whole(decoder, 32)
    inner = whole._decoder

    class Watched:
        def hidden_wanted(self, step: Step, cache: KVCache) -> torch.Tensor:
            counts.append(len(step.extents))
            return inner.hidden_wanted(step, cache)

        def logits(self, hidden: torch.Tensor) -> torch.Tensor:
            counts.append(len(hidden))
            return inner.logits(hidden)

    whole._decoder = Watched()  # type: ignore[assignment]
    plan = Plan(20, None, BLOCK)
    filled = said(Loop(whole, asked, 200, Timings(), plan=plan))
    usual = said(Loop(decoder, asked, 200, Timings(), plan=plan))
    assert set(counts) <= {32, 52}, "of a prompt of 20 tokens 1 is wanted, and 31 more"
    for key, emissions in usual.items():
        assert [one.id for one in filled[key]] == [one.id for one in emissions]


def test_ropes_that_stretch_run_in_tiles() -> None:
    scaling = LongScaling((1.0, 1.0), (5.0, 9.0), 12, 1.0)
    stretched = replace(PLAIN, rope=RopeSpec(4, 100.0, scaling=scaling))
    assert find_whole(stack(stretched)) is None
    assert isinstance(find_exact(stack(stretched)), Tiled)


def test_turns_are_the_same_however_far_a_table_reaches() -> None:
    near, far = (Rotary(RopeSpec(10, 100.0), torch.device("cpu")) for _ in range(2))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        near.reach(7, torch.float32)
        far.reach(100_000, torch.float32)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(near._table, far._table[: len(near._table)])


def test_a_place_that_matters_is_noticed() -> None:
    class Crooked(Tiled):
        """The last place of a tile gives a number's last digit away."""

        def __call__(self, step: Step, cache: KVCache) -> torch.Tensor:
            logits = super().__call__(step, cache)
            logits[-1, 0] = torch.nextafter(logits[-1, 0], torch.tensor(9.0))
            return logits

    assert place_matters(Crooked(stack(PLAIN), 8))
    assert not place_matters(Tiled(stack(PLAIN), 1))
