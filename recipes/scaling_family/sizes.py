"""The shapes of the family: alike but for their size."""

from __future__ import annotations

from model import ModelConfig
from reading_matter import VOCAB

LENGTH = 256  # tokens of context, which is what they are trained on


def _size(hidden: int, layers: int) -> ModelConfig:
    """A shape with heads of 32 and an MLP three times as wide as the stream.

    Each layer has 4 hidden^2 parameters in attention and 9 hidden^2 in the MLP.
    """
    return ModelConfig(
        vocab=VOCAB,
        hidden=hidden,
        layers=layers,
        heads=hidden // 32,
        head_dim=32,
        feed=3 * hidden,
        max_positions=LENGTH,
    )


# Named by the parameters of their layers, embeddings and head left out (Kaplan et al. 2020); each
# about twice the one before. Depth grows with width: shape matters little while neither runs away.
SIZES = {
    "0.1M": _size(64, 2),
    "0.4M": _size(96, 3),
    "0.9M": _size(128, 4),
    "1.9M": _size(192, 4),
    "4.3M": _size(256, 5),
    "8.0M": _size(320, 6),
}
