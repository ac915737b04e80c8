"""`--lora` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtool.cli.loras import split
from reference.adapters import save_adapter


@pytest.fixture(scope="module")
def adapter(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(checkpoint, tmp_path_factory.mktemp("adapter"), target_modules=["q_proj"])


@pytest.mark.parametrize(
    ("text", "path", "scale"),
    [
        ("a", "a", 1.0),
        ("a:0.5", "a", 0.5),
        ("a:-2e-1", "a", -0.2),
        ("a:0", "a", 0.0),
        ("a:b", "a:b", 1.0),
        ("a:b:2", "a:b", 2.0),
        ("a:2:3", "a:2", 3.0),
        ("a:", "a:", 1.0),
        (r"C:\adapters\a", r"C:\adapters\a", 1.0),
        (r"C:\adapters\a:.5", r"C:\adapters\a", 0.5),
    ],
)
def test_a_scale_is_the_number_after_the_last_colon(text: str, path: str, scale: float) -> None:
    assert split(text) == (path, scale)


@given(st.text(min_size=1), st.floats(allow_nan=False, allow_infinity=False))
def test_any_path_with_any_scale(path: str, scale: float) -> None:
    assert split(f"{path}:{scale!r}") == (path, scale)


def test_it_changes_the_text_and_is_told_of(real, checkpoint: Path, adapter: Path) -> None:
    asked = ("Once", "-m", str(checkpoint), "-n", "8", "--temp", "0", "--json")
    plain = real(*asked).json
    changed = real(*asked, "--lora", str(adapter)).json
    assert changed["token_ids"] != plain["token_ids"]
    assert changed["settings"]["lora"] == {"value": [str(adapter)], "source": "command line"}
    none = real(*asked, "--lora", f"{adapter}:0").json
    assert none["token_ids"] == plain["token_ids"]
    cancelled = real(*asked, "--lora", str(adapter), "--lora", f"{adapter}:-1").json
    assert cancelled["token_ids"] == plain["token_ids"]
    assert real(*asked, LMTOOL_LORA=str(adapter)).json["token_ids"] == changed["token_ids"]
    assert f'["{adapter}"]' in real(*asked, "--lora", str(adapter), "-v").err


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (":2", 2, "--lora must be a path"),
        ("a:nan", 2, "--lora must be a path"),
        ("a:1e999", 2, "--lora must be a path"),
        ("./nowhere", 3, "no such file or folder: `./nowhere`"),
        ("./nowhere:2", 3, "no such file or folder: `./nowhere`"),
        ("default", 3, "no such adapter: `default`"),
        (".", 3, "it has no adapter_config.json"),
    ],
)
def test_what_is_no_adapter(
    text: str,
    code: int,
    said: str,
    real,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    real("Once", "-m", str(checkpoint), "--lora", text).fails(code, said)


def test_an_adapter_of_another_model(real, adapter: Path) -> None:
    real("Once", "--lora", str(adapter)).fails(3, "doesn't fit the model's", "it was made for")


def test_quantize_writes_them_in(
    run_lmtool: Callable[..., CompletedProcess[bytes]],
    real,
    checkpoint: Path,
    adapter: Path,
    tmp_path: Path,
) -> None:
    made = run_lmtool("quantize", checkpoint, "--lora", f"{adapter}:0.5", "-o", "made")
    assert made.returncode == 0, made.stderr
    asked = ("Once", "-n", "8", "--temp", "0", "--json")
    there = real(*asked, "-m", str(tmp_path / "made")).json
    here = real(*asked, "-m", str(checkpoint), "--quant", "int8", "--lora", f"{adapter}:0.5").json
    assert there["token_ids"] == here["token_ids"]
    failed = run_lmtool("quantize", "default", "--lora", adapter, "-o", "other")
    assert failed.returncode == 3
    assert failed.stderr.count(b"\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"]
    assert json.loads((tmp_path / "made" / "config.json").read_text())["quantization_config"]
