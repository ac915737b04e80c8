"""What a checkpoint's stack is, layer by layer, as frozen values: no tensors, no family names.

A family reads its config.json into a `ModelSpec`; the model is built from the spec alone. Each
layer has a spec of its own, so a window, a rope or a set of experts on every third layer is just
a different entry. The unions `Mixer` and `Feed` are the only switches between kinds.

Letters used in shapes throughout the engine: T tokens in a step, R rows, N tokens a row, S key
slots, M hidden (model) size, H heads, G key-value heads, D head width, F feed-forward width,
V vocabulary, E experts, K experts chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, TypeAlias

Activation = Literal[
    "silu",
    "gelu",
    "gelu_tanh",
    "gelu_clipped",
    "quick_gelu",
    "relu",
    "relu2",
    "relu6",
    "leaky_relu",
    "xielu",
    "mish",
    "hardswish",
    "laplace",
    "tanh",
    "sigmoid",
    "sqrt_softplus",
    "linear",
]
Wiring = Literal["pre", "post", "sandwich", "parallel", "twin", "after"]


@dataclass(frozen=True, slots=True)
class NormSpec:
    """A normalization over the last axis.

    "rms" divides by the root mean square (Zhang & Sennrich 2019, arXiv:1910.07467); "layer"
    subtracts the mean first (Ba et al. 2016, arXiv:1607.06450) and may have a bias. Without
    `weight` nothing is learned (OLMo). `offset` is added to the stored weight (Gemma stores
    weight - 1).
    """

    eps: float
    kind: Literal["rms", "layer"] = "rms"
    weight: bool = True
    bias: bool = False
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class QkNormSpec:
    """A normalization of queries and keys.

    It runs over each head with one weight for all ("head", Qwen 3) or one for each ("heads",
    StableLM), or over all heads together ("whole", OLMo 2). `after_rope` normalizes what is
    already turned.
    """

    norm: NormSpec
    over: Literal["head", "heads", "whole"] = "head"
    after_rope: bool = False


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


@dataclass(frozen=True, slots=True)
class LongScaling:
    """LongRoPE (Ding et al. 2024, arXiv:2402.13753): a factor for each frequency.

    `long` takes over from `short` for texts of more than `original` tokens. As in transformers, a
    key keeps the turn it got when it was written; or else, `afresh` (Phi-3), the whole text is
    computed again as soon as it is longer.
    """

    short: tuple[float, ...]
    long: tuple[float, ...]
    original: int
    attention_factor: float
    afresh: bool = False


@dataclass(frozen=True, slots=True)
class ProportionalScaling:
    """Only the `turning` fastest pairs of a head turn, but spread as if all did; / `factor`."""

    turning: int
    factor: float


RopeScaling: TypeAlias = (
    LinearScaling | DynamicScaling | Llama3Scaling | YarnScaling | LongScaling | ProportionalScaling
)


@dataclass(frozen=True, slots=True)
class RopeSpec:
    """Rotary positions (Su et al. 2021, arXiv:2104.09864) on the first `width` of a head.

    `interleaved` pairs neighbours (GPT-J) instead of halves (GPT-NeoX, Llama). `backward` turns
    the other way round (nanochat). `spread` is the width that the frequencies are spread over,
    where it isn't `width` (an odd one is rounded up to whole pairs).
    """

    width: int
    theta: float
    scaling: RopeScaling | None = None
    interleaved: bool = False
    backward: bool = False
    spread: int | None = None


@dataclass(frozen=True, slots=True)
class AlibiSpec:
    """Positions as a penalty: each head's score falls by its slope with each step back.

    Press et al. 2021, arXiv:2108.12409. `rounded` adds to each key its position times the slope in
    bfloat16, whatever the model's dtype (Falcon): steps far into a text are then not quite alike.
    `scale` multiplies what is added, after that rounding.
    """

    slopes: tuple[float, ...]
    rounded: bool = False
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class AttentionSpec:
    """Softmax attention with `heads` query heads in `kv_heads` groups (GQA, arXiv:2305.13245).

    `window` keys at most are seen, the query's own among them. `rope` None means that positions
    come from elsewhere, for instance `alibi`. `bias` is of query, key and value,
    `out_bias` of the projection back. `clip` bounds query, key and value (OLMo), `cap` squashes
    scores by tanh (Gemma 2), `sinks` adds to each head a learned score that takes weight from all
    keys (gpt-oss). `scale` None is 1 / sqrt(head_dim).
    """

    heads: int
    kv_heads: int
    head_dim: int
    rope: RopeSpec | None = None
    window: int | None = None
    qk_norm: QkNormSpec | None = None
    bias: bool = False
    out_bias: bool = False
    clip: float | None = None
    cap: float | None = None
    sinks: bool = False
    alibi: AlibiSpec | None = None
    scale: float | None = None

    @property
    def key_width(self) -> int:
        """Numbers cached as key by each key-value head."""
        return self.head_dim

    @property
    def value_width(self) -> int:
        """Numbers cached as value by each key-value head."""
        return self.head_dim


@dataclass(frozen=True, slots=True)
class LatentSpec:
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434).

    Keys and values of all heads come from one latent of `kv_rank` numbers, and that with one
    turned key of `rope.width` is all that is cached: one head whose value is part of its key.
    `q_rank` None projects queries straight. A head's key has `nope_dim` unturned numbers beside
    the turned ones, its value `value_dim`. `bias` is of the projections down and back.
    """

    heads: int
    q_rank: int | None
    kv_rank: int
    nope_dim: int
    value_dim: int
    rope: RopeSpec
    norm: NormSpec
    bias: bool = False
    scale: float | None = None
    window: int | None = None
    alibi: None = None
    kv_heads: Literal[1] = 1

    @property
    def key_width(self) -> int:
        """Numbers cached of a position: its latent and its turned key."""
        return self.kv_rank + self.rope.width

    @property
    def value_width(self) -> int:
        """Nothing more: the value is the latent."""
        return 0


