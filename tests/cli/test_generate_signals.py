"""How `lmtool generate` ends early: Ctrl-C, SIGTERM, closed pipes, --timeout, full disks."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from lmtool.cli import entry

from .conftest import Child

Scripted = Callable[..., Child]
ENDLESS = {"endless": True, "token_s": 0.05}


def read_some(process: subprocess.Popen[bytes]) -> bytes:
    """What the process has on stdout first: it is decoding now."""
    assert process.stdout is not None
    return os.read(process.stdout.fileno(), 1 << 16)


def ends_at_once(process: subprocess.Popen[bytes], within: float = 10) -> tuple[bytes, bytes]:
    """The rest of stdout and stderr of a process that ends soon."""
    return process.communicate(timeout=within)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signal_leaves_the_text_and_says_nothing(
    scripted: Scripted, number: signal.Signals, code: int
) -> None:
    process = scripted(**ENDLESS).start("generate", "x", "-n", "-1")
    begun = read_some(process)
    process.send_signal(number)
    out, err = ends_at_once(process)
    assert (process.returncode, err) == (code, b"")
    assert (b" there was a fox" * 50).startswith(begun + out)


@pytest.mark.parametrize("script", [{"load_s": 60}, {"token_s": 60}], ids=["loading", "prefill"])
def test_interrupt_before_the_first_token(scripted: Scripted, script: dict[str, float]) -> None:
    child = scripted(**script)
    process = child.start("generate", "x")
    child.reached("loading" if "load_s" in script else "token")
    process.send_signal(signal.SIGINT)
    assert ends_at_once(process) == (b"", b"")
    assert process.returncode == 130


def test_interrupt_while_waiting_for_stdin(scripted: Scripted) -> None:
    child = scripted()
    process = child.start("generate", stdin=subprocess.PIPE)
    child.reached("loading")
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert process.communicate() == (b"", b"")


def test_interrupt_inside_a_long_computation(scripted: Scripted) -> None:
    child = scripted(token_s=0.1, stubborn=True)
    process = child.start("generate", "x")
    child.reached("token")
    process.send_signal(signal.SIGINT)
    assert ends_at_once(process) == (b"", b"")
    assert process.returncode == 130


def test_interrupt_that_a_library_swallows(scripted: Scripted) -> None:
    child = scripted(load_s=20, deaf=True)
    process = child.start("generate", "x")
    child.reached("loading")
    process.send_signal(signal.SIGINT)
    assert ends_at_once(process) == (b"", b"")
    assert process.returncode == 130


def test_interrupt_while_python_starts(scripted: Scripted) -> None:
    """At any moment: no traceback, and never more than the signal's own exit code."""
    for delay in (0.05, 0.1, 0.15, 0.2):
        process = scripted(load_s=60).start("generate", "x")
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, err = ends_at_once(process)
        # Before our first line runs, the interpreter itself answers.
        if process.returncode == 130:
            assert err == b""


def test_interrupt_with_full_pipe(scripted: Scripted) -> None:
    script = {"texts": [["x" * 100_000]], "endless": True}
    child = scripted(**script)
    process = child.start("generate", "x", "-n", "-1")
    child.reached("token")  # nobody reads, so that it is stuck in a write
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    process.communicate()


def test_ctrl_c_on_a_terminal_ends_the_line(scripted: Scripted) -> None:
    child = scripted(**ENDLESS)
    arguments = [*child.command[1:], "generate", "x", "-n", "-1"]
    talk = pexpect.spawn(child.command[0], arguments, env=child.environ, timeout=30, echo=False)
    talk.expect_exact(" there")
    talk.sendintr()
    talk.expect(pexpect.EOF)
    talk.close()
    assert talk.exitstatus == 130
    assert talk.before.endswith(b"\r\n")
    assert b"Traceback" not in talk.before


def test_ignored_interrupt_stays_ignored(scripted: Scripted) -> None:
    """As in `lmtool … &` from a script: a Ctrl-C meant for another command must not end it."""
    child = scripted(token_s=0.2)
    process = subprocess.Popen(  # the shell's trap is inherited
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *child.command, "generate", "x"],
        env=child.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    begun = os.read(process.stdout.fileno(), 100)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, begun + out) == (0, b" there was a fox")


def test_closed_pipe_ends_quietly(scripted: Scripted) -> None:
    process = scripted(endless=True).start("generate", "x", "-n", "-1")
    assert process.stdout is not None
    assert os.read(process.stdout.fileno(), 100)
    process.stdout.close()
    assert process.wait(10) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""


