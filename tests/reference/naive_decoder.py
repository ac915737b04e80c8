"""A decoder straight from a `ModelSpec`: slow, obvious, in float64, without a cache.

It loops over positions, heads and keys and shares no code with the engine, so that both can only
agree by being right. Vectors are numpy arrays; `weights` maps the engine's own names to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lmtool.engine.spec import (
    AttentionSpec,
    DynamicScaling,
    ExpertsSpec,
    LatentSpec,
    LayerSpec,
    LinearScaling,
    Llama3Scaling,
    LongScaling,
    MlpSpec,
    ModelSpec,
    NormSpec,
    ProportionalScaling,
    RopeSpec,
    YarnScaling,
)

Vector = NDArray[np.float64]


class NaiveDecoder:
    """Logits of a whole text at once, [T, V]. Nobody sees the positions `unseen`."""

    def __init__(
        self, spec: ModelSpec, weights: Mapping[str, Vector], unseen: Collection[int] = ()
    ) -> None:
        self.spec = spec
        self.unseen = unseen
        self.weights = {name: np.asarray(w, dtype=np.float64) for name, w in weights.items()}

    def logits(self, ids: Sequence[int], extents: Sequence[int] | None = None) -> Vector:
        """What follows each of `ids`; `extents` is the text's length as each token knew it."""
        reach = [len(ids)] * len(ids) if extents is None else list(extents)
        xs = [self.embedded(id, position) for position, id in enumerate(ids)]
        for number, layer in enumerate(self.spec.layers):
            xs = self.layer(xs, layer, f"layers.{number}", reach)
        return np.stack([self.answer(x) for x in xs])

    def embedded(self, id: int, position: int) -> Vector:
        x = self.weights["embed.weight"][id] * self.spec.embed_scale
        if self.spec.embed_norm is not None:
            x = self.norm(x, self.spec.embed_norm, "embed_norm")
        if self.spec.embed_width not in (None, self.spec.hidden):
            x = self.linear(x, "widen", False)
        if self.spec.learned_positions is not None:
            x = x + self.weights["positions.weight"][position + self.spec.position_offset]
        return x

    def answer(self, x: Vector) -> Vector:
        if self.spec.norm is not None:
            x = self.norm(x, self.spec.norm, "norm")
        if self.spec.embed_width not in (None, self.spec.hidden):
            x = self.linear(x, "narrow", False)
        head = self.weights["embed.weight" if self.spec.tied else "head.weight"]
        logits = head @ x
        if self.spec.head_bias:
            logits = logits + self.weights["head.bias"]
        logits = logits * self.spec.logit_scale
        cap = self.spec.logit_cap
        return logits if cap is None else cap * np.tanh(logits / cap)

    def layer(self, xs: list[Vector], spec: LayerSpec, name: str, reach: list[int]) -> list[Vector]:
        def norm(which: str, inputs: list[Vector]) -> list[Vector]:
            return [self.norm(x, spec.norm, f"{name}.{which}") for x in inputs]

        def mix(inputs: list[Vector]) -> list[Vector]:
            if isinstance(spec.mixer, LatentSpec):
                return self.latent_attention(inputs, spec.mixer, f"{name}.mixer", reach)
            return self.attention(inputs, spec.mixer, f"{name}.mixer", reach)

        def feed(inputs: list[Vector]) -> list[Vector]:
            if isinstance(spec.feed, ExpertsSpec):
                return [self.experts(x, spec.feed, f"{name}.feed") for x in inputs]
            return [self.mlp(x, spec.feed, f"{name}.feed") for x in inputs]

        def plus(stream: list[Vector], *added: list[Vector]) -> list[Vector]:
            return [x + spec.residual_scale * sum(a) for x, *a in zip(stream, *added, strict=True)]

        def carried(stream: list[Vector], normed: list[Vector]) -> list[Vector]:
            return normed if spec.carry_normed else stream

        if spec.wiring == "pre":
            normed = norm("mixer_norm", xs)
            xs = plus(carried(xs, normed), mix(normed))
            normed = norm("feed_norm", xs)
            return plus(carried(xs, normed), feed(normed))
        if spec.wiring == "post":
            xs = plus(xs, norm("mixer_post_norm", mix(xs)))
            return plus(xs, norm("feed_post_norm", feed(xs)))
        if spec.wiring == "sandwich":
            normed = norm("mixer_norm", xs)
            xs = plus(carried(xs, normed), norm("mixer_post_norm", mix(normed)))
            normed = norm("feed_norm", xs)
            return plus(carried(xs, normed), norm("feed_post_norm", feed(normed)))
        if spec.wiring == "parallel":
            normed = norm("mixer_norm", xs)
            return plus(carried(xs, normed), mix(normed), feed(normed))
        if spec.wiring == "twin":
            normed = norm("mixer_norm", xs)
            return plus(carried(xs, normed), mix(normed), feed(norm("feed_norm", xs)))
        assert spec.wiring == "after"
        xs = norm("mixer_post_norm", [x + m for x, m in zip(xs, mix(xs), strict=True)])
        return norm("feed_post_norm", [x + f for x, f in zip(xs, feed(xs), strict=True)])

    def attention(
        self, xs: list[Vector], spec: AttentionSpec, name: str, reach: list[int]
    ) -> list[Vector]:
        def heads_of(x: Vector, which: str, count: int) -> list[Vector]:
            return np.split(self.linear(x, f"{name}.{which}", spec.bias), count)

        def clipped(vectors: list[Vector]) -> list[Vector]:
            bound = np.inf if spec.clip is None else spec.clip
            return [np.clip(v, -bound, bound) for v in vectors]

        def normed(vectors: list[Vector], which: str) -> list[Vector]:
            assert spec.qk_norm is not None
            norm, over, full = spec.qk_norm.norm, spec.qk_norm.over, f"{name}.{which}_norm"
            if over == "whole":
                return np.split(self.norm(np.concatenate(vectors), norm, full), len(vectors))
            rows = range(len(vectors)) if over == "heads" else [None] * len(vectors)
            return [self.norm(v, norm, full, row) for v, row in zip(vectors, rows, strict=True)]

        def placed(vectors: list[Vector], which: str, position: int) -> list[Vector]:
            if spec.qk_norm is not None and not spec.qk_norm.after_rope:
                vectors = normed(vectors, which)
            vectors = clipped(vectors)
            if spec.rope is not None:
                vectors = [turned(v, spec.rope, position, reach[position]) for v in vectors]
            if spec.qk_norm is not None and spec.qk_norm.after_rope:
                vectors = normed(vectors, which)
            return vectors

        queries = [placed(heads_of(x, "q", spec.heads), "q", p) for p, x in enumerate(xs)]
        keys = [placed(heads_of(x, "k", spec.kv_heads), "k", p) for p, x in enumerate(xs)]
        values = [clipped(heads_of(x, "v", spec.kv_heads)) for x in xs]
        sinks = self.weights[f"{name}.sinks"] if spec.sinks else None
        out: list[Vector] = []
        for position in range(len(xs)):
            parts: list[Vector] = []
            for head in range(spec.heads):
                group = head // (spec.heads // spec.kv_heads)
                seen = self.in_sight(position, spec.window)
                scores = [
                    score(queries[position][head], keys[p][group], position - p, head, spec)
                    for p in seen
                ]
                shares = (
                    softmax([*scores, sinks[head]])[:-1] if sinks is not None else softmax(scores)
                )
                parts.append(mixture(shares, [values[p][group] for p in seen]))
            out.append(self.linear(np.concatenate(parts), f"{name}.out", spec.out_bias))
        return out

    def in_sight(self, position: int, window: int | None) -> list[int]:
        """The positions that a query sees: up to its own, and no more than `window` of them."""
        first = 0 if window is None else max(0, position + 1 - window)
        seen = [one for one in range(first, position + 1) if one not in self.unseen]
        return seen or [position]  # whom nobody sees may see itself

    def latent_attention(
        self, xs: list[Vector], spec: LatentSpec, name: str, reach: list[int]
    ) -> list[Vector]:
        """Every head's keys and values are made from the latents, as the paper writes it."""
        scale = (spec.nope_dim + spec.rope.width) ** -0.5 if spec.scale is None else spec.scale
        queries: list[list[Vector]] = []
        keys: list[list[Vector]] = []
        values: list[list[Vector]] = []
        for position, x in enumerate(xs):
            down = x
            if spec.q_rank is not None:
                down = self.linear(x, f"{name}.q_down", spec.bias)
                down = self.norm(down, spec.norm, f"{name}.q_norm")
            flat = self.linear(down, f"{name}.q", False)
            heads = [np.split(q, [spec.nope_dim]) for q in np.split(flat, spec.heads)]
            place = (spec.rope, position, reach[position])
            queries.append([np.append(plain, turned(rest, *place)) for plain, rest in heads])
            down = self.linear(x, f"{name}.kv_down", spec.bias)
            latent, key = np.split(down, [spec.kv_rank])
            latent = self.norm(latent, spec.norm, f"{name}.kv_norm")
            flat = self.linear(latent, f"{name}.kv", False)
            made = [np.split(kv, [spec.nope_dim]) for kv in np.split(flat, spec.heads)]
            keys.append([np.append(plain, turned(key, *place)) for plain, _ in made])
            values.append([value for _, value in made])
        out: list[Vector] = []
        for position in range(len(xs)):
            parts: list[Vector] = []
            for head in range(spec.heads):
                seen = self.in_sight(position, spec.window)
                scores = [float(queries[position][head] @ keys[p][head]) * scale for p in seen]
                parts.append(mixture(softmax(scores), [values[p][head] for p in seen]))
            out.append(self.linear(np.concatenate(parts), f"{name}.out", spec.bias))
        return out

    def experts(self, x: Vector, spec: ExpertsSpec, name: str) -> Vector:
        router = spec.router
        logits = self.linear(x, f"{name}.router", router.bias)
        scores = softmax(logits) if router.scores == "softmax" else 1 / (1 + np.exp(-logits))
        wanted = scores + (self.weights[f"{name}.router.correction"] if router.correction else 0)
        size = spec.count // router.groups
        groups = [range(g * size, (g + 1) * size) for g in range(router.groups)]
        best_of = 1 if router.group_score == "max" else 2
        groups.sort(key=lambda g: -sum(sorted((wanted[e] for e in g), reverse=True)[:best_of]))
        allowed = [expert for group in groups[: router.top_groups] for expert in group]
        chosen = sorted(allowed, key=lambda expert: -wanted[expert])[: spec.active]
        total = sum(scores[expert] for expert in chosen) if router.normalize else 1.0
        out = np.zeros_like(x)
        for expert in chosen:
            answer = self.mlp(x, spec.expert, f"{name}.experts.{expert}")
            out = out + scores[expert] / total * router.scale * answer
        if spec.shared is not None:
            common = self.mlp(x, spec.shared, f"{name}.shared")
            if spec.shared_gate:
                common = common / (1 + np.exp(-self.linear(x, f"{name}.shared_gate", False)))
            out = out + common
        return out

    def mlp(self, x: Vector, spec: MlpSpec, name: str) -> Vector:
        inner = self.linear(x, f"{name}.up", spec.bias)
        gate = self.linear(x, f"{name}.gate", spec.bias) if spec.gated else inner
        if spec.activation == "xielu":
            act = [self.xielu(g, f"{name}.act") for g in gate]
        else:
            act = [ACTIVATIONS[spec.activation](g) for g in gate]
        if not spec.gated:
            inner = np.array(act)
        elif spec.clamp is None:
            inner = np.array(act) * inner
        else:
            gate = np.minimum(gate, spec.clamp)
            inner = np.clip(inner, -spec.clamp, spec.clamp)
            inner = gate / (1 + np.exp(-spec.slope * gate)) * (inner + 1)
        down_bias = spec.bias if spec.down_bias is None else spec.down_bias
        return self.linear(inner, f"{name}.down", down_bias)

    def xielu(self, x: float, name: str) -> float:
        """Two slopes learned for each layer (arXiv:2411.13010)."""
        beta, eps = float(self.weights[f"{name}.beta"]), float(self.weights[f"{name}.eps"])
        above, below = (
            math.log1p(math.exp(float(self.weights[f"{name}.{which}"][0])))
            for which in ("alpha_p", "alpha_n")
        )
        if x > 0:
            return above * x * x + beta * x
        return (math.expm1(min(x, eps)) - x) * (beta + below) + beta * x

    def linear(self, x: Vector, name: str, bias: bool) -> Vector:
        y = self.weights[f"{name}.weight"] @ x
        return y + self.weights[f"{name}.bias"] if bias else y

    def norm(self, x: Vector, spec: NormSpec, name: str, row: int | None = None) -> Vector:
        """`row` picks a head's weight where every head has its own."""
        centre = x.mean() if spec.kind == "layer" else 0.0
        y = (x - centre) / math.sqrt(((x - centre) ** 2).mean() + spec.eps)
        pick = ... if row is None else row
        if spec.weight:
            y = y * (self.weights[f"{name}.weight"][pick] + spec.offset)
        return y + self.weights[f"{name}.bias"][pick] if spec.bias else y


