"""`lmtool quantize`, and `--quant`, as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from reference.random_checkpoints import Case

Run = Callable[..., "CompletedProcess[bytes]"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Case("qwen3", "Qwen3", {"head_dim": 16}).save(tmp_path_factory.mktemp("checkpoint"))


def asked(run_lmtool: Run, *arguments: object) -> dict[str, object]:
    done = run_lmtool("generate", *arguments, "-n", "8", "--temp", "0", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_default_model_smaller_and_by_itself(run_lmtool: Run, tmp_path: Path) -> None:
    done = run_lmtool("quantize", "default", "-o", "small", "--quant", "int4")
    assert done.returncode == 0
    assert done.stdout == b""
    assert done.stderr == b"written: small, 6.4 MB of weights in int4 (33.0 MB before)\n"
    made = asked(run_lmtool, "-m", "small", "Once upon a time")
    straight = asked(run_lmtool, "--quant", "int4", "Once upon a time")
    assert made["token_ids"] == straight["token_ids"]
    assert made["model"]["quant"] == straight["model"]["quant"] == "int4"
    assert made["model"]["dtype"] == "float32"
    assert made["settings"]["quant"] == {"value": "none", "source": "default"}
    assert straight["settings"]["quant"] == {"value": "int4", "source": "command line"}
    assert asked(run_lmtool, "Once")["model"]["quant"] is None


def test_int8_is_what_it_makes_unasked(run_lmtool: Run, source: Path, tmp_path: Path) -> None:
    assert run_lmtool("quantize", source, "-o", "made", "-q", fresh=True).stderr == b""
    assert json.loads(run_lmtool("inspect", "made", "--json").stdout)["quant"] == "int8"
    assert b"family  qwen3, float32, weights in int8" in run_lmtool("inspect", "made").stdout
    assert run_lmtool("doctor", "made").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"]
    ids = asked(run_lmtool, "-m", "made", "--token-ids", "1 2 3")["token_ids"]
    assert len(ids) == 8


def test_it_refuses_in_one_line(run_lmtool: Run, source: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("")
    (tmp_path / "file").write_text("")
    run_lmtool("quantize", source, "-o", "made")
    (tmp_path / "cut").mkdir()
    for path in source.iterdir():
        (tmp_path / "cut" / path.name).write_bytes(path.read_bytes()[:-9])
    for arguments, code, said in (
        ((source, "-o", "full"), 2, b"error: `full` is not empty; -o takes a new folder\n"),
        ((source, "-o", "file"), 2, b"error: `file` is not a folder; "),
        ((source, "-o", "file/made"), 1, b"error: cannot write `file/made`: "),
        (("made", "-o", "again"), 3, b"error: `made` is quantized already, to int8; "),
        (("./nowhere", "-o", "again"), 3, b"error: no such file or folder: `./nowhere`\n"),
        (("cut", "-o", "again"), 3, b"error: `cut/config.json` is not JSON"),
        ((source, "-o", "again", "--quant", "int3"), 2, b"error: invalid value for '--quant'"),
        ((source,), 2, b"error: missing option '-o' / '--output'"),
    ):
        done = run_lmtool("quantize", *arguments)
        assert done.returncode == code, done.stderr
        assert done.stderr.startswith(said), done.stderr
        assert done.stderr.count(b"\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "file", "full", "made"]


def test_generate_will_not_quantize_twice(run_lmtool: Run, source: Path) -> None:
    run_lmtool("quantize", source, "-o", "made")
    done = run_lmtool("generate", "-m", "made", "--quant", "int4", "--token-ids", "1 2")
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: `made` is quantized to int8 already, not to int4; ")


def test_a_damaged_one_is_the_models_fault(run_lmtool: Run, source: Path, tmp_path: Path) -> None:
    run_lmtool("quantize", source, "-o", "made", "--quant", "int4")
    path = tmp_path / "made" / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"]["group_size"] = 64
    path.write_text(json.dumps(config))
    for command in (("generate", "--token-ids", "1 2", "-m"), ("inspect",)):
        done = run_lmtool(*command, "made")
        assert done.returncode == 3
        assert b"`group_size` is 64, not 32, as `bits` 4 implies" in done.stderr
        assert done.stderr.count(b"\n") == 1
    done = run_lmtool("doctor", "made")
    assert done.returncode == 3
    assert b"`group_size` is 64" in done.stdout
