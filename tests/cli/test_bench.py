"""`lmtool bench` as a user runs it, on a small random checkpoint."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pexpect
import pytest

from reference.random_checkpoints import Case

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
QUICK = ("-t", "1", "-r", "1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of 512 positions without a tokenizer: ids are all that is needed."""
    return Case("bench", "Llama").save(tmp_path_factory.mktemp("bench") / "tiny")


def fails(done: subprocess.CompletedProcess[bytes], code: int, *parts: str) -> None:
    """It ended with `code`, one line on stderr that has `parts`, and nothing on stdout."""
    err = done.stderr.decode()
    assert (done.returncode, done.stdout) == (code, b""), err
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    for part in parts:
        assert part in err


def check_share(share: dict[str, float] | None) -> None:
    assert share is not None
    assert 0 <= share["min"] <= share["median"] <= share["max"] < 1.2


def test_json_has_a_row_for_every_combination(run_lmtool: Run, folder: Path) -> None:
    numbers = ("-p", "0,8-16*2", "-n", "1,3", "-d", "0-40+20", "-b", "1", "-b", "2")
    done = run_lmtool("bench", "-m", folder, *numbers, *QUICK, "-r", "2", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    points = [(row["batch"], row["depth"], row["prompt"], row["tokens"]) for row in rows]
    assert points == list(product((1, 2), (0, 20, 40), (0, 8, 16), (1, 3)))
    for row in rows:
        check_row(row, folder)
    head = done.stderr.decode().splitlines()
    assert head[0].startswith("tiny (llama, 73,584 parameters, float32, 0 MB), 1 thread")
    assert "torch" in head[1]
    assert head[2].startswith("100% is ")
    assert len(head) == 3


def check_row(row: dict[str, Any], folder: Path) -> None:
    assert row["error"] is None
    assert row["seed"] == 0
    assert len(row["repeats"]) == 2
    model = row["model"]
    assert (model["name"], model["path"], model["family"]) == ("tiny", str(folder), "llama")
    assert (model["parameters"], model["dtype"], model["quant"]) == (73584, "float32", None)
    assert model["weight_bytes"] == pytest.approx(4 * 73584, rel=0.01)
    assert (row["dtype"], row["quant"], row["threads"]) == ("float32", None, 1)
    machine = row["machine"]
    assert machine["processor"]
    assert machine["cores"] >= machine["threads"] == 1
    assert machine["memory_bandwidth"] > 1e8
    assert machine["matrix_rate"] > 1e8
    assert row["peak_memory_bytes"] > 1e7
    assert (row["prefill"] is None) == (row["first_token_s"] is None) == (row["prompt"] == 0)
    if row["prefill"] is not None:
        check_share(row["prefill"]["share_of_matrix_rate"])
    check_share(row["decode"]["share_of_bandwidth"])
    seconds = [one["decode_s"] for one in row["repeats"]]
    rates = sorted(row["batch"] * row["tokens"] / s for s in seconds)
    spread = row["decode"]["tokens_per_s"]
    assert [spread["min"], spread["max"]] == pytest.approx(rates, rel=1e-3, abs=0.01)


def test_jsonl_is_the_same_rows(run_lmtool: Run, folder: Path) -> None:
    done = run_lmtool("bench", "-m", folder, "-p", "4", "-n", "0,2", *QUICK, "--format", "jsonl")
    first, second = [json.loads(line) for line in done.stdout.splitlines()]
    assert first["decode"] is None
    assert first["prefill"]["flops"] > 0
    assert second["decode"]["bytes_per_step"] > 1e5
    assert first.keys() == second.keys()


def test_csv_has_a_heading_and_a_line_a_row(run_lmtool: Run, folder: Path) -> None:
    done = run_lmtool(
        *("bench", "-m", folder, "-p", "0,4", "-n", "2", *QUICK, "--format", "csv", "-q")
    )
    assert done.stderr == b""
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert [row["prompt"] for row in rows] == ["0", "4"]
    assert rows[0]["prefill_tokens_per_s"] == ""
    assert float(rows[1]["prefill_tokens_per_s"]) > 0
    for row in rows:
        assert float(row["decode_min"]) <= float(row["decode_tokens_per_s"])
        assert 0 <= float(row["share_of_bandwidth"]) < 1.2
        assert row["model"] == "tiny"
        assert None not in row


def test_markdown_says_of_what_it_is_a_table(run_lmtool: Run, folder: Path) -> None:
    done = run_lmtool(
        *("bench", "-m", folder, "-p", "4", "-n", "2", "-b", "1,2", *QUICK, "--format", "markdown")
    )
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("tiny (llama, 73,584 parameters")
    assert "torch" in lines[0]
    assert lines[1] == ""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells[0][:3] == ["batch", "prompt", "tokens"]
    assert set("".join(cells[1])) == {"-", ":"}
    assert [row[:3] for row in cells[2:]] == [["1", "4", "2"], ["2", "4", "2"]]
    assert len({len(row) for row in cells}) == 1


def test_a_table_is_aligned_and_shows_what_varies(run_lmtool: Run, folder: Path) -> None:
    numbers = ("-p", "0", "-n", "2", "--dtype", "float32,bfloat16", "-t", "1", "-r", "1")
    done = run_lmtool("bench", "-m", folder, *numbers, "--quant", "none,int4")
    head, *rows = done.stdout.decode().splitlines()
    assert head.split()[:4] == ["quant", "dtype", "prompt", "tokens"]
    assert "prefill" not in head
    assert [row.split()[:2] for row in rows] == [
        [quant, dtype] for quant in ("none", "int4") for dtype in ("float32", "bfloat16")
    ]
    assert {len(line) for line in (head, *rows)} == {len(head)}
    assert "bfloat16" in done.stderr.decode()


def test_defaults_fit_a_small_context(run_lmtool: Run, folder: Path) -> None:
    done = run_lmtool("bench", "-m", folder, "-c", "64", *QUICK, "--format", "jsonl")
    row = json.loads(done.stdout)
    assert (row["depth"], row["prompt"], row["tokens"]) == (0, 32, 16)


def test_the_environment_and_the_config_file_set_lists_too(
    run_lmtool: Run, folder: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[bench]\nprompt = [4, "6-8+2"]\ntokens = 1\n')
    done = run_lmtool(
        *("bench", "-m", folder, "-q", *QUICK, "--config", config), LMTOOL_FORMAT="jsonl"
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["prompt"], row["tokens"]) for row in rows] == [(4, 1), (6, 1), (8, 1)]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("-p", "4-"), ("--prompt must be whole numbers", "128-1024*2", "not `4-`")),
        (("-n", "1-4*1"), ("--tokens", "not `1-4*1`")),
        (("-d", "x"), ("--depth",)),
        (("-b", "0"), ("--batch must be whole numbers, 1 or more",)),
        (("-t", "0-2"), ("--threads",)),
        (("-r", "0"), ("--repeats must be a whole number, 1 or more",)),
        (("--dtype", "float32,int8"), ("--dtype must be one or more of auto,float32",)),
        (("--quant", "int3"), ("--quant must be one or more of none,int8,int4",)),
        (("--format", "sql"), ("--format must be text, json, jsonl, csv or markdown",)),
        (("--json", "--format", "csv"), ("`--json` contradicts `--format csv`",)),
        (("-p", "4,0", "-n", "0"), ("-p 0 and -n 0 together measure nothing",)),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_one_plain_line(
    capfdbinary: pytest.CaptureFixture[bytes], arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    from lmtool.cli import app

    code = app.run(["bench", "-m", "./nothing", *arguments])  # no model is looked for
    fails(subprocess.CompletedProcess((), code, *capfdbinary.readouterr()), 2, *parts)


def test_a_point_beyond_the_context_is_refused_before_anything_runs(
    run_lmtool: Run, folder: Path
) -> None:
    done = run_lmtool("bench", "-m", folder, "-p", "8", "-n", "4", "-d", "0-501+501", "--json")
    fails(done, 4, "a depth of 501, a prompt of 8 and 4 tokens: together 513", "context has 512")


def test_memory_that_ends_costs_one_row_and_is_exit_5(run_lmtool: Run, folder: Path) -> None:
    sizes = ("-b", "1,100000000000,2", "-p", "4", "-n", "2")
    done = run_lmtool("bench", "-m", folder, *sizes, *QUICK, "--json", "-q")
    assert done.returncode == 5
    first, second, third = json.loads(done.stdout)
    assert (first["error"], third["error"]) == (None, None)
    assert third["decode"]["tokens_per_s"]["median"] > 0
    assert "out of memory while measuring batch 100000000000" in second["error"]
    assert (second["prefill"], second["decode"], second["repeats"]) == (None, None, [])
    assert done.stderr.decode().count("\n") == 1
    assert done.stderr.startswith(b"error: out of memory while measuring batch 100000000000")


def test_a_missing_model_is_the_usual_error(run_lmtool: Run) -> None:
    fails(run_lmtool("bench", "-m", "./nothing"), 3, "no such file or folder: `./nothing`")


def test_output_file_appears_when_it_is_complete(
    run_lmtool: Run, folder: Path, tmp_path: Path
) -> None:
    done = run_lmtool(
        *("bench", "-m", folder, "-p", "4", "-n", "2", *QUICK, "--json", "-o", "speed.json")
    )
    assert (done.returncode, done.stdout) == (0, b"")
    assert len(json.loads((tmp_path / "speed.json").read_text())) == 1
    assert [path.name for path in tmp_path.glob("speed*")] == ["speed.json"]


# As `python -m lmtool`, but that it measures less to know the machine, which takes seconds.
HASTY = """
from lmtool.engine import machine
machine.READ, machine.WIDTH = machine.READ // 16, machine.WIDTH // 4
from lmtool.cli.entry import main
main()
"""


def start(environ: dict[str, str], *arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", HASTY, "bench", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
        **options,
    )


ENDLESS = ("-p", "8-500", "-n", "4", "-t", "1", "-r", "5")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ending_early_keeps_what_is_measured(
    lmtool_environ: dict[str, str], folder: Path, number: signal.Signals, code: int
) -> None:
    process = start(lmtool_environ, "-m", folder, *ENDLESS, "--json")
    assert process.stdout is not None
    begun = b""
    while begun.count(b"\n") < 3:
        begun += os.read(process.stdout.fileno(), 1 << 16)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    rows = json.loads(begun + out)
    assert [row["prompt"] for row in rows] == list(range(8, 8 + len(rows)))
    assert b"error" not in err


def test_ending_early_keeps_the_file_beside(
    lmtool_environ: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    arguments = ["-c", HASTY, "bench", "-m", str(folder), *ENDLESS, "--json", "-o", "speed.json"]
    environ = {**lmtool_environ, "TERM": "xterm"}
    talk = pexpect.spawn(sys.executable, arguments, env=environ, cwd=str(tmp_path), timeout=60)
    talk.expect("point 3 of")
    talk.sendintr()
    talk.expect(r"is in `speed\.json\.partial`")
    talk.expect(pexpect.EOF)
    talk.close()
    assert talk.exitstatus == 130
    assert len(json.loads((tmp_path / "speed.json.partial").read_text())) >= 2
    assert not (tmp_path / "speed.json").exists()


def test_a_closed_pipe_ends_quietly(lmtool_environ: dict[str, str], folder: Path) -> None:
    process = start(lmtool_environ, "-m", folder, *ENDLESS, "--format", "jsonl", "-q")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""


def test_a_terminal_sees_where_it_is(lmtool_environ: dict[str, str], folder: Path) -> None:
    arguments = ["-m", "lmtool", "bench", "-m", str(folder), "-p", "4,5", "-n", "2", *QUICK]
    environ = {**lmtool_environ, "TERM": "xterm"}
    talk = pexpect.spawn(
        sys.executable, arguments, env=environ, timeout=60, echo=False, dimensions=(24, 200)
    )
    talk.expect(pexpect.EOF)
    talk.close()
    assert talk.exitstatus == 0
    text = talk.before.decode()
    assert "loading" in text
    assert "point 1 of 2, getting warm: batch 1, depth 0, prompt 4, 2 tokens" in text
    assert "point 2 of 2, repeat 1 of 1" in text
    assert "\x1b[1mprompt" in text
    # What is left standing, once lines that were written over are gone.
    shown = [line.rpartition("\x1b[K")[2] for line in text.replace("\r\n", "\n").split("\n")]
    assert not any("point" in line or "loading" in line for line in shown)