@dataclass(frozen=True, slots=True)
class MlpSpec:
    """The feed-forward block: down(act(gate(x)) * up(x)) if `gated`, else down(act(up(x))).

    Gated linear units: Shazeer 2020, arXiv:2002.05202. `clamp` bounds what comes out of gate and
    up, and then it is act(gate(x)) * (up(x) + 1) with a SiLU of slope `slope` (gpt-oss). `bias` is
    of all projections; `down_bias` says otherwise of the last where it isn't None.
    """

    width: int
    activation: Activation = "silu"
    gated: bool = True
    bias: bool = False
    down_bias: bool | None = None
    clamp: float | None = None
    slope: float = 1.0


@dataclass(frozen=True, slots=True)
class RouterSpec:
    """How each token's K experts are found and weighed.

    Router logits become scores by softmax over all experts or by sigmoid. The highest K are
    chosen, after adding a learned `correction` where there is one (DeepSeek-V3), and only from the
    `top_groups` best of `groups` equal groups; a group is as good as its best expert ("max") or its
    two best together ("top2"). Their scores, made to sum to 1 if `normalize`, times `scale` weigh
    the experts. `bias` is of the router's projection, which runs in float32 if `wide`.
    """

    scores: Literal["softmax", "sigmoid"] = "softmax"
    normalize: bool = False
    scale: float = 1.0
    bias: bool = False
    wide: bool = False
    correction: bool = False
    groups: int = 1
    top_groups: int = 1
    group_score: Literal["max", "top2"] = "max"


@dataclass(frozen=True, slots=True)
class ExpertsSpec:
    """A mixture of `count` experts (Shazeer et al. 2017, arXiv:1701.06538), `active` a token.

    `expert` is the shape of each; `shared` is an MLP that every token passes as well, weighed by a
    sigmoid gate of its own if `shared_gate`.
    """

    count: int
    active: int
    expert: MlpSpec
    router: RouterSpec
    shared: MlpSpec | None = None
    shared_gate: bool = False


Mixer: TypeAlias = AttentionSpec | LatentSpec
"""What gathers from earlier positions."""

Feed: TypeAlias = MlpSpec | ExpertsSpec
"""What recalls at each position."""


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One layer: a mixer, a feed, and how norms and residuals wire them.

    "pre" norms what goes in, "post" what comes out, "sandwich" both. "parallel" feeds mixer and
    feed from one norm and adds both results, "twin" from a norm each. "after" norms the sum of
    stream and result (the first Transformers). With `carry_normed` the residual is what the norm
    made of the stream, not the stream (BLOOM's option). `residual_scale` multiplies what is added.
    """

    mixer: Mixer
    feed: Feed
    norm: NormSpec
    wiring: Wiring = "pre"
    residual_scale: float = 1.0
    carry_normed: bool = False


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A decoder: embedding, `layers`, `norm`, and a head over `vocab` ids.

    `embed_scale` multiplies embeddings (Gemma), `embed_norm` norms them (BLOOM), `embed_width` is
    their width where it differs from `hidden` and is projected to it and back (OPT-350m).
    `learned_positions` is the size of a table added to them (GPT-2, OPT), whose first
    `position_offset` rows are unused. `norm` None leaves the stream as it is (OPT-350m).
    `logit_scale` multiplies the logits (Cohere, Granite), `logit_cap` squashes them by tanh
    (Gemma 2). `tied` uses the embedding as the head. `max_positions` is the context the model was
    made for. `drafters` layers more may be stored, which guess further ahead and aren't run
    (DeepSeek-V3).
    """

    vocab: int
    hidden: int
    layers: tuple[LayerSpec, ...]
    norm: NormSpec | None
    max_positions: int
    tied: bool = False
    embed_scale: float = 1.0
    embed_norm: NormSpec | None = None
    embed_width: int | None = None
    logit_scale: float = 1.0
    logit_cap: float | None = None
    head_bias: bool = False
    learned_positions: int | None = None
    position_offset: int = 0
    drafters: int = 0

    def ropes(self) -> frozenset[RopeSpec]:
        """The distinct rotary encodings of the stack; each needs its angles once a step."""
        found = (layer.mixer.rope for layer in self.layers)
        return frozenset(rope for rope in found if rope is not None)

    def stretches(self) -> bool:
        """Whether a rope turns tokens by how long their text is."""
        return any(isinstance(r.scaling, DynamicScaling | LongScaling) for r in self.ropes())

    def turning_points(self) -> frozenset[int]:
        """Lengths at which a growing text is to be computed afresh, whatever is cached."""
        scalings = (rope.scaling for rope in self.ropes())
        return frozenset(
            s.original + 1 for s in scalings if isinstance(s, LongScaling) and s.afresh
        )

    def runs(self) -> Iterator[tuple[int, LayerSpec]]:
        """Neighbouring layers that are alike, as (how many, which)."""
        for layer, same in groupby(self.layers):
            yield len(list(same)), layer