def softmax(scores: Sequence[float] | Vector) -> Vector:
    """Shares that sum to 1."""
    shares = np.exp(np.array(scores) - max(scores))
    return shares / shares.sum()


def mixture(shares: Vector, values: list[Vector]) -> Vector:
    """The weighted sum of values."""
    return sum((s * v for s, v in zip(shares, values, strict=True)), np.zeros_like(values[0]))


def score(q: Vector, k: Vector, back: int, head: int, spec: AttentionSpec) -> float:
    """How much a query wants a key that lies `back` positions before it."""
    value = float(q @ k) * (spec.head_dim**-0.5 if spec.scale is None else spec.scale)
    if spec.cap is not None:
        value = spec.cap * math.tanh(value / spec.cap)
    return value if spec.alibi is None else value - spec.alibi.slopes[head] * back


def turned(x: Vector, rope: RopeSpec, position: int, reach: int) -> Vector:
    """A head's vector with its pairs turned by position, pair after pair."""
    out = x.copy()
    half = rope.width // 2
    stretched = isinstance(rope.scaling, YarnScaling | LongScaling)
    amplitude = rope.scaling.attention_factor if stretched else 1.0
    for pair in range(half):
        one, two = (2 * pair, 2 * pair + 1) if rope.interleaved else (pair, pair + half)
        angle = position * frequency(rope, pair, reach) * (-1 if rope.backward else 1)
        cos, sin = amplitude * math.cos(angle), amplitude * math.sin(angle)
        out[one] = x[one] * cos - x[two] * sin
        out[two] = x[two] * cos + x[one] * sin
    return out


