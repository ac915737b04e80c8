"""Commands whose model several processes share."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

from .conftest import Run

STORES: list[TCPStore] = []


def start(environ: dict[str, str], *arguments: str) -> list[subprocess.Popen[bytes]]:
    """Two processes as torchrun starts them, without its own few seconds.

    As with torchrun, the store in which they leave word outlives them.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    STORES.append(store)
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": "2"}
    shared |= {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "lmtool", *arguments],
            env=environ | shared | {"RANK": rank, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in ("0", "1")
    ]


def ends(processes: list[subprocess.Popen[bytes]]) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each."""
    said = [process.communicate(timeout=60) for process in processes]
    pairs = zip(processes, said, strict=True)
    return [(process.returncode, out.decode(), err.decode()) for process, (out, err) in pairs]


def test_torchrun_says_what_one_process_says(
    real: Run, checkpoint: Path, lmtool_environ: dict[str, str]
) -> None:
    asked = ("-m", str(checkpoint), "-n", "12", "--temp", "0", "--format", "json")
    alone = real("Once", *asked).json
    torchrun = Path(sys.executable).with_name("torchrun")
    ran = subprocess.run(
        [str(torchrun), "--nproc-per-node", "2", "-m", "lmtool", "generate", *asked],
        env=lmtool_environ,
        input=b"Once",
        capture_output=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["token_ids"] == alone["token_ids"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["generate", "x", "-m", "/nowhere"], 3, "error: no such file or folder: `/nowhere`"),
        (["explain", "x", "-m", "{}"], 2, "error: looking into a model layer by layer doesn't"),
    ],
)
def test_an_error_is_said_once_and_ends_all(
    checkpoint: Path, lmtool_environ: dict[str, str], arguments: list[str], code: int, said: str
) -> None:
    arguments = [argument.format(checkpoint) for argument in arguments]
    first, other = ends(start(lmtool_environ, *arguments))
    assert first[:2] == (code, "")
    assert first[2].startswith(said)
    assert first[2].count("\n") == 1
    assert other == (code, "", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, 1), (signal.SIGINT, 130)])
def test_who_goes_takes_the_others_along(
    checkpoint: Path, lmtool_environ: dict[str, str], number: signal.Signals, code: int
) -> None:
    """Killed, the second one; interrupted, the first."""
    asked = (
        "Once",
        "-m",
        str(checkpoint),
        "-n",
        "400",
        "--temp",
        "0",
        "--ignore-eos",
        "--overflow",
        "shift",
    )
    processes = start(lmtool_environ, "generate", *asked)
    assert processes[0].stdout is not None
    processes[0].stdout.read(20)  # it is under way
    processes[number == signal.SIGKILL].send_signal(number)
    first, other = ends(processes)
    assert first[0] == code
    if number == signal.SIGKILL:
        assert first[2].startswith("error: another process of this model has ended")
        assert first[2].count("\n") == 1
    else:
        assert other == (130, "", "")
