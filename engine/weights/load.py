"""From a checkpoint to a decoder: each weight found, checked, and mapped rather than copied."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ... import ModelError
from ..families.naming import Found, Packing
from ..matrix import LARGEST_JOINED, Matrix, Placement, Plain, SideBySide
from ..model.decoder import Decoder
from ..parallel import Cut, Plan
from ..quant.int8 import Int8Weight
from ..quant.kinds import BITS, EMBEDDING, HEAD, Quant, kind_of
from ..quant.mxfp4 import unpack_mxfp4
from ..quant.table import KINDS, QuantWeight, holds, join
from .adapted import Adapted
from .checkpoint import Checkpoint
from .mapped import DTYPES, mapped, readable, unreadable
from .shards import Entry, Shard

NAMED = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES.values()}

SMALL = 1 << 20
"""Bytes of mapped matrices that are copied to be joined."""

UNPACK: dict[Packing, Callable[..., Tensor]] = {"mxfp4": unpack_mxfp4}
"""What makes numbers of packed tensors, in a given dtype."""


class WeightReader:
    """A checkpoint as a `Source`: our names spelled its way, shapes checked, tensors mapped.

    On the CPU and in the stored dtype a weight is the file's own pages. Otherwise, and where the
    placement packs matrices, it is converted by itself and its pages are let go, so that no more
    than one weight is ever there twice.

    With `quant`, matrices and the embedding are quantized as they are read, unless the checkpoint
    holds them so already. The embedding is then taken as codes, and its scales by the name
    `embed.weight.scale`.

    With a `plan`, weights are asked for as it cuts them, and no other bytes of them are kept.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        dtype: torch.dtype,
        device: torch.device,
        placement: Placement | None = None,
        quant: Quant | None = None,
        adapted: Adapted | None = None,
        plan: Plan | None = None,
    ) -> None:
        self.dtype = dtype
        self.device = device
        self.placement = placement or Placement()
        stored = checkpoint.quantization
        self.quant: Quant | None = quant if stored is None else stored.quant
        self._checkpoint = checkpoint
        self._adapted = adapted
        self._plan = plan
        self._tensors = checkpoint.tensors()
        self._taken: set[str] = set()
        self._embedding: Int8Weight | None = None
        self.sizes: dict[str, int] = {}
        self.widths: dict[str, float] = {}

    @property
    def parameters(self) -> int:
        """Numbers in all weights taken."""
        return sum(self.sizes.values())

    @property
    def nbytes(self) -> int:
        """Bytes of all weights taken, as they are computed with."""
        return round(sum(size * self.widths[name] for name, size in self.sizes.items()))

    def take(self, name: str, *shape: int, exact: bool = False) -> Tensor:
        """A weight by our name, checked against the shape that config.json implies."""
        if self.quant is not None and name == EMBEDDING:
            weight = self.quantized(name, *shape)[0]
            assert isinstance(weight, Int8Weight)
            self._embedding = weight
            return weight.codes
        if self._embedding is not None and name == f"{EMBEDDING}.scale":
            return self._embedding.scales
        return self._read(name, shape, None if exact else self.dtype)[0]

    def matrix(
        self,
        names: Sequence[str],
        outputs: Sequence[int],
        inputs: int,
        taken: Tensor | None = None,
    ) -> Matrix:
        """Weights by our names, joined if that costs no second copy of anything large."""
        if self._plan is not None and names[0] in (EMBEDDING, HEAD):
            outputs = [len(self._plan.head.span)]
            if names[0] == EMBEDDING:
                return self._tied(taken, self._plan.head)
        if taken is not None and taken.dtype == self.dtype and self.device.type != "cpu":
            return Plain(taken)
        size = sum(outputs) * inputs * (1 if self.quant else self.dtype.itemsize)
        copied = self.placement.packed or self.device.type != "cpu" or self.quant is not None
        if len(names) > 1 and size > (LARGEST_JOINED if copied else SMALL):
            rows = zip(names, outputs, strict=True)
            parts = [self.matrix([name], [width], inputs) for name, width in rows]
            return SideBySide(parts, outputs)
        if self.quant is not None:
            return self._quantized_matrix(names, outputs, inputs)
        weights: list[Tensor] = []
        places: list[tuple[Shard, Entry]] = []
        for name, width in zip(names, outputs, strict=True):
            weight, own_places = self._read(name, (width, inputs), self.dtype)
            weights.append(weight)
            places += own_places
        held = self.placement.hold(weights[0] if len(weights) == 1 else torch.cat(weights))
        if len(weights) > 1 or not isinstance(held, Plain):
            _forget(places)
        return held

    def _tied(self, embedding: Tensor | None, cut: Cut) -> Matrix:
        """The rows of the embedding that are this process's part of the head."""
        if self._embedding is not None:
            return self._embedding.part(cut.axis, cut.span).hold()
        assert embedding is not None
        return self.placement.hold(cut.of(embedding).to(self.dtype))

    def _quantized_matrix(
        self, names: Sequence[str], outputs: Sequence[int], inputs: int
    ) -> Matrix:
        """Quantized weights, joined."""
        weights: list[QuantWeight] = []
        places: list[tuple[Shard, Entry]] = []
        for name, width in zip(names, outputs, strict=True):
            if name == EMBEDDING and self._embedding is not None:
                weights.append(self._embedding)
                continue
            weight, own_places = self.quantized(name, width, inputs)
            weights.append(weight)
            places += own_places
        held = join(weights).hold()
        if not holds(held, weights[0]):
            _forget(places)
        return held

    def quantized(
        self, name: str, outputs: int, inputs: int
    ) -> tuple[QuantWeight, list[tuple[Shard, Entry]]]:
        """A quantized weight, and where in the files it is if it is the files' own pages."""
        assert self.quant is not None
        kind, cut = KINDS[kind_of(name, self.quant)], self._cut(name)
        if cut is not None:
            outputs, inputs = cut.whole((outputs, inputs))
        if self._checkpoint.quantization is not None:
            parts = {
                suffix: self._part(self._stored_name(name) + suffix, dtype, shape)
                for suffix, (dtype, shape) in kind.layout(outputs, inputs).items()
            }
            weight = kind.of({suffix: part for suffix, (part, _) in parts.items()}, inputs)
            places = [place for _, own in parts.values() for place in own]
            if self._adapted is not None and self._adapted.changes(name):
                weight = kind.quantize(self._adapted.apply(name, weight.dense()))
                _forget(places)
                places = []
        else:
            dense, dense_places = self._read(name, (outputs, inputs), None)
            weight, places = kind.quantize(dense), []
            _forget(dense_places)
            if not all(bool(part.isfinite().all()) for part in weight.affine()):
                raise ModelError(
                    f"`{self._checkpoint.folder}`: {name} holds numbers that are not finite",
                    hint="its weights are damaged: download them again",
                )
        self.sizes[name] = outputs * inputs
        self.widths[name] = weight.nbytes / (outputs * inputs)
        if cut is not None:
            weight = weight.part(cut.axis, cut.span)
            _forget(places)
            places = []
        return weight, places

    def _part(
        self, name: str, dtype: torch.dtype, shape: tuple[int, ...]
    ) -> tuple[Tensor, list[tuple[Shard, Entry]]]:
        """A part of a weight that is stored quantized, and where it is."""
        if name not in self._tensors:
            raise _lacks(self._checkpoint, name)
        shard, entry = self._tensors[name]
        if DTYPES.get(entry.dtype) != dtype:
            wanted = next(stored for stored, known in DTYPES.items() if known == dtype)
            raise ModelError(
                f"`{shard.path}`: `{name}` is stored as {entry.dtype}, "
                f"but config.json implies {wanted}"
            )
        if entry.shape != shape:
            raise ModelError(
                f"`{shard.path}`: `{name}` has shape {list(entry.shape)}, "
                f"but config.json implies {list(shape)}"
            )
        self._taken.add(name)
        return self.stored(shard, entry, name).to(self.device), [(shard, entry)]

    def _read(
        self, name: str, shape: tuple[int, ...], dtype: torch.dtype | None
    ) -> tuple[Tensor, list[tuple[Shard, Entry]]]:
        """A weight in `dtype` (None: as stored), and where in the files it comes from."""
        found, cut = self._find(name), self._cut(name)
        if cut is not None:
            shape = cut.whole(shape)
        places = [self._tensors[theirs] for theirs in found.names]
        stored = [
            self.stored(*place, theirs) for place, theirs in zip(places, found.names, strict=True)
        ]
        weight = stored[0] if found.cut is None else found.cut(stored)
        if found.packing is not None:
            weight = UNPACK[found.packing](*weight, self.dtype)
        if not weight.is_floating_point():
            raise unreadable(*places[0], found.names[0])
        if tuple(weight.shape) != shape:
            shard, entry = places[0]
            raise ModelError(
                f"`{shard.path}`: `{found.names[0]}` has shape {list(entry.shape)}, "
                f"but config.json implies {_implied(weight, entry, shape)}"
            )
        self._taken.update(found.names)
        self.sizes[name] = math.prod(shape)
        self.widths[name] = self.dtype.itemsize
        wanted = dtype or weight.dtype
        if self._adapted is not None and self._adapted.changes(name):
            weight = self._adapted.apply(name, weight.to(self.device))
        if cut is not None and dtype is not None:  # what is to be quantized is so as a whole
            weight = cut.of(weight)
        return self._own(weight, wanted, stored, places), places

    def _cut(self, name: str) -> Cut | None:
        return None if self._plan is None else self._plan.cut(name)

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
            _forget(places)
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

    def _stored_name(self, name: str) -> str:
        """Whose tensors a weight is read from: for a head that adapters untied, the embedding's."""
        untied = name == HEAD and self._adapted is not None and self._adapted.untied
        return EMBEDDING if untied else name

    def _find(self, name: str) -> Found:
        names, layers = self._checkpoint.family.names, self._checkpoint.spec.layers
        alternatives = names.find(self._stored_name(name), layers)
        for found in alternatives:
            # Checkpoints of the bare stack, saved without its head, leave the first prefix out.
            for spelled in (found, found.bare()):
                if all(theirs in self._tensors for theirs in spelled.names):
                    return spelled
        raise _lacks(self._checkpoint, alternatives[0].names[0])


