"""What running a model costs: bytes that a decode step reads, operations that a prompt takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from .cache.static import slot_bytes
from .facts import active_parameters
from .matrix import Matrix, Plain
from .model.decoder import Decoder
from .model.experts import Experts
from .spec import LatentSpec, Mixer, ModelSpec

LOOKED_UP = ("embed.weight", "positions.weight")
"""Tables of which a token reads one row."""


@dataclass(frozen=True)
class Cost:
    """What a benchmark's rows cost together: bytes of a decode step, operations of the prompts."""

    weight_bytes: float
    cache_bytes: float
    prompt_flops: float

    @property
    def step_bytes(self) -> float:
        """Bytes that a decode step reads."""
        return self.weight_bytes + self.cache_bytes

    @classmethod
    def of(
        cls,
        decoder: Decoder,
        rows: int,
        depth: int,
        prompt: int,
        tokens: int,
        stored: torch.dtype | None = None,
    ) -> Cost:
        """Of `rows` prompts of `prompt` tokens behind `depth`, each continued by `tokens`.

        `stored` is the dtype of what is cached, None: the model's.
        """
        stored = stored or decoder.dtype
        return cls(
            weight_bytes(decoder, rows),
            rows * cache_bytes_read(decoder.spec, depth + prompt, tokens, stored),
            rows * prompt_flops(decoder.spec, depth, prompt),
        )


def weight_bytes(decoder: Decoder, rows: int = 1) -> float:
    """Bytes of matrices that a step with one token in each of `rows` rows reads.

    Of experts, as many as so many tokens choose on average if they choose evenly.
    """
    parts = (decoder.blocks, decoder.narrow, decoder.widen, decoder.head)
    return _bytes_within(parts, rows)


def held_bytes(decoder: Decoder) -> int:
    """Bytes of all matrices, looked-up tables among them; a table that is the head too, once."""
    tables = [table for table in (decoder.embed, decoder.positions) if table is not None]
    if _is_embedding(decoder.head, decoder.embed):
        tables = tables[1:]
    every_expert = 1 << 30  # so many rows leave none out
    return round(weight_bytes(decoder, every_expert)) + sum(table.nbytes for table in tables)


def _is_embedding(head: Matrix, embed: Tensor) -> bool:
    """Whether the head is the embedding itself, or its codes where it is quantized."""
    weight = getattr(head, "weight", None)
    held = getattr(weight, "codes", weight)
    return isinstance(held, Tensor) and held.data_ptr() == embed.data_ptr()


def _bytes_within(part: Any, rows: int) -> float:
    """Bytes of the matrices in a part of the model, down through all that it is made of."""
    if isinstance(part, Tensor):
        return part.nbytes if part.dim() > 1 else 0  # norms and biases are next to nothing
    if hasattr(part, "dense"):
        return cast("Matrix", part).nbytes
    if isinstance(part, tuple):
        return sum(_bytes_within(one, rows) for one in cast("tuple[object, ...]", part))
    if not type(part).__module__.startswith(Decoder.__module__.rpartition(".")[0]):
        return 0  # a spec, a number, a function
    inside = dict(cast("dict[str, object]", vars(part)))
    experts = 0.0
    if isinstance(part, Experts):
        chosen = 1 - (1 - part.spec.active / part.spec.count) ** rows
        experts = chosen * _bytes_within(inside.pop("experts"), rows)
    return experts + sum(_bytes_within(one, rows) for one in inside.values())


def cache_bytes_read(spec: ModelSpec, begin: int, tokens: int, stored: torch.dtype) -> float:
    """Bytes of keys and values that a row's decode step reads, on average over `tokens` steps.

    Before the first of them `begin` tokens are cached, in `stored` numbers.
    """
    mixers = [layer.mixer for layer in spec.layers]
    total = sum(_keys_seen(mixer, begin, tokens) * slot_bytes(mixer, stored) for mixer in mixers)
    return total / max(tokens, 1)


def prompt_flops(spec: ModelSpec, depth: int, prompt: int) -> int:
    """Operations of a prompt behind `depth` tokens: two for each weight and token, and attention.

    The head answers once. Norms and the like, a percent or so, don't count.
    """
    if prompt == 0:
        return 0
    source = _Shapes()
    Decoder(spec, source)
    weights, head = active_parameters(spec, source.sizes), source.head
    total = 2 * weights * prompt + 2 * head
    for layer in spec.layers:
        mixer = layer.mixer
        value = mixer.kv_rank if isinstance(mixer, LatentSpec) else mixer.value_width
        each = 2 * mixer.heads * (mixer.key_width + value)
        total += each * _keys_seen(mixer, depth, prompt)
    return total


def _keys_seen(mixer: Mixer, begin: int, count: int) -> int:
    """Keys that `count` tokens behind `begin` others see, all together."""
    window = mixer.window or begin + count
    growing = range(begin + 1, min(begin + count, window) + 1)
    return sum(growing) + window * (count - len(growing))


class _Shapes:
    """A source without numbers that remembers how large each product's weight is."""

    dtype = torch.float32

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.head = 0

    def take(self, name: str, *shape: int, exact: bool = False) -> Tensor:
        """See `Source`."""
        if len(shape) > 1 and name not in LOOKED_UP:
            self.sizes[name] = math.prod(shape)
        return torch.empty(shape, device="meta")

    def matrix(
        self,
        names: Sequence[str],
        outputs: Sequence[int],
        inputs: int,
        taken: Tensor | None = None,
    ) -> Matrix:
        """See `Source`."""
        if names[0] in ("embed.weight", "head.weight"):
            self.head = outputs[0] * inputs
        else:
            for name, width in zip(names, outputs, strict=True):
                self.sizes[name] = width * inputs
        return Plain(torch.empty(sum(outputs), inputs, device="meta"))