def frequency(rope: RopeSpec, pair: int, reach: int) -> float:
    """Radians a position for one pair."""
    scaling, width = rope.scaling, rope.spread or rope.width
    plain = rope.theta ** (-2 * pair / width)
    if isinstance(scaling, LinearScaling):
        return plain / scaling.factor
    if isinstance(scaling, DynamicScaling):
        stretch = scaling.factor * max(reach, scaling.original) / scaling.original
        base = rope.theta * (stretch - (scaling.factor - 1)) ** (width / (width - 2))
        return base ** (-2 * pair / width)
    if isinstance(scaling, ProportionalScaling):
        return plain / scaling.factor if pair < scaling.turning else 0.0
    if isinstance(scaling, LongScaling):
        factors = scaling.long if reach > scaling.original else scaling.short
        return plain / factors[pair]
    if isinstance(scaling, Llama3Scaling):
        wavelength = 2 * math.pi / plain
        if wavelength < scaling.original / scaling.high_freq_factor:
            return plain
        if wavelength > scaling.original / scaling.low_freq_factor:
            return plain / scaling.factor
        smooth = (scaling.original / wavelength - scaling.low_freq_factor) / (
            scaling.high_freq_factor - scaling.low_freq_factor
        )
        return (1 - smooth) * plain / scaling.factor + smooth * plain
    if isinstance(scaling, YarnScaling):
        low = yarn_bound(rope, scaling, scaling.beta_fast)
        high = yarn_bound(rope, scaling, scaling.beta_slow)
        if scaling.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, width - 1)
        ramp = (pair - low) / ((high - low) or 0.001)
        ramp = min(1.0, max(0.0, ramp))
        return plain / scaling.factor * ramp + plain * (1 - ramp)
    return plain


