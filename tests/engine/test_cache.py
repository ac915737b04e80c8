"""What is cached in other dtypes, in long texts, and in blocks and spans as small as they get."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lmtool.engine.cache import codes
from lmtool.engine.cache.codes import encode
from lmtool.engine.cache.static import StaticCache
from lmtool.engine.model import attend, sight
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.spec import ModelSpec
from lmtool.engine.step import Step
from reference.naive_decoder import NaiveDecoder
from reference.random_specs import LONGEST, RandomSource, models
from reference.side_by_side import feed, rows_of_ids

CPU = torch.device("cpu")
thorough = settings(max_examples=60, deadline=None, derandomize=True)
dtypes = st.sampled_from((torch.bfloat16, torch.float16, torch.int8))
seeds = st.integers(0, 2**31)


class RoundedCache(StaticCache):
    """Holds what a cache of another dtype would, but in float32."""

    rounded_to: torch.dtype

    def write(self, layer: int, k: Tensor, v: Tensor, step: Step) -> None:
        super().write(layer, rounded(k, self.rounded_to), rounded(v, self.rounded_to), step)


def rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
    """What is left of x once it has been stored."""
    if dtype != torch.int8:
        return x.to(dtype).float()
    if x.shape[-1] == 0:
        return x
    numbers, scales = encode(x)
    parts = numbers.float().view(*scales.shape, -1) * scales[..., None]
    return parts.view(x.shape)


@contextmanager
def everything_small() -> Iterator[None]:
    """Blocks of a slot or two, spans wherever they can be, and more threads than heads."""
    with (
        patch.object(codes, "BLOCK", 1),
        patch.object(codes, "FEWEST", 2),
        patch.object(sight, "FEW", 0),
        patch.object(attend, "NARROW", 3),
        patch.object(attend, "LONG", 4),
        patch.object(attend, "SCORES", 7),
        patch.object(torch, "get_num_threads", lambda: 4),
    ):
        yield


@thorough
@given(models(), seeds, rows_of_ids, st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_spans_and_parts_make_no_difference(
    spec: ModelSpec, seed: int, rows: list[list[int]], widths: list[int]
) -> None:
    source = RandomSource(seed)
    decoder = Decoder(spec, source)
    naive = NaiveDecoder(spec, {name: w.numpy() for name, w in source.made.items()})
    with everything_small():
        cache = StaticCache(spec, len(rows), LONGEST, max(widths), torch.float32, CPU)
        for got, ids in zip(feed(decoder, cache, rows, widths), rows, strict=True):
            wanted = naive.logits(ids)
            assert np.abs(got.numpy() - wanted).max() <= 2e-4 * max(1, np.abs(wanted).max())


@thorough
@given(models(), seeds, rows_of_ids, st.lists(st.integers(1, 9), min_size=1, max_size=4), dtypes)
def test_other_dtypes_are_read_as_they_were_rounded(
    spec: ModelSpec, seed: int, rows: list[list[int]], widths: list[int], dtype: torch.dtype
) -> None:
    decoder = Decoder(spec, RandomSource(seed))
    wanted_cache = RoundedCache(spec, len(rows), LONGEST, max(widths), torch.float32, CPU)
    wanted_cache.rounded_to = dtype
    wanted = feed(decoder, wanted_cache, rows, widths)
    for small in (False, True):
        with everything_small() if small else patch.object(attend, "NARROW", 5):
            cache = StaticCache(spec, len(rows), LONGEST, max(widths), dtype, CPU)
            got = feed(decoder, cache, rows, widths)
        for one, other in zip(got, wanted, strict=True):
            # A number between two codes may fall either way.
            assert (one - other).abs().max() <= 0.02 * max(1.0, float(other.abs().max()))


@pytest.mark.parametrize("width", [1, 10, 64, 80, 128, 576])
def test_codes_are_near_what_they_stand_for(width: int) -> None:
    x = torch.randn(7, 3, width) * torch.logspace(-6, 6, 7)[:, None, None]
    x[0, 0] = 0
    near = rounded(x, torch.int8)
    group = 64 if width % 64 == 0 else width
    largest = x.view(7, 3, -1, group).abs().amax(-1, keepdim=True)
    off = (x - near).view(7, 3, -1, group).abs()
    assert bool((off <= largest / 254 * 1.001).all())
    assert not near[0, 0].any()
