"""What a checkpoint's stack is, layer by layer, as frozen values: no tensors, no family names.

A family reads its config.json into a `ModelSpec`; the model is built from the spec alone. Each
layer has a spec of its own, so a window, a rope or a set of experts on every third layer is just
a different entry. The unions `Mixer` and `Feed` are the only switches between kinds.

Letters used in shapes throughout the engine: T tokens in a step, R rows, N tokens a row, S key
slots, M hidden (model) size, H heads, G key-value heads, D head width, F feed-forward width,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, TypeAlias

Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]
Wiring = Literal["pre", "post", "sandwich", "parallel"]


@dataclass(frozen=True, slots=True)
class NormSpec:
    """A normalization over the last axis.

    "rms" divides by the root mean square (Zhang & Sennrich 2019, arXiv:1910.07467); "layer"
    subtracts the mean first (Ba et al. 2016, arXiv:1607.06450) and may have a bias. `offset` is
    added to the stored weight (Gemma stores weight - 1).
    """

    eps: float
    kind: Literal["rms", "layer"] = "rms"
    bias: bool = False
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class LinearScaling:
    """Positions divided by `factor` (Chen et al. 2023, arXiv:2306.15595)."""

    factor: float


@dataclass(frozen=True, slots=True)
class DynamicScaling:
    """NTK-aware base that grows with the text once it is longer than `original` tokens.

    As in transformers, a key keeps the turn it got when it was written.
    """

    factor: float
    original: int


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Llama 3.1: long wavelengths divided by `factor`, short ones kept, a ramp between."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original: int


@dataclass(frozen=True, slots=True)
class YarnScaling:
    """YaRN (Peng et al. 2023, arXiv:2309.00071); `attention_factor` scales cos and sin."""

    factor: float
    original: int
    attention_factor: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True


RopeScaling: TypeAlias = LinearScaling | DynamicScaling | Llama3Scaling | YarnScaling


@dataclass(frozen=True, slots=True)
class RopeSpec:
    """Rotary positions (Su et al. 2021, arXiv:2104.09864) on the first `width` of a head.

    `interleaved` pairs neighbours (GPT-J) instead of halves (GPT-NeoX, Llama).
    """

    width: int
    theta: float
    scaling: RopeScaling | None = None
    interleaved: bool = False


@dataclass(frozen=True, slots=True)
class AttentionSpec:
    """Softmax attention with `heads` query heads in `kv_heads` groups (GQA, arXiv:2305.13245).

    `window` keys at most are seen, the query's own among them. `rope` None means that positions
    come from elsewhere, for instance ALiBi (arXiv:2108.12409). `qk_norm` normalizes each head's
    query and key. `cap` squashes scores by tanh (Gemma 2). `scale` None is 1 / sqrt(head_dim).
    """

    heads: int
    kv_heads: int
    head_dim: int
    rope: RopeSpec | None = None
    window: int | None = None
    qk_norm: NormSpec | None = None
    bias: bool = False
    out_bias: bool = False
    cap: float | None = None
    alibi: bool = False
    scale: float | None = None


@dataclass(frozen=True, slots=True)
class MlpSpec:
    """The feed-forward block: down(act(gate(x)) * up(x)) if `gated`, else down(act(up(x))).

    Gated linear units: Shazeer 2020, arXiv:2002.05202.
    """

    width: int
    activation: Activation = "silu"
    gated: bool = True
    bias: bool = False


Mixer: TypeAlias = AttentionSpec
"""What gathers from earlier positions. Latent attention (MLA) joins this union with its spec."""

Feed: TypeAlias = MlpSpec
"""What recalls at each position. Mixtures of experts join this union with their spec."""


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One layer: a mixer, a feed, and how norms and residuals wire them.

    "pre" norms what goes in, "post" what comes out, "sandwich" both; "parallel" feeds both from
    the one norm and adds both results. `residual_scale` multiplies what is added.
    """

    mixer: Mixer
    feed: Feed
    norm: NormSpec
    wiring: Wiring = "pre"
    residual_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A decoder: embedding, `layers`, `norm`, and a head over `vocab` ids.

    `embed_scale` multiplies embeddings (Gemma), `logit_scale` the logits (Cohere, Granite), and
    `logit_cap` squashes them by tanh (Gemma 2). `learned_positions` is the size of a table added
    to the embeddings (GPT-2, OPT), whose first `position_offset` rows are unused. `tied` uses the
    embedding as the head. `max_positions` is the context the model was made for.
    """

    vocab: int
    hidden: int
    layers: tuple[LayerSpec, ...]
    norm: NormSpec
    max_positions: int
    tied: bool = False
    embed_scale: float = 1.0
    logit_scale: float = 1.0
    logit_cap: float | None = None
    head_bias: bool = False
    learned_positions: int | None = None
    position_offset: int = 0

    def ropes(self) -> frozenset[RopeSpec]:
        """The distinct rotary encodings of the stack; each needs its angles once a step."""
        found = (layer.mixer.rope for layer in self.layers)
        return frozenset(rope for rope in found if rope is not None)

    def runs(self) -> Iterator[tuple[int, LayerSpec]]:
        """Neighbouring layers that are alike, as (how many, which)."""
        for layer, same in groupby(self.layers):
            yield len(list(same)), layer
