"""Quantized weights by themselves: how near they are, and that every product is the plain one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lmtool.engine.matrix import Matrix
from lmtool.engine.quant import int4
from lmtool.engine.quant.int4 import (
    GROUP,
    PANELS,
    Int4Weight,
    PackedInt4,
    PlainInt4,
    kernel_panel,
)
from lmtool.engine.quant.int8 import (
    DynamicInt8,
    Int8Weight,
    PlainInt8,
    WeightOnlyInt8,
    multiplies_bytes,
)

# Whole kernels' blocks and parts of them, groups that come out and groups that don't.
SHAPES = [(64, 64), (211, 48), (100, 33), (7, 5), (9, 2), (1, 130), (1200, 256), (48, 2400)]
CPUINFO = Path("/proc/cpuinfo")
ROWS = [1, 2, 3, 4, 5, 17, 49]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plain_int8(weight: Tensor) -> Matrix:
    return PlainInt8(Int8Weight.quantize(weight))


def weight_only_int8(weight: Tensor) -> Matrix:
    return WeightOnlyInt8(Int8Weight.quantize(weight))


def dynamic_int8(weight: Tensor) -> Matrix:
    if not multiplies_bytes():
        pytest.skip("this processor doesn't multiply bytes exactly")
    return DynamicInt8(Int8Weight.quantize(weight))


def plain_int4(weight: Tensor) -> Matrix:
    return PlainInt4(Int4Weight.quantize(weight))


def packed_int4(weight: Tensor) -> Matrix:
    panel = kernel_panel()
    if panel is None:
        pytest.skip("this torch has no int4 kernel here")
    return PackedInt4(Int4Weight.quantize(weight), panel)


KERNELS = [weight_only_int8, dynamic_int8, packed_int4]
FORMS = [plain_int8, plain_int4, *KERNELS]
Form = Callable[[Tensor], Matrix]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_int8_is_off_by_half_a_step_at_most(shape: tuple[int, int]) -> None:
    weight = random(*shape) * random(shape[0], 1, seed=1)
    found = Int8Weight.quantize(weight)
    step = found.scales.float()[:, None]
    assert ((found.dense() - weight).abs() <= step * 0.501).all()
    assert (step <= weight.abs().amax(1, keepdim=True) / 127 * 1.004).all()
    assert found.codes.min() >= -127


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_int4_is_nearer_than_an_evenly_parted_range(shape: tuple[int, int]) -> None:
    weight = random(*shape) + random(shape[0], 1, seed=1)
    found = Int4Weight.quantize(weight).dense()
    for begin in range(0, shape[1], GROUP):
        group = weight[:, begin : begin + GROUP]
        low, high = group.amin(1, True), group.amax(1, True)
        step = (high - low).clamp(min=1e-6) / 15
        even = ((group - low) / step).round() * step + low
        errors = (found[:, begin : begin + GROUP] - group).square().sum(1).sqrt()
        # Scales and zeros are kept in bfloat16, which may cost a little of what fitting gains.
        slack = group.abs().amax(1) * 2**-8 * group.shape[1] ** 0.5
        assert (errors <= (even - group).square().sum(1).sqrt() + slack).all()


def test_int4_error_as_a_share_of_the_weights() -> None:
    weight = random(256, 512)
    error = (Int4Weight.quantize(weight).dense() - weight).square().mean().sqrt()
    assert error < 0.076  # 4 bits of a normal distribution, in groups of 32


@pytest.mark.parametrize("kind", [Int8Weight, Int4Weight])
def test_weights_that_are_alike_or_zero(kind: Any) -> None:
    for value in (0.0, -3.0, 1e-30):
        found = kind.quantize(torch.full((3, 40), value)).dense()
        torch.testing.assert_close(found, torch.full((3, 40), value), rtol=2**-8, atol=0)


@pytest.mark.parametrize("kind", [Int8Weight, Int4Weight])
def test_numbers_that_are_not_finite_show_in_what_is_not_codes(kind: Any) -> None:
    for value in (float("nan"), float("inf"), float("-inf")):
        weight = random(4, 64)
        weight[2, 33] = value
        parts = kind.quantize(weight).affine()
        assert not all(part.isfinite().all() for part in parts)


@pytest.mark.parametrize("kind", [Int8Weight, Int4Weight])
def test_joined_weights_stand_one_below_the_other(kind: Any) -> None:
    weights = [random(rows, 80, seed=rows) for rows in (3, 1, 8)]
    joined = kind.joined([kind.quantize(weight) for weight in weights])
    assert torch.equal(joined.dense(), kind.quantize(torch.cat(weights)).dense())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_are_those_of_the_unpacked_weights(
    shape: tuple[int, int], form: Form, dtype: torch.dtype
) -> None:
    """Within what rounding inputs costs: to bfloat16, 2^-9 each, or to bytes, 1/254 of the row."""
    matrix = form(random(*shape))
    dense = matrix.dense()
    assert dense.shape == shape
    for rows in ROWS:
        x = random(rows, shape[1], seed=rows).to(dtype)
        bias = random(shape[0], seed=99).to(dtype)
        wanted = x.float() @ dense.T
        reach = x.float().abs() @ dense.abs().T
        if form is dynamic_int8:
            reach = reach + x.float().abs().amax(1, True) @ torch.ones(1, shape[1]) @ dense.abs().T
        for own in (None, bias):
            got = matrix(x, own)
            assert got.dtype == dtype
            assert got.is_contiguous()
            exact = wanted if own is None else wanted + own.float()
            assert ((got.float() - exact).abs() <= reach * 2**-7 + exact.abs() * 2**-7).all()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_weights_whose_scales_are_too_small_for_float16(form: Form) -> None:
    matrix = form(random(64, 64) * 1e-5)
    x = random(3, 64).half() * 1000
    wanted = x.float() @ matrix.dense().T
    assert (matrix(x).float() - wanted).abs().max() < wanted.abs().max() * 0.02


@pytest.mark.parametrize("form", KERNELS, ids=lambda form: form.__name__)
def test_a_row_alone_gets_the_same_answer_bit_for_bit(form: Form) -> None:
    matrix = form(random(192, 256))
    x = random(4, 256)
    x[1] *= 1000
    x[2] = 0
    together = matrix(x)
    for row in range(4):
        assert torch.equal(matrix(x[row : row + 1])[0], together[row])
        assert torch.equal(matrix(x[row:])[0], together[row])


def test_bytes_of_any_number_of_rows_are_the_same() -> None:
    matrix = dynamic_int8(random(192, 256))
    x = random(300, 256)
    together = matrix(x)
    assert torch.equal(together[:7], matrix(x[:7]))
    assert torch.equal(together[299], matrix(x[299:])[0])


def test_a_row_of_zeros_and_one_that_is_no_number() -> None:
    matrix = dynamic_int8(random(64, 64))
    x = random(3, 64)
    x[0], x[1, 5] = 0, float("nan")
    got = matrix(x)
    assert torch.equal(got[0], torch.zeros(64))
    assert got[1].isnan().all()


def test_codes_anywhere_in_memory() -> None:
    """As they lie in a file: the kernel for a few rows crashes on what isn't aligned."""
    whole = Int8Weight.quantize(random(48, 64))
    data = torch.zeros(48 * 64 + 16, dtype=torch.int8)
    for begin in range(16):
        codes = data[begin : begin + 48 * 64].view(48, 64)
        codes.copy_(whole.codes)
        shifted = WeightOnlyInt8(Int8Weight(codes, whole.scales))
        x = random(2, 64)
        assert torch.equal(shifted(x), WeightOnlyInt8(whole)(x))