def test_head_and_tee_do_what_they_look_like(scripted: Scripted, tmp_path: Path) -> None:
    child = scripted(endless=True, token_s=0.001)
    command = " ".join(child.command)
    line = f"echo hi | {command} generate -n 60 | tee out.txt | head -c 40"
    ran = subprocess.run(
        line, shell=True, env=child.environ, cwd=tmp_path, capture_output=True, check=True
    )
    assert ran.stdout == (b" there was a fox" * 3)[:40]
    assert ran.stderr == b""


def test_timeout_keeps_the_text(scripted: Scripted) -> None:
    ran = scripted(**ENDLESS).run("generate", "x", "-n", "-1", "--timeout", "3")
    assert (ran.returncode, ran.stderr) == (124, b"")
    assert ran.stdout.startswith(b" there was a fox")


def test_timeout_is_the_finish_reason(scripted: Scripted, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    child = scripted(**ENDLESS)
    ran = child.run("generate", "x", "--json", "--timeout", "3", "-o", str(path))
    assert ran.returncode == 124
    assert '"finish_reason": "timeout"' in path.read_text()


@pytest.mark.parametrize(
    "script",
    [{"load_s": 60}, {"token_s": 60, "stubborn": True}],
    ids=["loading", "computing"],
)
def test_timeout_before_the_first_token_is_an_error(
    scripted: Scripted, script: dict[str, float]
) -> None:
    ran = scripted(**script).run("generate", "x", "--timeout", "0.7")
    assert (ran.returncode, ran.stdout) == (124, b"")
    assert ran.stderr == b"error: timed out; give --timeout more seconds\n"


def test_interrupted_output_file_is_kept_beside(scripted: Scripted, tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    child = scripted(**ENDLESS)
    process = child.start("generate", "x", "-n", "-1", "-o", str(path))
    child.reached("token", times=3)
    process.send_signal(signal.SIGINT)
    out, err = ends_at_once(process)
    partial = tmp_path / "out.txt.partial"
    assert (process.returncode, out) == (130, b"")
    assert err.decode() == f"interrupted: what was written so far is in `{partial}`\n"
    assert path.read_text() == "old"
    assert partial.read_text().startswith(" there was")
    assert {entry.name for entry in tmp_path.iterdir()} == {"out.txt", "out.txt.partial"}


def test_interrupted_json_leaves_no_half_document(scripted: Scripted, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    child = scripted(**ENDLESS)
    process = child.start("generate", "x", "--json", "-n", "-1", "-o", str(path))
    child.reached("token", times=3)
    process.send_signal(signal.SIGINT)
    assert ends_at_once(process) == (b"", b"")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_one_line_and_leaves_nothing(scripted: Scripted, tmp_path: Path) -> None:
    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    path = tmp_path / "out.txt"
    path.write_text("old")
    child = scripted(texts=[["x" * 2000]])
    ran = child.run("generate", "x", "-o", str(path), preexec_fn=no_room)
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert ran.stderr.startswith(f"error: cannot write `{path}`: ".encode())
    assert ran.stderr.count(b"\n") == 1
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_device_is_one_line(scripted: Scripted) -> None:
    child = scripted()
    ran = child.run("generate", "x", "-o", "/dev/full")
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert ran.stderr == b"error: cannot write `/dev/full`: No space left on device\n"
    with Path("/dev/full").open("wb") as full:
        ran = child.run("generate", "x", stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert (ran.returncode, ran.stderr) == (
        1,
        b"error: cannot write to stdout: No space left on device\n",
    )


def test_closed_streams_do_no_harm(scripted: Scripted) -> None:
    child = scripted()
    for closed, code, out in ((">&-", 1, b""), ("2>&-", 0, b" there was a fox")):
        ran = subprocess.run(
            ["sh", "-c", f'"$@" {closed}', "sh", *child.command, "generate", "x", "--no-stdin"],
            env=child.environ,
            capture_output=True,
            check=False,
        )
        assert (ran.returncode, ran.stdout) == (code, out)
    assert ran.stderr == b""


def test_the_way_out_knows_closed_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python has None in the place of streams that were closed before it began."""
    codes: list[int] = []
    monkeypatch.setattr(entry, "_run", lambda: 124)
    monkeypatch.setattr(entry.os, "_exit", codes.append)
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    entry.main()
    assert codes == [124]
