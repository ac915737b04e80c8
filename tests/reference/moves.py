"""Moves between distributions, held to what torch itself makes of both."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from lmtool.engine.lens.moves import Move


def assert_is_move(move: Move, p: Tensor, q: Tensor, slack: float, top: int = 5) -> None:
    """`move` leads from the distribution whose logarithms are p to that of q."""
    kl = float(F.kl_div(q, p, log_target=True, reduction="sum"))
    assert move.kl == pytest.approx(kl, abs=slack, rel=slack)
    rise = q.exp() - p.exp()
    for odds in (*move.gained, *move.lost, *move.watched):
        assert odds.before.probability == pytest.approx(float(p[odds.id].exp()), abs=slack)
        assert odds.after.probability == pytest.approx(float(q[odds.id].exp()), abs=slack)
    for told, sign in ((move.gained, 1), (move.lost, -1)):
        steps = [sign * (odds.after.probability - odds.before.probability) for odds in told]
        assert all(step > 0 for step in steps)
        assert steps == sorted(steps, reverse=True)
        least = min(steps) if len(steps) == top else 0.0
        others = torch.ones(len(p), dtype=torch.bool)
        others[[odds.id for odds in told]] = False
        assert float((sign * rise)[others].max()) <= least + slack
