"""The processes that count words for `lmtool train-tokenizer`, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LINES = b"the old lighthouse keeper looked at the sea\n" * 150_000


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_processes_end_with_the_one_that_started_them(
    lmtool_environ: dict[str, str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lmtool", "train-tokenizer", "-o", "made", "--threads", "2"],
        cwd=tmp_path,
        env=lmtool_environ | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    # More than the first process counts alone; then it waits for more to come.
    process.stdin.write(LINES)
    process.stdin.flush()
    until = time.monotonic() + 20
    while len(workers := children(process.pid)) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (code, b"", b"")
    assert len(workers) == 2
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < until:
        time.sleep(0.02)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    assert list(tmp_path.iterdir()) == []


def test_bad_bytes_are_told_by_file(run_lmtool, tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"{number}.txt").write_bytes(b"some text\n" * 9 + b"\xff\xfe")
    how = ("--vocab-size", "280", "--errors")
    done = run_lmtool("train-tokenizer", "*.txt", "-o", "a", *how, "skip")
    assert done.returncode == 0
    warned = [line for line in done.stderr.decode().splitlines() if "UTF-8" in line]
    first = "warning: `0.txt` is not UTF-8: 2 bytes left out, the first at offset 90, line 10"
    assert warned[0] == first
    assert warned[5:] == ["warning: 2 more files are not UTF-8: 4 bytes left out in them"]
    done = run_lmtool("train-tokenizer", "0.txt", "-o", "b", *how, "replace")
    assert b"`0.txt` is not UTF-8: 2 U+FFFD put in, the first at offset 90" in done.stderr
    done = run_lmtool("train-tokenizer", "0.txt", "-o", "c", *how, "strict")
    assert (done.returncode, (tmp_path / "c").exists()) == (4, False)


@pytest.mark.skipif(sys.platform == "win32", reason="sets a limit of POSIX")
def test_a_disk_that_takes_no_more_is_one_line(
    lmtool_environ: dict[str, str], tmp_path: Path
) -> None:
    import resource

    (tmp_path / "a.txt").write_text("the old lighthouse keeper\n" * 99)
    done = subprocess.run(
        [sys.executable, "-m", "lmtool", "train-tokenizer", "a.txt", "-o", "below/made"],
        cwd=tmp_path,
        env=lmtool_environ,
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )
    assert done.returncode == 1
    assert done.stderr == b"error: cannot write `below/made/tokenizer.json`: File too large\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


UNGUARDED = """
import sys
from pathlib import Path
from lmtool import LmtoolError
from lmtool.tokenizer.corpus import Corpus
from lmtool.tokenizer.recipe import Recipe
from lmtool.tokenizer.training import workers
from lmtool.tokenizer.training.train import Effort, train
workers._can_fork = lambda: False
print("begun", flush=True)
try:
    train(Corpus((Path("a.txt"),)), Recipe(vocab_size=300), Effort(threads=2))
except LmtoolError as error:
    sys.exit(f"{error.message}; {error.hint}")
"""


def test_a_program_without_a_guard_is_told_so_and_ends(
    lmtool_environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_bytes(LINES)
    (tmp_path / "unguarded.py").write_text(UNGUARDED)
    done = subprocess.run(
        [sys.executable, "unguarded.py"],
        cwd=tmp_path,
        env=lmtool_environ,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    # The processes came as far as the parent did, and no further, if they weren't ended before.
    assert 2 <= len(done.stdout.splitlines()) <= 3
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("the program that trains is run again by each process that it starts; ")
    assert '`if __name__ == "__main__":`' in line
