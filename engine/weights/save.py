"""A quantized checkpoint written to disk, weight by weight."""

from __future__ import annotations

import ctypes
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from ... import ModelError
from ..device import memory_errors
from ..matrix import Matrix
from ..model.decoder import Decoder
from ..quant.kinds import EMBEDDING, Quant, kind_of
from ..quant.table import KINDS
from .adapted import Adapted
from .adapter import Lora
from .checkpoint import CONFIG, SINGLE, Checkpoint
from .folder import new_folder
from .load import WeightReader, stored_dtype
from .mapped import DTYPES
from .quantization import FIELD, Quantization, quant_method
from .shapes import ShapeReader, adapt

COPIED = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "chat_template*",
    "generation_config.json",
    "README.md",
    "LICENSE*",
    "NOTICE*",
)
"""Files that go with the weights unchanged: what makes text of ids, and whose work it is."""

STORED = {dtype: name for name, dtype in DTYPES.items()}

Layout = dict[str, tuple[torch.dtype, tuple[int, ...]]]
"""Dtype and shape of tensors by their names."""


@dataclass(frozen=True)
class Sizes:
    """Bytes of all weights before and after."""

    before: int
    after: int


def check_quantizable(checkpoint: Checkpoint) -> None:
    """Raise `ModelError` for a checkpoint whose weights have lost their bits already."""
    method = quant_method(checkpoint.config)
    if method is None:
        return
    stored = checkpoint.quantization
    raise ModelError(
        f"`{checkpoint.folder}` is quantized already, to {stored.quant if stored else method}",
        hint="name the checkpoint that it was made from",
    )


def save_quantized(
    checkpoint: Checkpoint,
    quant: Quant,
    folder: Path,
    watch: Callable[[int, int], None] | None = None,
    loras: Sequence[Lora] = (),
) -> Sizes:
    """Write `checkpoint` quantized to `quant` into `folder`; no more than one weight is in memory.

    `watch` hears how many numbers of how many are done. `loras` are added before the rounding.
    Raises `ModelError` for a checkpoint that doesn't load, `LmtoolError` where the disk refuses,
    `OutOfMemoryError`.
    """
    check_quantizable(checkpoint)
    adapted = adapt(checkpoint, loras)
    if adapted is not None:
        checkpoint = adapted.checkpoint
    dtype = stored_dtype(checkpoint)
    quantization = Quantization(quant, str(dtype).removeprefix("torch."))
    inventory = _Inventory(checkpoint, adapted)
    with memory_errors("quantizing"), new_folder(folder) as beside:
        _copy_companions(checkpoint.folder, beside)
        config = checkpoint.config | {FIELD: quantization.as_config()}
        text = json.dumps(config, ensure_ascii=False, indent=2) + "\n"
        (beside / CONFIG).write_text(text, encoding="utf-8")
        cpu = torch.device("cpu")
        reader = WeightReader(checkpoint, dtype, cpu, quant=quant, adapted=adapted)
        layout = inventory.layout(quant)
        with (beside / SINGLE).open("wb") as file:
            places = _write_header(file, layout)
            done = 0
            for name, shape in inventory.shapes.items():
                for part, tensor in _parts(reader, name, shape, inventory.kept).items():
                    assert (tensor.dtype, tuple(tensor.shape)) == layout[part]
                    _write(file, places[part], tensor)
                done += math.prod(shape)
                if watch is not None:
                    watch(done, inventory.parameters)
    after = sum(math.prod(shape) * dtype.itemsize for dtype, shape in layout.values())
    return Sizes(inventory.nbytes, after)


def _copy_companions(source: Path, target: Path) -> None:
    found = {path for pattern in COPIED for path in source.glob(pattern) if path.is_file()}
    for path in found:
        shutil.copyfile(path, target / path.name)


class _Inventory(ShapeReader):
    """Everything that the decoder asks of a checkpoint, by shape alone.

    Raises `ModelError` for a checkpoint that doesn't load.
    """

    def __init__(self, checkpoint: Checkpoint, adapted: Adapted | None) -> None:
        super().__init__(checkpoint, adapted)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.kept: dict[str, torch.dtype] = {}
        Decoder(checkpoint.spec, self)
        if self.faults:
            raise self.faults[0]
        self.refuse_rest()

    def take(self, name: str, *shape: int, exact: bool = False) -> Tensor:
        """See `Source`."""
        del exact
        weight = super().take(name, *shape, exact=True)
        self.shapes[name] = shape
        if name != EMBEDDING:
            self.kept[name] = weight.dtype
        return weight

    def matrix(
        self,
        names: Sequence[str],
        outputs: Sequence[int],
        inputs: int,
        taken: Tensor | None = None,
    ) -> Matrix:
        """See `Source`."""
        for name, width in zip(names, outputs, strict=True):
            self.shapes[name] = (width, inputs)
        return super().matrix(names, outputs, inputs, taken)

    def layout(self, quant: Quant) -> Layout:
        """Every tensor to be stored."""
        found: Layout = {}
        for name, shape in self.shapes.items():
            if name in self.kept:
                found[name] = self.kept[name], shape
                continue
            outputs, inputs = shape
            parts = KINDS[kind_of(name, quant)].layout(outputs, inputs)
            found |= {name + suffix: part for suffix, part in parts.items()}
        return found


def _parts(
    reader: WeightReader, name: str, shape: tuple[int, ...], kept: dict[str, torch.dtype]
) -> dict[str, Tensor]:
    """The tensors that a weight is stored as."""
    if name in kept:
        return {name: reader.take(name, *shape, exact=True)}
    outputs, inputs = shape
    weight, _ = reader.quantized(name, outputs, inputs)
    return {name + suffix: part for suffix, part in weight.parts().items()}


def _write_header(file: IO[bytes], layout: Layout) -> dict[str, int]:
    """Write the header, and say where in the file each tensor begins.

    Wide numbers come first, so that each begins at a multiple of its width.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name, (dtype, shape) in sorted(layout.items(), key=lambda item: -item[1][0].itemsize):
        end = begin + math.prod(shape) * dtype.itemsize
        header[name] = {
            "dtype": STORED[dtype],
            "shape": shape,
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    data = 8 + len(text)
    file.truncate(data + begin)
    return {name: data + header[name]["data_offsets"][0] for name in layout}


def _write(file: IO[bytes], place: int, tensor: Tensor) -> None:
    tensor = tensor.contiguous()
    if tensor.nbytes:
        file.seek(place)
        file.write(memoryview((ctypes.c_char * tensor.nbytes).from_address(tensor.data_ptr())))
