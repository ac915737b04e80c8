"""`lmtool batch --ray` with a real cluster: the same bytes, whatever dies of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reference.ray_cluster import cluster_of

from .conftest import REAL, Run

ROWS = 240


class Job:
    """A job that a cluster has."""

    def __init__(self, folder: Path, model: Path, environ: dict[str, str], *where: str) -> None:
        self.folder = folder
        self.arguments = ["in.jsonl", "-o", "out.jsonl", "-n", "40", "-m", str(model)]
        self._environ = environ
        self._where = where

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "lmtool", "batch", *self.arguments, *self._where],
            env=self._environ,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def wait(self, process: subprocess.Popen[bytes], rows: int) -> None:
        """Until so many rows have an answer."""
        partial = self.folder / "out.jsonl.partial"
        for _ in range(12_000):
            if partial.exists() and partial.read_bytes().count(b"\n") > rows:
                return
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        raise AssertionError("nobody answers")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [json.dumps({"prompt": f"row {n}", "id": n, "temp": n % 2}) for n in range(ROWS)]
    rows[7:9] = ["no JSON", '{"id": "no prompt"}']
    (tmp_path / "in.jsonl").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_same_bytes_whatever_dies(
    command: Run, checkpoint: Path, folder: Path, lmtool_environ: dict[str, str]
) -> None:
    with cluster_of(2, lmtool_environ) as cluster:
        job = Job(folder, checkpoint, cluster.environ, "--ray", cluster.address)
        killed = job.start()
        job.wait(killed, 20)
        killed.kill()
        killed.communicate()

        last = job.start()
        job.wait(last, 60)
        os.kill(cluster.workers()[0], signal.SIGKILL)
        job.wait(last, 120)
        cluster.lose_a_node()
        out, said = last.communicate(timeout=120)
    assert (last.returncode, out) == (6, b""), said
    assert said.count(b"\n") == 1
    assert b"240 rows, 2 of them failed: `out.jsonl`; " in said
    alone = [argument.replace("out.jsonl", "alone.jsonl") for argument in job.arguments]
    assert command("batch", *alone, script=REAL).code == 6
    assert (folder / "out.jsonl").read_bytes() == (folder / "alone.jsonl").read_bytes()


def test_a_cluster_for_one_job_ends_with_it(
    checkpoint: Path, folder: Path, lmtool_environ: dict[str, str]
) -> None:
    environ = lmtool_environ | {"RAY_AUTH_MODE": "disabled"}
    job = Job(folder, checkpoint, environ, "--ray", "local")
    stopped = job.start()
    job.wait(stopped, 5)
    stopped.send_signal(signal.SIGTERM)
    out, said = stopped.communicate(timeout=60)
    assert (stopped.returncode, out) == (143, b""), said
    assert said.count(b"\n") == 1
    assert b"of 240 rows are answered in `out.jsonl.partial`; the same command goes on" in said
    assert (folder / "out.jsonl.partial").read_bytes().endswith(b"\n")
