"""Signals that come while merges are learned, at moments that are sure to be there."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lmtool.cli import training
from lmtool.cli.app import run
from lmtool.tokenizer.save import NAMES
from reference.small_tokenizers import ALL


def sending(*numbers: int) -> Callable[[training._Watch, int], None]:
    """What sends signals to this process once 64 merges are made."""

    def merged(watch: training._Watch, done: int) -> None:
        watch._stopping.at_once = done == 0
        if done == 64:
            for number in numbers:
                os.kill(os.getpid(), number)

    return merged


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(ALL * 5)
    return path


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_the_merges_so_far_are_kept_beside(
    text: Path, monkeypatch: pytest.MonkeyPatch, capfd, number: int, code: int
) -> None:
    folder = text.parent / "tok"
    monkeypatch.setattr(training._Watch, "merged", sending(number))
    before = signal.getsignal(number)
    assert run(["train-tokenizer", str(text), "-o", str(folder)]) == code
    assert signal.getsignal(number) == before
    partial = text.parent / "tok.partial"
    assert f"interrupted: the tokenizer so far, 321 tokens, is in `{partial}`" in " ".join(
        capfd.readouterr().err.split("\n")
    )
    assert not folder.exists()
    assert set(NAMES) <= set(os.listdir(partial))
    model = json.loads((partial / "tokenizer.json").read_bytes())["model"]
    assert len(model["merges"]) == 64


@pytest.mark.parametrize(("folder", "partial"), [(".", "in.partial"), ("..", "at.partial")])
def test_a_folder_without_a_name_has_one_beside(
    text: Path, monkeypatch: pytest.MonkeyPatch, folder: str, partial: str
) -> None:
    inside = text.parent / "at" / "in"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    monkeypatch.setattr(training._Watch, "merged", sending(signal.SIGINT))
    assert run(["train-tokenizer", str(text), "-o", folder]) == 130
    assert set(NAMES) <= set(os.listdir(inside / folder / ".." / partial))
    assert not (inside / folder / NAMES[0]).exists()


def test_a_file_in_the_place_of_what_ctrl_c_keeps_is_told_before_training(
    text: Path, capfd
) -> None:
    (text.parent / "tok.partial").write_text("mine")
    assert run(["train-tokenizer", str(text), "-o", str(text.parent / "tok")]) == 2
    assert "is not a folder" in " ".join(capfd.readouterr().err.split("\n"))
    assert sorted(os.listdir(text.parent)) == ["text.txt", "tok.partial"]


def test_a_second_ctrl_c_ends_at_once(text: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.setattr(training._Watch, "merged", sending(signal.SIGINT, signal.SIGINT))
    assert run(["train-tokenizer", str(text), "-o", str(text.parent / "tok")]) == 130
    assert capfd.readouterr().err == ""
    assert os.listdir(text.parent) == ["text.txt"]


def test_before_there_are_merges_ctrl_c_ends_at_once(
    text: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    def merged(watch: training._Watch, done: int) -> None:
        watch._stopping.at_once = done == 0
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(training._Watch, "merged", merged)
    assert run(["train-tokenizer", str(text), "-o", str(text.parent / "tok")]) == 130
    assert os.listdir(text.parent) == ["text.txt"]
