"""Where a model runs and in what precision, and what to say when memory ends."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from errno import ENOMEM
from typing import Any

import torch
from torch import Tensor

from .. import OutOfMemoryError, UsageError

DTYPES: dict[str, torch.dtype | None] = {
    "auto": None,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
KV_DTYPES = DTYPES | {"int8": torch.int8}
"""What keys and values may be cached in."""


def find_device(name: str) -> torch.device:
    """`auto` is a GPU if there is one, else the CPU.

    Raises `UsageError` for a device that isn't there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    kind = name.split(":")[0]
    if kind not in available:
        raise UsageError(f"no such device: {name}", hint=f"there are auto, {', '.join(available)}")
    if not available[kind]:
        usable = [other for other, there in available.items() if there]
        raise UsageError(f"this machine has no {kind} device", hint=f"it has {', '.join(usable)}")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"no such device: {name}", hint=f"`{kind}:0` is the first") from error
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if ":" in name and device.index >= count:
        raise UsageError(f"no such device: {name}", hint=f"the last one is {kind}:{count - 1}")
    return device


def find_dtype(name: str) -> torch.dtype | None:
    """A dtype by name; `auto` is None, the dtype that the weights are stored in."""
    return _found(name, DTYPES)


def find_kv_dtype(name: str) -> torch.dtype | None:
    """A KV cache's dtype by name; `auto` is None, what the model computes in."""
    return _found(name, KV_DTYPES)


def _found(name: str, dtypes: dict[str, torch.dtype | None]) -> torch.dtype | None:
    if name not in dtypes:
        raise UsageError(f"no such dtype: {name}", hint=f"there are {', '.join(dtypes)}")
    return dtypes[name]


def available_memory() -> int | None:
    """Bytes of main memory that can be had without swapping, or None where that isn't known."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def free_memory(device: torch.device) -> int | None:
    """Bytes of a device's own memory that nobody has taken, or None where that isn't known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return available_memory()


def spare_memory(device: torch.device) -> int | None:
    """Three quarters of `free_memory`: what may be filled without asking, beside all else."""
    free = free_memory(device)
    return None if free is None else free // 4 * 3


def to_host(values: Tensor) -> list[Any]:
    """A tensor's values as Python numbers, in lists as deep as its shape."""
    return values.tolist()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


@contextmanager
def memory_errors(doing: str) -> Generator[None, None, None]:
    """Turn torch's ways of running out of memory into `OutOfMemoryError`."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(doing) from error
    except RuntimeError as error:
        if any(sign in str(error) for sign in _SIGNS):
            raise _out_of_memory(doing) from error
        raise
    except OSError as error:
        if error.errno == ENOMEM:  # a file can't be mapped
            raise _out_of_memory(doing) from error
        raise


_SIGNS = ("can't allocate memory", "not enough memory", "out of memory")
"""What torch's errors say on Linux, on Windows, and of devices."""


def _out_of_memory(doing: str) -> OutOfMemoryError:
    return OutOfMemoryError(
        f"out of memory while {doing}",
        hint="a smaller context (-c), fewer samples, or a smaller dtype needs less",
    )


def has_amx() -> bool:
    """Whether the processor has matrix units (Intel AMX) that torch may use."""
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return probe is not None and bool(probe())
