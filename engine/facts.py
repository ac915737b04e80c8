"""What a checkpoint is, in plain values: its stack, its size by part, what memory it takes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .cache.static import slot_bytes, slots_of
from .device import find_kv_dtype
from .loop import CHUNK
from .model.decoder import Decoder
from .spec import (
    AttentionSpec,
    ExpertsSpec,
    Feed,
    LatentSpec,
    Mixer,
    MlpSpec,
    ModelSpec,
    RopeSpec,
)
from .weights.checkpoint import open_checkpoint
from .weights.shapes import ShapeReader


def checkpoint_facts(
    folder: Path, context: int | None = None, kv_dtype: str = "auto"
) -> dict[str, Any]:
    """What `lmtool inspect` tells of a checkpoint; `context` None: the model's own.

    `kv_dtype` is that of the cache whose memory is told.
    Raises `ModelError` for a checkpoint that can't be loaded.
    """
    checkpoint = open_checkpoint(folder)
    spec = checkpoint.spec
    reader = ShapeReader(checkpoint)
    Decoder(spec, reader)
    if reader.faults:
        raise reader.faults[0]
    length = context or spec.max_positions
    stored = find_kv_dtype(kv_dtype) or reader.dtype
    return {
        "family": checkpoint.family.name,
        "architectures": checkpoint.config.get("architectures"),
        "dtype": str(reader.dtype).removeprefix("torch."),
        "quant": reader.quant,
        "parameters": {
            "total": reader.parameters,
            "active": active_parameters(spec, reader.sizes),
            "by_part": parameters_by_part(reader.sizes),
        },
        "stack": describe_stack(spec),
        "spec": spec_as_json(spec),
        "memory": {
            "context": length,
            "weights": reader.nbytes,
            "cache": cache_bytes(spec, length, stored),
            "kv_dtype": str(stored).removeprefix("torch."),
        },
        "eos": sorted(checkpoint.eos()),
    }


PARTS = ("embed", "mixer", "feed", "norm", "head")


def parameters_by_part(sizes: dict[str, int]) -> dict[str, int]:
    """Parameters of embeddings, mixers, feeds, norms and head, from sizes by our weight names."""
    parts: dict[str, int] = dict.fromkeys(PARTS, 0)
    for name, size in sizes.items():
        words = [word for word in name.split(".")[:-1] if not word.isdigit() and word != "layers"]
        if words[-1].endswith("norm"):
            parts["norm"] += size
        elif words[0] in ("mixer", "feed", "head"):
            parts[words[0]] += size
        else:
            parts["embed"] += size
    return parts


def active_parameters(spec: ModelSpec, sizes: dict[str, int]) -> int:
    """Parameters that take part in one token: all but the experts that aren't chosen."""
    active = 0
    for name, size in sizes.items():
        words = name.split(".")
        if "experts" in words:
            feed = spec.layers[int(words[1])].feed
            assert isinstance(feed, ExpertsSpec)
            if int(words[words.index("experts") + 1]) >= feed.active:
                continue
        active += size
    return active


def cache_bytes(spec: ModelSpec, context: int, dtype: torch.dtype) -> int:
    """Bytes of a KV cache in `dtype` at `context` tokens."""
    mixers = [layer.mixer for layer in spec.layers]
    return sum(slots_of(mixer, context, CHUNK) * slot_bytes(mixer, dtype) for mixer in mixers)


def describe_stack(spec: ModelSpec) -> list[dict[str, str]]:
    """The stack in words from the first layer up, neighbours that are alike together."""
    rows: list[dict[str, str]] = []
    first = 0
    for count, layer in spec.runs():
        rows.append(
            {
                "layers": f"{first}" if count == 1 else f"{first}-{first + count - 1}",
                "wiring": f"{layer.norm.kind} norm, {layer.wiring}",
                "mixer": describe_mixer(layer.mixer),
                "feed": describe_feed(layer.feed),
            }
        )
        first += count
    return rows


def describe_mixer(mixer: Mixer) -> str:
    """One line on what a mixer is."""
    if isinstance(mixer, LatentSpec):
        width = mixer.nope_dim + mixer.rope.width
        words = [f"latent attention, {mixer.heads} heads of {width}, latent {mixer.kv_rank}"]
        return ", ".join([*words, _rope(mixer.rope)])
    groups = "" if mixer.kv_heads == mixer.heads else f" in {mixer.kv_heads} groups"
    words = [f"attention, {mixer.heads} heads{groups} of {mixer.head_dim}", *_marks(mixer)]
    return ", ".join(words)


def _marks(mixer: AttentionSpec) -> list[str]:
    marks: list[str] = []
    if mixer.window is not None:
        marks.append(f"window {mixer.window:,}")
    if mixer.rope is not None:
        marks.append(_rope(mixer.rope))
    elif mixer.alibi:
        marks.append("ALiBi")
    if mixer.qk_norm is not None:
        marks.append(f"{mixer.qk_norm.norm.kind} norm of q and k")
    if mixer.cap is not None:
        marks.append(f"scores capped at {mixer.cap:g}")
    if mixer.sinks:
        marks.append("sinks")
    if mixer.bias or mixer.out_bias:
        marks.append("biases")
    return marks


def describe_feed(feed: Feed) -> str:
    """One line on what a feed is."""
    if isinstance(feed, MlpSpec):
        return _mlp(feed)
    shared = "" if feed.shared is None else f", and a shared one of {feed.shared.width:,}"
    return f"{feed.count} experts, {feed.active} a token, each {_mlp(feed.expert)}{shared}"


def _mlp(mlp: MlpSpec) -> str:
    gated = "gated " if mlp.gated else ""
    return f"MLP of {mlp.width:,}, {gated}{mlp.activation}{', biases' if mlp.bias else ''}"


def _rope(rope: RopeSpec) -> str:
    scaling = rope.scaling
    kind = "" if scaling is None else f" {type(scaling).__name__.removesuffix('Scaling').lower()}"
    return f"rope{kind} on {rope.width}, base {rope.theta:,.0f}"


def spec_as_json(spec: ModelSpec) -> dict[str, Any]:
    """The spec as plain values; `layers` has runs of equal layers with their `count`."""
    values = asdict(spec)
    values["layers"] = [
        {
            "count": count,
            "mixer_kind": "latent" if isinstance(layer.mixer, LatentSpec) else "attention",
            "feed_kind": "mlp" if isinstance(layer.feed, MlpSpec) else "experts",
            **asdict(layer),
        }
        for count, layer in spec.runs()
    ]
    return values
