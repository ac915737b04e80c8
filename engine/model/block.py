"""One layer of the stack: attention gathers, the MLP recalls, residuals carry both on."""

from __future__ import annotations

from torch import Tensor

from ..spec import Feed, LatentSpec, LayerSpec, Mixer, MlpSpec
from .attention import Attention
from .experts import Experts
from .latent import LatentAttention
from .mlp import Mlp
from .norm import Norm
from .passing import Pass
from .source import Scope, Source

_IN = ("pre", "sandwich", "parallel", "twin")
_FEED_IN = ("pre", "sandwich", "twin")
_OUT = ("post", "sandwich", "after")


class Block:
    """A layer wired as its spec says.

    Norms of what goes in are `mixer_norm` and `feed_norm`, of what comes out `mixer_post_norm` and
    `feed_post_norm`; those that a wiring doesn't have are None.
    """

    def __init__(self, spec: LayerSpec, source: Source, hidden: int, layer: int) -> None:
        def norm(name: str, present: bool) -> Norm | None:
            return Norm(spec.norm, source, name, hidden) if present else None

        self.spec = spec
        self.mixer = _mixer(spec.mixer, Scope(source, "mixer"), hidden, layer)
        self.feed = _feed(spec.feed, Scope(source, "feed"), hidden)
        self.mixer_norm = norm("mixer_norm", spec.wiring in _IN)
        self.mixer_post_norm = norm("mixer_post_norm", spec.wiring in _OUT)
        self.feed_norm = norm("feed_norm", spec.wiring in _FEED_IN)
        self.feed_post_norm = norm("feed_post_norm", spec.wiring in _OUT)

    def __call__(self, x: Tensor, shared: Pass) -> Tensor:
        """[T, M] -> [T, M], the residual stream one layer on, of the tokens that go on."""
        if self.spec.wiring == "after":
            x = _apply(self.mixer_post_norm, shared.kept(x) + self.mixer(x, shared))
            return _apply(self.feed_post_norm, x + self.feed(x))
        normed = _apply(self.mixer_norm, x)
        gathered = self._scaled(_apply(self.mixer_post_norm, self.mixer(normed, shared)))
        x, normed = shared.kept(x), shared.kept(normed)
        stream = normed if self.spec.carry_normed else x
        if self.spec.wiring in ("parallel", "twin"):
            feed_in = normed if self.feed_norm is None else self.feed_norm(x)
            return stream + gathered + self._scaled(self.feed(feed_in))
        x = stream + gathered
        normed = _apply(self.feed_norm, x)
        recalled = self._scaled(_apply(self.feed_post_norm, self.feed(normed)))
        return (normed if self.spec.carry_normed else x) + recalled

    def _scaled(self, x: Tensor) -> Tensor:
        scale = self.spec.residual_scale
        return x if scale == 1.0 else x * scale


def _mixer(spec: Mixer, source: Source, hidden: int, layer: int) -> Attention | LatentAttention:
    if isinstance(spec, LatentSpec):
        return LatentAttention(spec, source, hidden, layer)
    return Attention(spec, source, hidden, layer)


def _feed(spec: Feed, source: Source, hidden: int) -> Mlp | Experts:
    return Mlp(spec, source, hidden) if isinstance(spec, MlpSpec) else Experts(spec, source, hidden)


def _apply(norm: Norm | None, x: Tensor) -> Tensor:
    return x if norm is None else norm(x)
