"""What this machine can do at best, measured, and what this process takes of its memory."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch

from .matrix import Placement
from .quant.kinds import Quant
from .quant.table import KINDS, join

READ, READ_GPU = 512 << 20, 2 << 30
"""Bytes summed to measure memory: several times what caches hold."""

ROWS, WIDTH = 512, 4096
"""Of the product that measures arithmetic: what a chunk of a prompt asks of a large layer."""

ROWS_GPU, WIDTH_GPU = 8192, 8192

TRIES, ENOUGH_S = 5, 0.5
"""A ceiling is the best of a few tries, fewer where they take long."""


def memory_bandwidth(device: torch.device) -> float:
    """Bytes a second that a plain sum over a large buffer reads, with torch's current threads.

    Measured on two cores, sums of float32, bfloat16 and int64 agree, and are above maxima, copies
    and matrix-vector products.
    """
    size = READ if device.type == "cpu" else READ_GPU
    # Ones, not zeros: pages that were never written may all be the same one.
    buffer = torch.ones(size // 4, dtype=torch.float32, device=device)
    return size / _least_seconds(lambda: float(buffer.sum()))


def matrix_rate(device: torch.device, dtype: torch.dtype, quant: Quant | None = None) -> float:
    """Floating-point operations a second of a large product, held as a model's matrices are.

    With `quant` it is the product with quantized weights, whatever it is that it multiplies.
    """
    rows, width = (ROWS, WIDTH) if device.type == "cpu" else (ROWS_GPU, WIDTH_GPU)
    some, times = torch.randn(width // 64, width, device=device).to(dtype), 64
    if quant is None:
        weight = some.repeat(times, 1)
        matrix = Placement.of(device, dtype, weight.nbytes).hold(weight)
    else:
        matrix = join([KINDS[quant].quantize(some)] * times).hold()
    x = some.repeat(-(-rows // len(some)), 1)[:rows]
    with torch.inference_mode():
        # Reading one number waits for a device to be done.
        seconds = _least_seconds(lambda: float(matrix(x)[0, 0]))
    return 2 * rows * width * width / seconds


def _least_seconds(work: Callable[[], float]) -> float:
    """How long `work` takes at best, after once to get warm."""
    work()
    best, spent = float("inf"), 0.0
    for _ in range(TRIES):
        began = perf_counter()
        work()
        took = perf_counter() - began
        best, spent = min(best, took), spent + took
        if spent > ENOUGH_S:
            break
    return best


@dataclass(frozen=True)
class Machine:
    """Where something was measured: names and versions as they give themselves out."""

    processor: str
    cores: int
    threads: int
    device: str
    torch: str

    @classmethod
    def of(cls, device: torch.device) -> Machine:
        """The machine that runs, with torch's current threads."""
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        threads = torch.get_num_threads()
        return cls(processor_name(), usable_cores(), threads, name, torch.__version__)


def processor_name() -> str:
    """The processor as it calls itself."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return " ".join(value.split())
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def forget_peak_memory(device: torch.device) -> None:
    """Let `peak_memory` begin anew with what is held now, where the system can do that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # proc(5): reset the peak resident set size
    except OSError:
        pass


def peak_memory(device: torch.device) -> int | None:
    """The most bytes held at once since `forget_peak_memory`, or None where nobody counts.

    On a CPU that is resident memory, pages of mapped files among it; on a GPU, what torch
    allocated there. Outside Linux it counts from the process's start.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
            for line in lines:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        from resource import RUSAGE_SELF, getrusage  # Windows has none
    except ImportError:
        return None
    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
