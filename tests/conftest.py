"""Binds the name `lmtool` to this checkout, and runs its command line as a user would."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reference import warm_lmtool

ROOT = Path(__file__).resolve().parents[1]


def _bind_checkout() -> None:
    """Make `import lmtool` mean the files beside this suite, whatever is installed."""
    spec = importlib.util.spec_from_file_location(
        "lmtool", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["lmtool"] = module
    spec.loader.exec_module(module)


def _hear_signals() -> None:
    """Undo what a background job or nohup has us ignore: children would ignore it too.

    A command that its parent had ignore Ctrl-C rightly goes on ignoring it; the tests send some.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGHUP", "SIGTERM"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def _share_cores() -> None:
    """Let workers that run side by side, and what they start, not fight for the same cores."""
    workers = os.environ.get("PYTEST_XDIST_WORKER_COUNT")
    # The process that starts the workers reads this file too, and they inherit what it sets.
    if workers is not None:
        cores = os.cpu_count() or 1
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // int(workers))))


_bind_checkout()
_hear_signals()
_share_cores()

RunLmtool = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the checkout: `pyproject.toml` and the package's files lie here."""
    return ROOT


@pytest.fixture(scope="session")
def lmtool_environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment for a child process in which `python -m lmtool` is this checkout.

    The user's own `LMTOOL_*` settings and config file are out of its sight.
    """
    above = tmp_path_factory.mktemp("above")
    (above / "lmtool").symlink_to(ROOT, target_is_directory=True)
    environ = {key: value for key, value in os.environ.items() if not key.startswith("LMTOOL_")}
    # What a caller wishes for colours or paths would change what the tests read.
    for name in ("NO_COLOR", "FORCE_COLOR", "PYTHONSAFEPATH"):
        environ.pop(name, None)
    return environ | {
        "PYTHONPATH": str(above),
        "PYTHONIOENCODING": "utf-8",
        "HF_HUB_OFFLINE": "1",
        "XDG_CONFIG_HOME": str(above / "config"),
    }


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A command that does as `lmtool` does, but has torch imported already."""
    with warm_lmtool.serving(tmp_path_factory.mktemp("warm")) as command:
        yield command


QUICK = ("train-tokenizer", "tokenize", "detokenize", "count", "compare", "models")
"""The commands that need no torch, and have to do without."""


@pytest.fixture
def run_lmtool(
    lmtool_environ: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> RunLmtool:
    """`run_lmtool("count", "a.txt", input=b"…", cwd=…, timeout=…)`: bytes out, never a check.

    A process of its own each time. One that may run a model finds torch imported, unless it is to
    be `fresh` or its environment has orders for Python itself.
    """

    def run(
        *arguments: str | os.PathLike[str],
        input: bytes = b"",
        cwd: Path = tmp_path,
        timeout: float = 120,
        fresh: bool = False,
        **environ: str,
    ) -> subprocess.CompletedProcess[bytes]:
        fresh |= any(name.startswith("PYTHON") for name in environ)
        fresh |= arguments[0] in QUICK or str(arguments[0]).startswith("-")
        started = [sys.executable, "-m", "lmtool"] if fresh else [request.getfixturevalue("warm")]
        return subprocess.run(
            [*started, *arguments],
            input=input,
            cwd=cwd,
            env=lmtool_environ | environ,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    return run
