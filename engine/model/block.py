"""One layer of the stack: attention gathers, the MLP recalls, residuals carry both on."""

from __future__ import annotations

from torch import Tensor

from ..spec import LayerSpec
from .attention import Attention, Pass
from .mlp import Mlp
from .norm import Norm
from .source import Scope, Source


class Block:
    """A layer wired as its spec says.

    Norms that a wiring doesn't have are None: "pre" has `mixer_norm` and `feed_norm`, "post" has
    `mixer_post_norm` and `feed_post_norm`, "sandwich" all four, "parallel" `mixer_norm` alone.
    """

    def __init__(self, spec: LayerSpec, source: Source, hidden: int, layer: int) -> None:
        def norm(name: str, present: bool) -> Norm | None:
            return Norm(spec.norm, source, name, hidden) if present else None

        self.spec = spec
        self.mixer = Attention(spec.mixer, Scope(source, "mixer"), hidden, layer)
        self.feed = Mlp(spec.feed, Scope(source, "feed"), hidden)
        self.mixer_norm = norm("mixer_norm", spec.wiring != "post")
        self.mixer_post_norm = norm("mixer_post_norm", spec.wiring in ("post", "sandwich"))
        self.feed_norm = norm("feed_norm", spec.wiring in ("pre", "sandwich"))
        self.feed_post_norm = norm("feed_post_norm", spec.wiring in ("post", "sandwich"))

    def __call__(self, x: Tensor, shared: Pass) -> Tensor:
        """[T, M] -> [T, M], the residual stream one layer on."""
        normed = _apply(self.mixer_norm, x)
        gathered = self._scaled(_apply(self.mixer_post_norm, self.mixer(normed, shared)))
        if self.spec.wiring == "parallel":
            return x + gathered + self._scaled(self.feed(normed))
        x = x + gathered
        recalled = self.feed(_apply(self.feed_norm, x))
        return x + self._scaled(_apply(self.feed_post_norm, recalled))

    def _scaled(self, x: Tensor) -> Tensor:
        scale = self.spec.residual_scale
        return x if scale == 1.0 else x * scale


def _apply(norm: Norm | None, x: Tensor) -> Tensor:
    return x if norm is None else norm(x)
