"""Bit for bit: a text and its numbers are the same alone and in any company, order and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool.engine.cache.blocks import needed
from lmtool.engine.cache.paged import Plan
from lmtool.engine.fixed import READ, find_tiled
from lmtool.engine.loop import Emission, Loop
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.request import Request, Timings
from lmtool.engine.spec import ModelSpec
from reference.random_specs import LONGEST, VOCAB, RandomSource, models
from reference.side_by_side import requests, said

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
    chance: Random,
) -> None:
    source = RandomSource(seed)
    source.dtype = dtype
    tiled = find_tiled(Decoder(spec, source), LONGEST)
    asked = [replace(request, ids=(*shared, *request.ids)[: len(request.ids)]) for request in asked]
    asked = chance.sample(asked, len(asked))
    least = max(needed(request, LONGEST, BLOCK) for request in asked)

    def run(some: list[Request], memory: int, rows: int, chunk: int) -> Loop:
        plan = Plan(memory, READ, BLOCK)
        return Loop(tiled, some, LONGEST, Timings(), rows, chunk, plan=plan)

    together = run(asked, least + more, rows, chunk)
    got = said(together)
    for place, request in enumerate(asked):
        alone = run([request], 100, 32, LONGEST)
        wanted = said(alone)
        for sample in range(request.samples):
            same_bits(got.get((place, sample), []), wanted.get((0, sample), []))
        assert together.prompts[place] == alone.prompts[0]
