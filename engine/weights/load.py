"""From a checkpoint to a decoder: each weight found, checked, and mapped rather than copied."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ... import ModelError
from ..families.naming import Found, Packing
from ..matrix import LARGEST_JOINED, Matrix, Placement, Plain, SideBySide
from ..model.decoder import Decoder
from ..quant.mxfp4 import unpack_mxfp4
from .checkpoint import Checkpoint
from .shards import Entry, Shard

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U8": torch.uint8,
}
"""What can be computed from; bytes are what packed formats unpack."""


SMALL = 1 << 20
"""Bytes of mapped matrices that are copied to be joined."""

UNPACK: dict[Packing, Callable[..., Tensor]] = {"mxfp4": unpack_mxfp4}
"""What makes numbers of packed tensors, in a given dtype."""


class WeightReader:
    """A checkpoint as a `Source`: our names spelled its way, shapes checked, tensors mapped.

    On the CPU and in the stored dtype a weight is the file's own pages. Otherwise, and where the
    placement packs matrices, it is converted by itself and its pages are let go, so that no more
    than one weight is ever there twice.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        dtype: torch.dtype,
        device: torch.device,
        placement: Placement | None = None,
    ) -> None:
        self.dtype = dtype
        self.device = device
        self.placement = placement or Placement()
        self._checkpoint = checkpoint
        self._tensors = checkpoint.tensors()
        self._taken: set[str] = set()
        self.sizes: dict[str, int] = {}

    @property
    def parameters(self) -> int:
        """Numbers in all weights taken."""
        return sum(self.sizes.values())

    def take(self, name: str, *shape: int, exact: bool = False) -> Tensor:
        """A weight by our name, checked against the shape that config.json implies."""
        return self._read(name, shape, None if exact else self.dtype)[0]

    def matrix(
        self,
        names: Sequence[str],
        outputs: Sequence[int],
        inputs: int,
        taken: Tensor | None = None,
    ) -> Matrix:
        """Weights by our names, joined if that costs no second copy of anything large."""
        if taken is not None and taken.dtype == self.dtype and self.device.type != "cpu":
            return Plain(taken)
        size = sum(outputs) * inputs * self.dtype.itemsize
        copied = self.placement.packed or self.device.type != "cpu"
        if len(names) > 1 and size > (LARGEST_JOINED if copied else SMALL):
            rows = zip(names, outputs, strict=True)
            parts = [self.matrix([name], [width], inputs) for name, width in rows]
            return SideBySide(parts, outputs)
        weights: list[Tensor] = []
        places: list[tuple[Shard, Entry]] = []
        for name, width in zip(names, outputs, strict=True):
            weight, own_places = self._read(name, (width, inputs), self.dtype)
            weights.append(weight)
            places += own_places
        held = self.placement.hold(weights[0] if len(weights) == 1 else torch.cat(weights))
        if len(weights) > 1 or not isinstance(held, Plain):
            for shard, entry in places:
                shard.forget(entry)
        return held

    def _read(
        self, name: str, shape: tuple[int, ...], dtype: torch.dtype | None
    ) -> tuple[Tensor, list[tuple[Shard, Entry]]]:
        """A weight in `dtype` (None: as stored), and where in the files it comes from."""
        found = self._find(name)
        places = [self._tensors[theirs] for theirs in found.names]
        stored = [
            self.stored(*place, theirs) for place, theirs in zip(places, found.names, strict=True)
        ]
        weight = stored[0] if found.cut is None else found.cut(stored)
        if found.packing is not None:
            weight = UNPACK[found.packing](*weight, self.dtype)
        if not weight.is_floating_point():
            raise _unreadable(*places[0], found.names[0])
        if tuple(weight.shape) != shape:
            shard, entry = places[0]
            raise ModelError(
                f"`{shard.path}`: `{found.names[0]}` has shape {list(entry.shape)}, "
                f"but config.json implies {_implied(weight, entry, shape)}"
            )
        self._taken.update(found.names)
        self.sizes[name] = math.prod(shape)
        return self._own(weight, dtype or weight.dtype, stored, places), places

    def stored(self, shard: Shard, entry: Entry, theirs: str) -> Tensor:
        """A tensor as the file's own pages, in the dtype it is stored in."""
        return mapped(shard, entry, readable(shard, entry, theirs))

    def _own(
        self,
        weight: Tensor,
        dtype: torch.dtype,
        stored: list[Tensor],
        places: list[tuple[Shard, Entry]],
    ) -> Tensor:
        """The weight where and as it is computed with; pages it no longer needs are let go."""
        weight = weight.to(device=self.device, dtype=dtype)
        if weight.dim() == 2 and not (weight.is_contiguous() or weight.T.is_contiguous()):
            weight = weight.contiguous()  # products would make this copy again and again
        homes = {tensor.untyped_storage().data_ptr() for tensor in stored}
        stored.clear()
        if weight.untyped_storage().data_ptr() not in homes:
            for shard, entry in places:
                shard.forget(entry)
        return weight

    def refuse_rest(self) -> None:
        """Raise `ModelError` if the checkpoint holds weights that its config has no place for."""
        names, spec = self._checkpoint.family.names, self._checkpoint.spec
        left = [n for n in self._tensors if n not in self._taken and not names.needless(n, spec)]
        if left:
            raise ModelError(
                f"`{self._checkpoint.folder}` holds {len(left)} weights that its config.json has "
                f"no place for, such as `{left[0]}`"
            )

    def _find(self, name: str) -> Found:
        alternatives = self._checkpoint.family.names.find(name, self._checkpoint.spec.layers)
        for found in alternatives:
            # Checkpoints of the bare stack, saved without its head, leave the first prefix out.
            bare = replace(found, names=tuple(n.partition(".")[2] for n in found.names))
            for spelled in (found, bare):
                if all(theirs in self._tensors for theirs in spelled.names):
                    return spelled
        raise ModelError(
            f"`{self._checkpoint.folder}` lacks the weight `{alternatives[0].names[0]}`",
            hint="its config.json and its weights don't belong together, or a file is missing",
        )


