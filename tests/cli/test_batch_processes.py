"""`lmtool batch` as a process: what signals do to it, and what the real engine answers."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmtool.cli.batch.running import Tally
from lmtool.cli.batch.talk import duration, progress_in_words

from .conftest import REAL, Child, Run

ROWS = b"".join(json.dumps({"prompt": f"row {n}", "id": n}).encode() + b"\n" for n in range(30))
ASK = ("batch", "in.jsonl", "-o", "out.jsonl", "--temp", "1")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "in.jsonl").write_bytes(ROWS)
    return tmp_path


@pytest.fixture
def undisturbed(place: Path, scripted: Callable[..., Child]) -> bytes:
    done = scripted().run(*ASK[:3], "whole.jsonl", *ASK[4:], cwd=place)
    assert done.returncode == 0, done.stderr
    assert b"30 rows: `whole.jsonl`; " in done.stderr
    assert b"\r" not in done.stderr, "no progress where nobody sees it"
    return (place / "whole.jsonl").read_bytes()


def test_killed_again_and_again(
    place: Path, scripted: Callable[..., Child], undisturbed: bytes
) -> None:
    chance, kills = random.Random(5), 0
    for _ in range(3):
        child = scripted(token_s=0.005)
        process = child.start(*ASK, cwd=place)
        child.reached("token", chance.randint(1, 60))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills == 3
    assert (place / "out.jsonl.partial").stat().st_size > 1000
    assert scripted().run(*ASK, cwd=place).returncode == 0
    assert (place / "out.jsonl").read_bytes() == undisturbed


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_step_and_says_how_to_go_on(
    place: Path, scripted: Callable[..., Child], undisturbed: bytes, number: int, code: int
) -> None:
    child = scripted(token_s=0.02)
    process = child.start(*ASK, cwd=place)
    child.reached("token", 50)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code
    assert b"of 30 rows are answered in `out.jsonl.partial`; the same command goes on" in said
    assert said.count(b"\n") == 1
    assert (place / "out.jsonl.partial").read_bytes().endswith(b"\n")
    assert not (place / "out.jsonl").exists()
    assert scripted().run(*ASK, cwd=place).returncode == 0
    assert (place / "out.jsonl").read_bytes() == undisturbed


def test_a_signal_while_it_waits_for_rows(place: Path, scripted: Callable[..., Child]) -> None:
    child = scripted()
    process = child.start("batch", "-o", "out.jsonl", cwd=place, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(ROWS[:200])
    process.stdin.flush()
    child.reached("loading")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130
    assert b"Traceback" not in said


def test_stdin_is_given_again(
    place: Path, scripted: Callable[..., Child], undisturbed: bytes
) -> None:
    given = ("batch", "-o", "out.jsonl", "--temp", "1")
    child = scripted(token_s=0.005)
    process = child.start(*given, cwd=place, stdin=(place / "in.jsonl").open("rb"))
    child.reached("token", 90)
    process.kill()
    process.communicate()
    lines = (place / "out.jsonl.partial").read_bytes().splitlines()
    row = json.loads(lines[1])["row"]
    changed = ROWS.replace(b'"row %d"' % (row - 1), b'"another"')
    other = scripted().run(*given, cwd=place, input=changed)
    assert other.returncode == 2
    assert b"row %d is another than it was when it was answered" % row in other.stderr
    assert scripted().run(*given, cwd=place, input=ROWS).returncode == 0
    assert (place / "out.jsonl").read_bytes() == undisturbed
    assert b"nothing to do" in scripted().run(*given, cwd=place, input=ROWS).stderr
    fewer = scripted().run(*given, cwd=place, input=ROWS[:100])
    assert (fewer.returncode, b"30 rows, not" in fewer.stderr) == (2, True), fewer.stderr


def test_the_second_process_refuses(place: Path, scripted: Callable[..., Child]) -> None:
    child = scripted(token_s=0.05)
    first = child.start(*ASK, cwd=place)
    child.reached("token")
    second = scripted().run(*ASK, cwd=place)
    assert second.returncode == 2
    assert b"another run is writing `out.jsonl`" in second.stderr
    first.kill()
    first.communicate()


def test_timings_have_a_file_of_their_own(
    place: Path, scripted: Callable[..., Child], undisturbed: bytes
) -> None:
    scripted().run(*ASK, "--timings", "times.jsonl", cwd=place)
    lines = [json.loads(line) for line in (place / "times.jsonl").read_text().splitlines()]
    assert sorted(line["row"] for line in lines) == list(range(1, 31))
    for line in lines:
        assert 0 <= line["taken_s"] <= line["first_token_s"] <= line["done_s"]
    assert (place / "out.jsonl").read_bytes() == undisturbed
    done = scripted().run(*ASK, "--timings", "out.jsonl.partial", cwd=place)
    assert done.returncode == 2


def test_the_words_of_progress() -> None:
    tally = Tally(done=300, failed=2, fresh=100, tokens=5000)
    tally.since -= 10
    assert progress_in_words(tally, 1300) == "300 of 1,300 rows, 2 failed, 500 tokens/s, 1:40 left"
    assert progress_in_words(tally, None) == "300 rows, 2 failed, 500 tokens/s"
    assert [duration(s) for s in (0.4, 59, 60, 3600, 93784)] == [
        *("0 s", "59 s", "1:00", "1:00:00", "26:03:04"),
    ]


def test_a_terminal_sees_how_far_it_is(place: Path, scripted: Callable[..., Child]) -> None:
    import pexpect

    child = scripted(token_s=0.005)
    command, *arguments = child.command
    there = pexpect.spawn(
        command, [*arguments, *ASK], cwd=str(place), env=child.environ, dimensions=(24, 100)
    )
    there.expect(r"\d+ of 30 rows, \d+ tokens/s, \d+ s left", timeout=60)
    there.expect("30 rows: `out.jsonl`", timeout=60)
    there.close()


def answers(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_the_real_engine_answers_rows_as_generate_does(
    command: Run, checkpoint: Path, tmp_path: Path
) -> None:
    rows = [{"prompt": f"The {n}", "max_tokens": 3 + n % 5, "temp": n % 2} for n in range(12)]
    rows[3] |= {"regex": "[ab]{2}"}
    rows[4] |= {"prompt": "x " * 2000}
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shared = ("-m", str(checkpoint), "-t", "1", "--dtype", "float32")
    done = command("batch", str(source), "-o", str(output), *shared, script=REAL)
    assert done.code == 6, done
    found = answers(output)
    assert [one["row"] for one in found if "error" in one] == [5]
    for number in (0, 3, 7):
        one, row = found[number], rows[number]
        more = ("--regex", row["regex"]) if "regex" in row else ()
        given = ("-n", str(row["max_tokens"]), "--temp", str(row["temp"]))
        alone = command(
            *("generate", row["prompt"], *shared, *given, *more, "--json"),
            *("--seed", str(one["seed"])),
            script=REAL,
        ).json
        same = ("text", "token_ids", "finish_reason", "prompt_token_ids", "usage", "seed")
        assert [one[name] for name in same] == [alone[name] for name in same]


def test_the_real_engine_after_a_kill(
    run_lmtool: Any, lmtool_environ: dict[str, str], checkpoint: Path, tmp_path: Path, warm: Path
) -> None:
    rows = [{"prompt": f"Row {n}", "max_tokens": 5 + (n * 37) % 40} for n in range(300)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ("batch", "in.jsonl", "-m", str(checkpoint), "-t", "1", "--temp", "1", "--ignore-eos")
    whole = run_lmtool(*given, "-o", "whole.jsonl")
    assert whole.returncode == 0, whole.stderr
    partial = tmp_path / "out.jsonl.partial"
    process = subprocess.Popen(
        [warm, *given, "-o", "out.jsonl"], cwd=tmp_path, env=lmtool_environ, stderr=subprocess.PIPE
    )
    while process.poll() is None and (not partial.exists() or partial.stat().st_size < 30_000):
        time.sleep(0.005)
    process.kill()  # and what runs for it is killed
    process.communicate()
    assert partial.exists(), "it was stopped in the middle"
    again = run_lmtool(*given, "-o", "out.jsonl")
    while b"another run" in again.stderr:
        again = run_lmtool(*given, "-o", "out.jsonl")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
