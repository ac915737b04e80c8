"""safetensors files written by hand, true or lying, and the facts of a small true one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}
Header = dict[str, Any]


def written(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    """Write `header` (an object, or bytes as they are) and `data`; `length` may lie."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    said = len(raw) if length is None else length
    path.write_bytes(said.to_bytes(8, "little") + raw + data)
    return path


def described(tensors: dict[str, Tensor]) -> tuple[Header, bytes]:
    """The header and the data of a true file."""
    header: Header = {}
    data = b""
    for name, tensor in tensors.items():
        raw = bytes_of(tensor)
        header[name] = {
            "dtype": DTYPE_NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    return header, data


def bytes_of(tensor: Tensor) -> bytes:
    """A tensor's numbers as they lie on disk."""
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def header_of(path: Path) -> Header:
    """The header of a file that is true."""
    raw = path.read_bytes()
    return json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])


def data_of(path: Path) -> bytes:
    """The data of a file whose header length is true."""
    raw = path.read_bytes()
    return raw[8 + int.from_bytes(raw[:8], "little") :]