def _forget(places: list[tuple[Shard, Entry]]) -> None:
    for shard, entry in places:
        shard.forget(entry)


def _lacks(checkpoint: Checkpoint, name: str) -> ModelError:
    return ModelError(
        f"`{checkpoint.folder}` lacks the weight `{name}`",
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
    quant: Quant | None = None,
    adapted: Adapted | None = None,
    plan: Plan | None = None,
) -> tuple[Decoder, WeightReader]:
    """Build the checkpoint's decoder; `dtype` None keeps the dtype its embedding is stored in.

    `placement` None holds matrices in the form that is fastest here. `quant` None holds them in
    `dtype`, unless the checkpoint is a quantized one. `adapted` changes weights as they are read,
    and has the checkpoint as it is then. With a `plan` it is the decoder of a process's share,
    whose answers are parts of a sum: see `parallel.joined`.
    Raises `ModelError` for a weight that is missing, superfluous, or of the wrong shape.
    """
    if dtype is None:
        dtype = stored_dtype(checkpoint)
    if placement is None:
        expected = _expected_bytes(checkpoint, dtype, quant) // (plan.size if plan else 1)
        placement = Placement.of(device, dtype, expected)
    reader = WeightReader(checkpoint, dtype, device, placement, quant, adapted, plan)
    decoder = Decoder(checkpoint.spec if plan is None else plan.own, reader)
    reader.refuse_rest()
    return decoder, reader


