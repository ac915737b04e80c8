"""From a checkpoint to a decoder: each weight found, checked, and mapped rather than copied."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from ... import ModelError
from ..model.decoder import Decoder
from .checkpoint import Checkpoint
from .shards import Entry, Shard

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}


class WeightReader:
    """A checkpoint as a `Source`: our names spelled its way, shapes checked, tensors mapped.

    On the CPU and in the stored dtype a weight is the file's own pages. Otherwise it is converted
    by itself and its pages are let go, so that no more than one weight is ever there twice.
    """

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self.device = device
        self._checkpoint = checkpoint
        self._tensors = checkpoint.tensors()
        self._taken: set[str] = set()
        self.parameters = 0

    def take(self, name: str, *shape: int) -> Tensor:
        """A weight by our name, checked against the shape that config.json implies."""
        theirs, shard, entry = self._find(self._checkpoint.family.names.spelled(name))
        if entry.shape != shape:
            raise ModelError(
                f"`{shard.path}`: `{theirs}` has shape {list(entry.shape)}, "
                f"but config.json implies {list(shape)}"
            )
        self._taken.add(theirs)
        self.parameters += math.prod(shape)
        stored = _mapped(shard, entry)
        weight = stored.to(device=self.device, dtype=self.dtype)
        if weight.data_ptr() != stored.data_ptr():
            del stored
            shard.forget(entry)
        return weight

    def refuse_rest(self) -> None:
        """Raise `ModelError` if the checkpoint holds weights that its config has no place for."""
        names = self._checkpoint.family.names
        left = [n for n in self._tensors if n not in self._taken and not names.needless(n)]
        if self._checkpoint.spec.tied:
            left = [name for name in left if name != names.spelled("head.weight")]
        if left:
            raise ModelError(
                f"`{self._checkpoint.folder}` holds {len(left)} weights that its config.json has "
                f"no place for, such as `{left[0]}`"
            )

    def _find(self, theirs: str) -> tuple[str, Shard, Entry]:
        # Checkpoints of the bare stack, saved without its head, leave the first prefix out.
        for name in (theirs, theirs.removeprefix("model.")):
            if name in self._tensors:
                return name, *self._tensors[name]
        raise ModelError(
            f"`{self._checkpoint.folder}` lacks the weight `{theirs}`",
            hint="its config.json and its weights don't belong together, or a file is missing",
        )


def load_decoder(
    checkpoint: Checkpoint, dtype: torch.dtype | None, device: torch.device
) -> tuple[Decoder, WeightReader]:
    """Build the checkpoint's decoder; `dtype` None keeps the dtype its embedding is stored in.

    Raises `ModelError` for a weight that is missing, superfluous, or of the wrong shape.
    """
    if dtype is None:
        dtype = stored_dtype(checkpoint)
    reader = WeightReader(checkpoint, dtype, device)
    decoder = Decoder(checkpoint.spec, reader)
    reader.refuse_rest()
    return decoder, reader


def stored_dtype(checkpoint: Checkpoint) -> torch.dtype:
    """The dtype of the stored embedding; float64, which nobody computes in, becomes float32."""
    tensors = checkpoint.tensors()
    embedding = tensors.get(checkpoint.family.names.spelled("embed.weight"))
    _, entry = embedding or next(iter(tensors.values()))
    dtype = DTYPES[entry.dtype]
    return torch.float32 if dtype == torch.float64 else dtype


def _mapped(shard: Shard, entry: Entry) -> Tensor:
    dtype = DTYPES[entry.dtype]
    if entry.begin == entry.end:
        return torch.empty(entry.shape, dtype=dtype)
    with warnings.catch_warnings():
        # The map is read-only on purpose; torch warns because it can't express that.
        warnings.filterwarnings("ignore", message=".*not writable")
        flat = torch.frombuffer(
            shard.bytes_of_file(),
            dtype=dtype,
            count=math.prod(entry.shape),
            offset=entry.begin,
        )
    return flat.view(entry.shape)
