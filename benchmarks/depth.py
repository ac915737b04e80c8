"""What layers cost: decoding time and cache memory of stacks that differ in depth alone.

Run it as `python benchmarks/depth.py`. Weights are random; times are the best of several rounds.
"""

from __future__ import annotations

from time import perf_counter

import torch
from torch import Tensor

from lmtool.engine.cache.static import StaticCache
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.model.source import PlainSource
from lmtool.engine.spec import AttentionSpec, LayerSpec, MlpSpec, ModelSpec, NormSpec, RopeSpec
from lmtool.engine.step import Piece, Step

DEPTHS = (10, 25, 50, 100)
CONTEXT, ROUNDS, TOKENS = 512, 5, 8
CPU = torch.device("cpu")


class Random(PlainSource):
    """Random weights of any name and shape."""

    def take(self, name: str, *shape: int, exact: bool = False) -> Tensor:
        """A weight that keeps the size of what passes through."""
        return torch.randn(shape) / shape[-1] ** 0.5


def stack(depth: int) -> ModelSpec:
    """A small Llama of so many layers."""
    norm = NormSpec(1e-6)
    mixer = AttentionSpec(8, 2, 32, rope=RopeSpec(32, 10000.0))
    layers = (LayerSpec(mixer, MlpSpec(768), norm),) * depth
    return ModelSpec(1000, 256, layers, norm, max_positions=CONTEXT)


def seconds_per_token(decoder: Decoder, cache: StaticCache) -> float:
    """The best round's time for a token, after a prompt of 256."""
    cache.reserve(0, CONTEXT)
    decoder(Step.of([Piece(0, 0, [1] * 256, 256)], CPU), cache)
    best, position = float("inf"), 256
    for _ in range(ROUNDS):
        began = perf_counter()
        for _ in range(TOKENS):
            decoder(Step.of([Piece(0, position, [1], position + 1)], CPU), cache)
            position += 1
        best = min(best, (perf_counter() - began) / TOKENS)
    return best


def main() -> None:
    """Print a row for each depth."""
    torch.set_num_threads(1)  # threads that wait for each other would be what is measured
    print("one thread, float32")
    print("layers   ms/token   µs/token/layer   cache bytes   bytes/layer")
    for depth in DEPTHS:
        spec = stack(depth)
        decoder = Decoder(spec, Random())
        cache = StaticCache(spec, 1, CONTEXT, CONTEXT, torch.float32, CPU)
        seconds = seconds_per_token(decoder, cache)
        print(
            f"{depth:6} {seconds * 1e3:10.2f} {seconds / depth * 1e6:16.1f} "
            f"{cache.nbytes:13} {cache.nbytes // depth:13}"
        )


if __name__ == "__main__":
    main()
