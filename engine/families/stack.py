"""The fields that most families share: heads and their groups, windows, the MLP, the whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..spec import AttentionSpec, LayerSpec, MlpSpec, ModelSpec, NormSpec
from .activations import read_activation
from .fields import Fields

SLIDING, FULL = "sliding_attention", "full_attention"


def read_norm(fields: Fields, default: float, offset: float = 0.0) -> NormSpec:
    """The one RMS norm of a stack."""
    return NormSpec(fields.number("rms_norm_eps", default), offset=offset)


def read_heads(fields: Fields) -> AttentionSpec:
    """Heads, their groups and their width; how positions get in is the family's own."""
    hidden, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    if not fields.has("head_dim") and hidden % heads:
        raise fields.wrong("num_attention_heads", heads, f"a divisor of hidden_size {hidden}")
    head_dim = fields.integer("head_dim", hidden // heads)
    kv_heads = fields.integer("num_key_value_heads", heads)
    if heads % kv_heads:
        raise fields.wrong("num_key_value_heads", kv_heads, f"a divisor of {heads} heads")
    return AttentionSpec(heads, kv_heads, head_dim)


def read_positions(fields: Fields, default: int = 2048) -> int:
    """The context a model was made for."""
    return fields.integer("max_position_embeddings", default)


def read_mlp(
    fields: Fields,
    *,
    name: str = "hidden_act",
    default: str = "silu",
    gated: bool = True,
    bias: bool = False,
    width: str = "intermediate_size",
) -> MlpSpec:
    """The MLP, whose activation is in the field `name` and whose width in the field `width`."""
    activation = read_activation(fields, name, default)
    return MlpSpec(fields.integer(width), activation, gated=gated, bias=bias)


def read_kinds(fields: Fields, default: Callable[[int], str]) -> list[str]:
    """What each layer sees, by `layer_types`, or where that is missing by its number."""
    count = fields.integer("num_hidden_layers")
    if not fields.has("layer_types"):
        fields.ignore("layer_types")
        return [default(layer) for layer in range(count)]
    kinds = fields.entries("layer_types", count)
    kinds = [FULL if kind == "attention" else kind for kind in kinds]  # an old spelling
    for kind in kinds:
        if kind not in (SLIDING, FULL):
            raise fields.wrong("layer_types", kind, f"{FULL} or {SLIDING}")
    return kinds


def read_windows(fields: Fields, kinds: Sequence[str], default: int | None) -> list[int | None]:
    """`sliding_window` for the layers of that kind; `default` where it isn't mentioned."""
    fields.assume(sliding_window=default)
    window = fields.integer("sliding_window", None)
    if window is None and SLIDING in kinds:
        raise fields.wrong("sliding_window", None, f"a number, though layers have {SLIDING}")
    return [window if kind == SLIDING else None for kind in kinds]


def all_but_every(pattern: int) -> Callable[[int], str]:
    """A full layer after every `pattern` - 1 sliding ones."""
    return lambda layer: SLIDING if (layer + 1) % pattern else FULL


def read_model(
    fields: Fields, layers: Sequence[LayerSpec], norm: NormSpec, *, tied: bool = False
) -> ModelSpec:
    """Layers under embedding and head; `tied` is what the family does if its config is silent."""
    return ModelSpec(
        vocab=fields.integer("vocab_size"),
        hidden=fields.integer("hidden_size"),
        layers=tuple(layers),
        norm=norm,
        max_positions=read_positions(fields),
        tied=fields.flag("tie_word_embeddings", tied),
    )
