"""Devices and dtypes by name, and what running out of memory becomes."""

from __future__ import annotations

import errno

import pytest
import torch

from lmtool import OutOfMemoryError, UsageError
from lmtool.engine.device import find_device, find_dtype, memory_errors


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert find_device("auto") == torch.device("cpu")
    with pytest.raises(UsageError, match="this machine has no cuda device") as caught:
        find_device("cuda")
    assert caught.value.hint == "it has cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert find_device("auto") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("auto") == torch.device("cuda")
    assert find_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize("name", ["tpu", "", "CPU", "cuda:2", "cuda:x", "cuda:-1", "cpu:x"])
def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match=f"no such device: {name}$") as caught:
        find_device(name)
    assert caught.value.hint


def test_dtypes_by_name() -> None:
    assert find_dtype("auto") is None
    assert find_dtype("bfloat16") == torch.bfloat16
    with pytest.raises(UsageError, match="no such dtype: int8"):
        find_dtype("int8")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 18.13 GB)"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=repr,
)
def test_memory_that_ends_is_one_kind_of_error(error: Exception) -> None:
    with (
        pytest.raises(OutOfMemoryError, match="out of memory while thinking"),
        memory_errors("thinking"),
    ):
        raise error


def test_torch_says_it_as_we_expect() -> None:
    with pytest.raises(OutOfMemoryError), memory_errors("thinking"):
        torch.empty(2**60, dtype=torch.uint8)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), OSError(errno.EIO, "no")], ids=repr
)
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)), memory_errors("thinking"):
        raise error
