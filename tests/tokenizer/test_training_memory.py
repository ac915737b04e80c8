"""Sizes as people write them, and how much memory is taken where nobody says."""

from __future__ import annotations

import pytest

from lmtool import UsageError
from lmtool.tokenizer.training import memory
from lmtool.tokenizer.training.memory import USUAL, read_size, usual_memory


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2G", 2 << 30),
        ("800M", 800 << 20),
        ("1.5 GiB", 3 << 29),
        ("900000kb", 900_000 << 10),
        ("268435456", 256 << 20),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "2 X", "-1G", "1e3M", "nan", "२G"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no size"):
        read_size(text)


@pytest.mark.parametrize("text", ["0", "255M"])
def test_too_little_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="too little"):
        read_size(text)


@pytest.mark.parametrize(
    ("free", "taken"),
    [(None, USUAL), (64 << 30, USUAL), (1 << 30, 512 << 20), (1 << 20, 256 << 20)],
)
def test_half_of_what_is_free(
    monkeypatch: pytest.MonkeyPatch, free: int | None, taken: int
) -> None:
    monkeypatch.setattr(memory, "_free", lambda: free)
    assert usual_memory() == taken


def test_what_is_free_is_known_here() -> None:
    assert usual_memory() >= 256 << 20
