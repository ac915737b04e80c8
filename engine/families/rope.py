"""The rotary fields that many families share, in their old spelling and their new one.

Old: `rope_theta` and `rope_scaling` {type or rope_type, ...}. New (transformers 5):
`rope_parameters` {rope_type, rope_theta, ...}. The formulas are those of transformers'
modeling_rope_utils.
"""

from __future__ import annotations

import math

from ..spec import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    RopeScaling,
    RopeSpec,
    YarnScaling,
)
from .fields import Fields

TYPES = ("default", "linear", "dynamic", "llama3", "yarn")


def read_rope(
    fields: Fields, head_dim: int, max_positions: int, theta: float = 10000.0
) -> RopeSpec:
    """The one rope of a config whose layers all share it; `theta` is the family's default base.

    Raises `ModelError` for a type or a field that we don't know.
    """
    fallback = fields.number("rope_theta", theta)
    partial = fields.number("partial_rotary_factor", 1.0)
    original = fields.integer("original_max_position_embeddings", None)
    old, new = fields.inside("rope_scaling"), fields.inside("rope_parameters")
    inner = new or old
    if inner is None:
        return RopeSpec(int(head_dim * partial), fallback)
    base = inner.number("rope_theta", fallback)
    width = int(head_dim * inner.number("partial_rotary_factor", partial))
    scaling = _read_scaling(inner, max_positions, original)
    inner.refuse_rest()
    return RopeSpec(width, base, scaling)


def _read_scaling(fields: Fields, max_positions: int, original: int | None) -> RopeScaling | None:
    old_spelling = fields.take("type")
    kind = fields.word("rope_type", old_spelling or "default", TYPES)
    # Configs keep fields of the type they once had; a plain rope has no use for them.
    if kind == "default":
        fields.ignore("factor", "original_max_position_embeddings")
        return None
    if kind == "linear":
        fields.ignore("original_max_position_embeddings")
        return LinearScaling(fields.number("factor"))
    if kind == "dynamic":
        fields.ignore("original_max_position_embeddings")
        return DynamicScaling(fields.number("factor"), max_positions)
    inner_original = fields.integer("original_max_position_embeddings", max_positions)
    original = original or inner_original
    if kind == "llama3":
        return Llama3Scaling(
            fields.number("factor"),
            fields.number("low_freq_factor"),
            fields.number("high_freq_factor"),
            original,
        )
    factor = fields.number("factor", max_positions / original)
    return YarnScaling(
        factor=factor,
        original=original,
        attention_factor=_yarn_attention_factor(fields, factor),
        beta_fast=fields.number("beta_fast", 32.0),
        beta_slow=fields.number("beta_slow", 1.0),
        truncate=fields.flag("truncate", True),
    )


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
