"""The rotary fields that many families share, in their old spelling and their new one.

Old: `rope_theta` and `rope_scaling` {type or rope_type, ...}. New (transformers 5):
`rope_parameters` {rope_type, rope_theta, ...}, in some families one such object for each kind of
layer. The formulas are those of transformers' modeling_rope_utils.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from ..spec import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongScaling,
    ProportionalScaling,
    RopeScaling,
    RopeSpec,
    YarnScaling,
)
from .fields import Fields

# fmt: off
TYPES = {
    name: name
    for name in ("default", "linear", "dynamic", "llama3", "yarn", "longrope", "proportional")
}
"""What a `rope_type` means."""

_FIELDS = (
    "factor", "original_max_position_embeddings", "attention_factor", "beta_fast", "beta_slow",
    "short_factor", "long_factor", "low_freq_factor", "high_freq_factor", "mscale",
    "mscale_all_dim", "truncate", "finetuned",
)
"""Configs keep fields of the type they once had; another type has no use for them."""
# fmt: on


def read_rope(
    fields: Fields,
    head_dim: int,
    max_positions: int,
    theta: float = 10000.0,
    *,
    partial: float | None = None,
    interleaved: bool = False,
    alpha: bool = False,
    types: Mapping[str, str] = TYPES,
) -> RopeSpec:
    """The one rope of a config whose layers all share it; `theta` is the family's default base.

    `partial` is the share of a head that turns by the family's default; None means that the family
    turns whole heads whatever its config says. With `alpha`, a field of that name makes a dynamic
    rope one with a larger base (Hunyuan). Raises `ModelError` for what we don't know.
    """
    outside = fields.integer("original_max_position_embeddings", None)
    share = fields.number("partial_rotary_factor", 1.0 if partial is None else partial)
    old, new = fields.inside("rope_scaling"), fields.inside("rope_parameters")
    inner = old or new or Fields({}, fields.where)
    inner.assume(rope_theta=fields.number("rope_theta", theta), partial_rotary_factor=share)
    stretch = inner.number("alpha", None) if alpha else None
    rope = _read(inner, head_dim, max_positions, partial is not None, types, outside)
    if stretch and isinstance(rope.scaling, DynamicScaling):
        theta = rope.theta * stretch ** (rope.width / (rope.width - 2))
        rope = replace(rope, theta=theta, scaling=None)
    return replace(rope, interleaved=interleaved)


def read_ropes(
    fields: Fields, head_dim: int, max_positions: int, thetas: Mapping[str, tuple[float, str]]
) -> dict[str, RopeSpec]:
    """The rope of each kind of layer; `thetas` has the default base of each, and its old field.

    In the old spelling `rope_scaling` is that of the layers which see everything.
    """
    outer = fields.inside("rope_parameters") or Fields({}, fields.where)
    old = fields.inside("rope_scaling")
    # transformers looks for YaRN's rounding beside the kinds, not within them.
    truncate = outer.flag("truncate", True)
    ropes: dict[str, RopeSpec] = {}
    for kind, (theta, old_name) in thetas.items():
        inner = outer.inside(kind) or Fields({}, fields.where)
        if kind == "full_attention" and old is not None:
            inner = old
        inner.assume(rope_theta=fields.number(old_name, theta), partial_rotary_factor=1.0)
        ropes[kind] = _read(inner, head_dim, max_positions, False, TYPES, None, truncate)
    if not any(outer.has(kind) for kind in thetas):
        outer.refuse_rest()
    return ropes


def _read(
    fields: Fields,
    head_dim: int,
    max_positions: int,
    partial: bool,
    types: Mapping[str, str],
    original: int | None,
    truncate: bool | None = None,
) -> RopeSpec:
    rope_type = types[fields.word("rope_type", fields.take("type") or "default", tuple(types))]
    theta, share = fields.above(1, "rope_theta"), fields.number("partial_rotary_factor")
    if not 0 <= share <= 1:
        raise fields.wrong("partial_rotary_factor", share, "a share of a head, from 0 to 1")
    if rope_type == "proportional":
        turning = int(share * head_dim // 2)
        width, scaling = head_dim, ProportionalScaling(turning, fields.above(0, "factor", 1.0))
    else:
        if not partial and share != 1.0 and rope_type != "default":
            raise fields.wrong("partial_rotary_factor", share, "1: this family turns whole heads")
        width = int(head_dim * share) if partial else head_dim
        scaling = _read_scaling(fields, rope_type, width, max_positions, original, truncate)
    fields.ignore(*_FIELDS)
    fields.refuse_rest()
    if width % 2 == 0:
        return RopeSpec(width, theta, scaling)
    if width == head_dim or isinstance(scaling, YarnScaling | LongScaling):
        raise fields.wrong("head_dim", head_dim, f"one that turns in pairs: {width} of it do")
    return RopeSpec(width + 1, theta, scaling, spread=width)


def _read_scaling(
    fields: Fields,
    rope_type: str,
    width: int,
    max_positions: int,
    original: int | None,
    truncate: bool | None,
) -> RopeScaling | None:
    """`original` and `truncate` go before the rope's own fields."""
    if rope_type == "default":
        return None
    if rope_type == "linear":
        return LinearScaling(fields.above(0, "factor"))
    if rope_type == "dynamic":
        if width <= 2:
            raise fields.wrong("rope_type", rope_type, f"one that can turn {width} of a head")
        return DynamicScaling(fields.above(0, "factor"), max_positions)
    original = original or fields.integer("original_max_position_embeddings", max_positions)
    if rope_type == "llama3":
        low, high = fields.number("low_freq_factor"), fields.number("high_freq_factor")
        if high <= low:
            raise fields.wrong("high_freq_factor", high, f"above low_freq_factor, {low:g}")
        return Llama3Scaling(fields.above(0, "factor"), low, high, original)
    factor = fields.above(0, "factor", max_positions / original)
    if rope_type == "longrope":
        return LongScaling(
            short=_factors(fields, "short_factor", width // 2),
            long=_factors(fields, "long_factor", width // 2),
            original=original,
            attention_factor=_long_attention_factor(fields, factor, original),
        )
    return YarnScaling(
        factor=factor,
        original=original,
        attention_factor=_yarn_attention_factor(fields, factor),
        beta_fast=_circles(fields, "beta_fast", 32.0),
        beta_slow=_circles(fields, "beta_slow", 1.0),
        truncate=fields.flag("truncate", True) if truncate is None else truncate,
    )


def _circles(fields: Fields, name: str, default: float) -> float:
    """One of YaRN's bounds; zero stands for the default, as in transformers."""
    return default if fields.take(name) == 0 else fields.above(0, name, default)


def _factors(fields: Fields, name: str, count: int) -> tuple[float, ...]:
    factors = fields.entries(name, count)
    if not all(isinstance(factor, int | float) for factor in factors):
        raise fields.wrong(name, factors, "a list of numbers")
    return tuple(float(factor) for factor in factors)


def _long_attention_factor(fields: Fields, factor: float, original: int) -> float:
    given = fields.number("attention_factor", None)
    if given is not None:
        return given
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))


def _yarn_attention_factor(fields: Fields, factor: float) -> float:
    given = fields.number("attention_factor", None)
    mscale = fields.number("mscale", None)
    mscale_all_dim = fields.number("mscale_all_dim", None)
    if given is not None:
        return given
    if mscale and mscale_all_dim:
        return _mscale(factor, mscale) / _mscale(factor, mscale_all_dim)
    return _mscale(factor, 1.0)


def _mscale(factor: float, weight: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0