def _implied(weight: Tensor, entry: Entry, shape: tuple[int, ...]) -> str:
    """What a stored tensor should have been: a shape, or rows within a fused one."""
    if tuple(weight.shape) == entry.shape:
        return str(list(shape))
    return f"{list(shape)} within it, not {list(weight.shape)}"


def load_decoder(
    checkpoint: Checkpoint,
    dtype: torch.dtype | None,
    device: torch.device,
    placement: Placement | None = None,
) -> tuple[Decoder, WeightReader]:
    """Build the checkpoint's decoder; `dtype` None keeps the dtype its embedding is stored in.

    `placement` None holds matrices in the form that is fastest here.
    Raises `ModelError` for a weight that is missing, superfluous, or of the wrong shape.
    """
    if dtype is None:
        dtype = stored_dtype(checkpoint)
    if placement is None:
        placement = Placement.of(device, dtype, stored_numbers(checkpoint) * dtype.itemsize)
    reader = WeightReader(checkpoint, dtype, device, placement)
    decoder = Decoder(checkpoint.spec, reader)
    reader.refuse_rest()
    return decoder, reader


def stored_numbers(checkpoint: Checkpoint) -> int:
    """How many numbers the files hold."""
    return sum(math.prod(entry.shape) for _, entry in checkpoint.tensors().values())


def stored_dtype(checkpoint: Checkpoint) -> torch.dtype:
    """The dtype of the stored embedding; float64, which nobody computes in, becomes float32."""
    tensors = checkpoint.tensors()
    name = checkpoint.family.names.spelled("embed.weight", checkpoint.spec.layers)
    for theirs in (name, name.partition(".")[2]):
        if theirs in tensors:
            dtype = DTYPES.get(tensors[theirs][1].dtype, torch.float32)
            return torch.float32 if dtype == torch.float64 else dtype
    return torch.float32


def mapped(shard: Shard, entry: Entry, dtype: torch.dtype) -> Tensor:
    """A tensor that is the file's own pages."""
    if entry.begin == entry.end:
        return torch.empty(entry.shape, dtype=dtype)
    with warnings.catch_warnings():
        # The map is read-only on purpose; torch warns because it can't express that.
        warnings.filterwarnings("ignore", message=".*not writable")
        flat = torch.frombuffer(
            shard.bytes_of_file(), dtype=dtype, count=math.prod(entry.shape), offset=entry.begin
        )
    return flat.view(entry.shape)


def readable(shard: Shard, entry: Entry, theirs: str) -> torch.dtype:
    """A stored tensor's dtype. Raises `ModelError` for one that nothing is computed from."""
    dtype = DTYPES.get(entry.dtype)
    if dtype is None:
        raise _unreadable(shard, entry, theirs)
    return dtype


def _unreadable(shard: Shard, entry: Entry, theirs: str) -> ModelError:
    floats = [name for name, dtype in DTYPES.items() if dtype.is_floating_point]
    return ModelError(
        f"`{shard.path}`: `{theirs}` is stored as {entry.dtype}, which lmtool doesn't read",
        hint=f"it reads {', '.join(floats)}",
    )
