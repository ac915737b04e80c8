"""What configs call the activations that we have; the names are transformers' ACT2FN."""

from __future__ import annotations

from ..spec import Activation
from .fields import Fields

ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_10": "gelu_clipped",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "relu2": "relu2",
    "relu6": "relu6",
    "leaky_relu": "leaky_relu",
    "mish": "mish",
    "hardswish": "hardswish",
    "laplace": "laplace",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "sqrtsoftplus": "sqrt_softplus",
    "linear": "linear",
}


def read_activation(fields: Fields, name: str, default: str) -> Activation:
    """The activation that a field names; `default` is the family's."""
    return ACTIVATIONS[fields.word(name, default, tuple(ACTIVATIONS))]