@pytest.mark.parametrize("form", KERNELS, ids=lambda form: form.__name__)
def test_rows_that_are_part_of_longer_ones(form: Form) -> None:
    matrix = form(random(48, 64))
    long = random(3, 100).bfloat16()
    for begin in range(36):
        x = long[:, begin : begin + 64]
        assert torch.equal(matrix(x), matrix(x.clone()))
        assert torch.equal(matrix(x[1:2]), matrix(x[1:2].clone()))


@pytest.mark.parametrize("panel", PANELS, ids=str)
def test_what_a_panel_packs_it_unpacks(panel: int4.Panel) -> None:
    codes = torch.randint(16, (2 * panel.width, 96), dtype=torch.uint8)
    packed = panel.packed(codes)
    assert packed.shape == (2, 96, panel.width // 2)
    found = torch.empty(96, 2, panel.width)
    panel.unpack(packed, found)
    assert torch.equal(found.flatten(1).T, codes.float())


LOWER = """
import torch
from lmtool.engine.quant.int4 import Int4Weight
from lmtool.engine.quant.int8 import Int8Weight
weight, x = torch.randn(130, 96), torch.randn(3, 96)
for kind in (Int8Weight, Int4Weight):
    matrix = kind.quantize(weight).hold()
    wanted = x @ matrix.dense().T
    print(float((matrix(x) - wanted).abs().max() / wanted.abs().max()) < 0.02)
"""


@pytest.mark.parametrize("level", ["avx2", "default"])
def test_lesser_processors_have_other_layouts_and_the_same_answers(
    lmtool_environ: dict[str, str], level: str
) -> None:
    child = subprocess.run(
        [sys.executable, "-c", LOWER],
        env=lmtool_environ | {"ATEN_CPU_CAPABILITY": level},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert child.stdout.split() == ["True", "True"]
    assert child.stderr == ""


@pytest.mark.skipif(not CPUINFO.exists(), reason="the processor is known from /proc")
def test_the_fast_forms_are_chosen_where_the_processor_has_them() -> None:
    flags = set(CPUINFO.read_text().split())
    if "avx512_vnni" in flags:
        assert multiplies_bytes()
        assert isinstance(Int8Weight.quantize(torch.ones(2048, 1024)).hold(), DynamicInt8)
        assert isinstance(Int8Weight.quantize(torch.ones(64, 64)).hold(), WeightOnlyInt8)
    if "avx512f" in flags:
        assert kernel_panel() == PANELS[0]
        assert isinstance(Int4Weight.quantize(torch.ones(64, 64)).hold(), PackedInt4)
