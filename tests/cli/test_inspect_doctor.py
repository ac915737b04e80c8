"""`lmtool inspect` and `lmtool doctor` as a user runs them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from lmtool.cli.text_table import display_width
from reference.random_checkpoints import Case
from reference.small_tokenizers import byte_level

Run = Callable[..., "CompletedProcess[bytes]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    case = Case(
        "qwen3",
        "Qwen3",
        {"head_dim": 16, "use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
    )
    folder = case.save(tmp_path_factory.mktemp("checkpoint"))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    return folder


def test_inspect_draws_the_stack(run_lmtool: Run, folder: Path) -> None:
    done = run_lmtool("inspect", folder, fresh=True)
    assert done.returncode == 0
    assert done.stderr == b""
    text = done.stdout.decode()
    for fact in ("qwen3, float32", "layers 1-2", "window 9", "layers 0", "6 heads in 2 groups"):
        assert fact in text
    assert "licence  apache-2.0" in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_inspect_json_is_one_object(run_lmtool: Run, folder: Path) -> None:
    facts = json.loads(run_lmtool("inspect", folder, "--json", "-c", "100").stdout)
    assert facts["family"] == "qwen3"
    assert facts["memory"]["context"] == 100
    assert [layer["count"] for layer in facts["spec"]["layers"]] == [1, 2]
    assert facts["tokenizer"] is None


@pytest.mark.parametrize("command", ["inspect", "doctor"])
def test_memory_is_reckoned_for_a_cache_of_another_dtype(
    run_lmtool: Run, folder: Path, command: str
) -> None:
    told = [
        run_lmtool(command, folder, "-c", "99999", "--kv-dtype", dtype).stdout.decode()
        for dtype in ("auto", "bfloat16", "int8")
    ]
    [float32, bfloat16, int8] = [float(re.findall(r"([\d.]+) MiB of cache", t)[0]) for t in told]
    assert float32 == pytest.approx(2 * bfloat16, rel=0.02)
    assert bfloat16 > int8  # heads of 4, with a scale each, save little
    done = run_lmtool(command, folder, "--kv-dtype", "int7")
    assert done.returncode == 2
    assert b"no such dtype: int7" in done.stderr


def test_doctor_passes_a_sound_checkpoint(run_lmtool: Run, folder: Path) -> None:
    done = run_lmtool("doctor", folder, fresh=True)
    assert done.returncode == 0
    assert b"all in place" in done.stdout
    assert json.loads(run_lmtool("doctor", folder, "--json").stdout)["loads"] is True


def test_doctor_exits_3_and_names_every_fault(run_lmtool: Run, tmp_path: Path) -> None:
    folder = Case("llama", "Llama").save(tmp_path / "broken", max_shard_size="60KB")
    shards = sorted(folder.glob("*.safetensors"))
    shards[0].unlink()
    shards[1].write_bytes(shards[1].read_bytes()[:-7])
    done = run_lmtool("doctor", folder)
    assert done.returncode == 3
    assert shards[0].name.encode() in done.stdout
    assert b"cut short" in done.stdout
    assert done.stderr == b""


@pytest.mark.parametrize("command", ["inspect", "doctor"])
def test_nothing_there(run_lmtool: Run, command: str) -> None:
    done = run_lmtool(command, "./nowhere")
    assert done.returncode == 3
    assert done.stderr.startswith(b"error: ")
    assert b"Traceback" not in done.stderr


def test_a_tokenizer_alone_is_taken_apart_in_80_columns(run_lmtool: Run, tmp_path: Path) -> None:
    made = byte_level()
    made.save(str(tmp_path / "tokenizer.json"))
    done = run_lmtool("inspect", tmp_path, "--limit", "5")
    assert done.returncode == 0
    assert done.stderr == b""
    text = done.stdout.decode()
    assert all(display_width(line) <= 80 for line in text.splitlines())
    for fact in ("parted by the pattern of gpt2", "that never come", "longest tokens", "<tool> é"):
        assert fact in text
    # A config without weights doesn't make it a checkpoint.
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert run_lmtool("inspect", tmp_path, "--limit", "5").stdout.decode() == text


def test_a_checkpoint_shows_its_tokenizer_whole_when_told_to(
    run_lmtool: Run, checkpoint: Path
) -> None:
    short = json.loads(run_lmtool("inspect", checkpoint, "--json").stdout)
    whole = json.loads(run_lmtool("inspect", checkpoint, "--tokenizer", "--json").stdout)
    assert "stack" in short
    assert short["tokenizer"].items() <= whole["tokenizer"].items()
    assert "reach" not in short["tokenizer"]
    reach = whole["tokenizer"]["reach"]
    assert reach["never"]["reasons"]["bytes"] == 13
    assert run_lmtool("inspect", checkpoint, "--limit", "0").returncode == 2