def yarn_bound(rope: RopeSpec, scaling: YarnScaling, circles: float) -> float:
    """The pair, as a fraction, that goes round `circles` times over the original context."""
    logarithm = math.log(scaling.original / (circles * 2 * math.pi))
    return (rope.spread or rope.width) * logarithm / (2 * math.log(rope.theta))


def gelu(x: float) -> float:
    """A number times the chance that a normal one is smaller."""
    return x * (1 + math.erf(x / math.sqrt(2))) / 2


def sigmoid(x: float) -> float:
    """Each spelling overflows on the other's side."""
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "silu": lambda x: x * sigmoid(x),
    "gelu": gelu,
    "gelu_tanh": lambda x: x * sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3)),
    "gelu_clipped": lambda x: min(10.0, max(-10.0, gelu(x))),
    "quick_gelu": lambda x: x * sigmoid(1.702 * x),
    "relu": lambda x: max(x, 0.0),
    "relu2": lambda x: max(x, 0.0) ** 2,
    "relu6": lambda x: min(6.0, max(x, 0.0)),
    "leaky_relu": lambda x: x if x > 0 else x / 100,
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(x))),
    "hardswish": lambda x: x * min(6.0, max(0.0, x + 3)) / 6,
    "laplace": lambda x: (1 + math.erf((x - 0.707107) / (0.282095 * math.sqrt(2)))) / 2,
    "tanh": math.tanh,
    "sigmoid": sigmoid,
    "sqrt_softplus": lambda x: math.sqrt(math.log1p(math.exp(x))),
    "linear": lambda x: x,
}
