"""The linear map that every part is made of."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, cat

from .source import Source


class Linear:
    """x @ weight.T + bias, for x [T, inputs]; weights are [outputs, inputs] as on disk.

    Several maps of the same input, such as query, key and value, run as one: their answers come
    side by side in the order of `names`.
    """

    def __init__(
        self,
        source: Source,
        names: str | Sequence[str],
        inputs: int,
        outputs: int | Sequence[int],
        bias: bool,
    ) -> None:
        names = [names] if isinstance(names, str) else names
        widths = [outputs] if isinstance(outputs, int) else outputs
        weights = [f"{name}.weight" for name in names]
        self.matrix = source.matrix(weights, widths, inputs)
        self.bias: Tensor | None = None
        if bias:
            pairs = zip(names, widths, strict=True)
            self.bias = _joined([source.take(f"{name}.bias", width) for name, width in pairs])

    def __call__(self, x: Tensor) -> Tensor:
        """[T, inputs] -> [T, outputs]."""
        return self.matrix(x, self.bias)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else cat(parts)