def _expected_bytes(checkpoint: Checkpoint, dtype: torch.dtype, quant: Quant | None) -> int:
    """About how many bytes the weights will take."""
    if checkpoint.quantization is not None:
        return sum(entry.end - entry.begin for _, entry in checkpoint.tensors().values())
    bits = BITS[quant] if quant else dtype.itemsize * 8
    return stored_numbers(checkpoint) * bits // 8


def stored_numbers(checkpoint: Checkpoint) -> int:
    """How many numbers the files hold."""
    return sum(math.prod(entry.shape) for _, entry in checkpoint.tensors().values())


def stored_dtype(checkpoint: Checkpoint) -> torch.dtype:
    """The dtype of the stored embedding; float64, which nobody computes in, becomes float32.

    For a quantized checkpoint, that of what it was made from.
    """
    if checkpoint.quantization is not None:
        return NAMED[checkpoint.quantization.dtype]
    tensors = checkpoint.tensors()
    name = checkpoint.family.names.spelled("embed.weight", checkpoint.spec.layers)
    for theirs in (name, name.partition(".")[2]):
        if theirs in tensors:
            dtype = DTYPES.get(tensors[theirs][1].dtype, torch.float32)
            return torch.float32 if dtype == torch.float64 else dtype
    return torch.float32
