"""Fetching as a user sees it: a bar on a terminal, one line elsewhere, and Ctrl-C."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from reference.loopback_hub import LoopbackHub
from reference.small_tokenizers import byte_level

ARGUMENTS = ("-m", "lmtool", "tokenize", "-m", "org/words", "-p", "a")


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    """A hub with a tokenizer, beside which lies a file of 1 MB."""
    files = {"tokenizer.json": byte_level().to_str().encode(), "tokenizer.model": bytes(1_000_000)}
    with LoopbackHub({"org/words": files}) as hub:
        yield hub


@pytest.fixture
def environ(hub: LoopbackHub, lmtool_environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    return lmtool_environ | {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "0",
        "TERM": "xterm",
    }


def on_a_terminal(environ: dict[str, str], *more: str) -> pexpect.spawn[str]:
    return pexpect.spawn(
        sys.executable,
        [*ARGUMENTS, *more],
        env=environ,
        encoding="utf-8",
        timeout=30,
        dimensions=(24, 100),
    )


def rest(child: pexpect.spawn[str]) -> str:
    child.expect(pexpect.EOF)
    child.close()
    return child.before or ""


def test_a_bar_on_a_terminal_and_ctrl_c(hub: LoopbackHub, environ: dict[str, str]) -> None:
    hub.slow_s = 0.2
    child = on_a_terminal(environ)
    child.expect(r"fetching org/words: 2 files, 1\.0 MB\r\n")
    child.expect(r"tokenizer\.model .*0\.\d/1\.0 MB.*\d .?B/s.*left: .*\d:\d\d:\d\d")
    child.sendintr()
    said = rest(child)
    assert child.exitstatus == 130
    assert "Traceback" not in said
    assert said.endswith("\x1b[?25h\r\x1b[1A\x1b[2K")  # the cursor is back, the line is clean
    hub.slow_s = 0.0
    child = on_a_terminal(environ | {"NO_COLOR": "1"})
    child.expect(r"fetching org/words: 1 file, 1\.0 MB, [\d.]+ kB of them there already\r\n")
    said = rest(child)
    assert child.exitstatus == 0
    assert not re.search(r"\x1b\[[\d;]*m", said)
    assert hub.requests[-1].headers["range"].startswith("bytes=")
    hub.forbidden = True
    seen = len(hub.requests)
    assert rest(on_a_terminal(environ)) == said.splitlines()[-1].rpartition("\x1b[2K")[2] + "\r\n"
    assert len(hub.requests) == seen


def test_quiet_there_is_nothing_to_see(environ: dict[str, str]) -> None:
    child = on_a_terminal(environ, "-q")
    assert re.fullmatch(r"[\d ]+\r\n", rest(child))


def test_in_a_pipe_one_line_says_it(environ: dict[str, str]) -> None:
    ran = subprocess.run([sys.executable, *ARGUMENTS], env=environ, capture_output=True, timeout=60)
    assert ran.stderr == b"fetching org/words: 2 files, 1.0 MB\n"
    assert re.fullmatch(rb"[\d ]+\n", ran.stdout)
