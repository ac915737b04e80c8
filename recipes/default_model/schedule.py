"""What each moment of the training uses, as a function of progress alone.

Progress is the share of the allotted training time that has gone by, not a count of steps: on a
machine that does other work too, the run still decays to zero and ends when it was told to.
"""

from __future__ import annotations

from dataclasses import dataclass

WARM_UP_STEPS = 60
DECAY_FROM = 0.5
FINAL_MIX_FROM = 0.7


@dataclass(frozen=True)
class Phase:
    """Until `until` of the progress, sequences of `length` and steps of `tokens`."""

    until: float
    length: int
    tokens: int


# Short contexts first: attention is cheaper and local structure is learned first (Press et al.
# 2020, "Shortformer"); small steps first: early gradients agree even when they are noisy
# (McCandlish et al. 2018, "large-batch training").
PHASES = (
    Phase(until=0.45, length=256, tokens=8192),
    Phase(until=0.80, length=512, tokens=8192),
    Phase(until=1.00, length=1024, tokens=16384),
)


def phase_at(progress: float) -> Phase:
    """The phase that holds at `progress` in [0, 1]."""
    return next((phase for phase in PHASES if progress < phase.until), PHASES[-1])


def rate_at(progress: float, step: int) -> float:
    """The share of the peak learning rate: warm-up, stable, linear decay to zero.

    A decay to zero is worth more than averaging the weights (Hägele et al. 2024), and a stable
    part before it can be prolonged by a later run (Hu et al. 2024, "MiniCPM").

    >>> rate_at(0.5, 1000), rate_at(0.75, 1000), rate_at(1.0, 1000)
    (1.0, 0.5, 0.0)
    """
    warm_up = min(1.0, (step + 1) / WARM_UP_STEPS)
    decay = min(1.0, (1.0 - progress) / (1.0 - DECAY_FROM))
    return round(warm_up * max(0.0, decay), 6)


def final_mix(progress: float) -> bool:
    """Whether the sources are mixed by their final shares."""
    return progress >= FINAL_MIX_FROM
