"""`lmtool chat` at a terminal of its own: the prompt, Ctrl-C, Ctrl-D, windows, pastes, signals."""

from __future__ import annotations

import os
import re
import signal
import stat
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from reference import chats

from .conftest import Child, Make

Start = Callable[..., pexpect.spawn]
ENDLESS = {"endless": True, "token_s": 0.03}
PROMPT = r">\x08?[^\n]*\x1b\[\?25h"
"""The editor's, drawn and waiting."""


@pytest.fixture
def start(scripted: Callable[..., Child], tmp_path: Path) -> Start:
    """`start(endless=True)`: a talk with a scripted model, at its prompt."""

    def begin(*arguments: str, term: str = "xterm", **script: object) -> pexpect.spawn:
        folder = chats.save_chat_tokenizer(tmp_path / "talker", chats.TEMPLATES["chatml"])
        child = scripted(talker=str(folder), **{"context": 200_000, **script})
        environ = child.environ | {"TERM": term, "XDG_STATE_HOME": str(tmp_path / "state")}
        at = pexpect.spawn(
            child.command[0],
            [*child.command[1:], "chat", *arguments],
            env=environ,
            encoding="utf-8",
            timeout=30,
            dimensions=(24, 100),
            cwd=str(tmp_path),
        )
        at.delaybeforesend = 0
        at.expect("/help lists commands")
        at.expect(PROMPT if term != "dumb" else "> ")
        return at

    return begin


def ends(at: pexpect.spawn, code: int) -> str:
    """The talk ends with `code`; what it said to the end."""
    at.expect(pexpect.EOF)
    at.close()
    assert at.exitstatus == code
    return str(at.before)


def is_plain(at: pexpect.spawn) -> bool:
    """Whether the terminal echoes and reads lines, as a shell wants it."""
    flags = termios.tcgetattr(at.child_fd)[3]
    return bool(flags & termios.ECHO) and bool(flags & termios.ICANON)


def test_a_talk(start: Start, tmp_path: Path) -> None:
    at = start()
    at.send("hello\r")
    at.expect("there was a fox")
    at.expect(PROMPT)
    at.send("\x1b[200~one\ntwo\x1b[201~\r")
    at.expect("there was a fox")
    at.expect(PROMPT)
    at.send("/sav x\r")
    at.expect("did you mean /save")
    at.expect(PROMPT)
    at.send("/save talk.json\r")
    at.expect("4 messages in `talk.json`")
    at.expect(PROMPT)
    at.send("\x04")
    ends(at, 0)
    history = tmp_path / "state" / "lmtool" / "chat_history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "+hello\n" in history.read_text()
    assert "+one\n+two\n" in history.read_text()

    at = start("--no-history", "--load", "talk.json")
    at.send("/exit\r")
    ends(at, 0)
    assert "/exit" not in history.read_text()


def test_ctrl_c_stops_the_answer_and_keeps_the_talk(start: Start, tmp_path: Path) -> None:
    at = start("-n", "-1", **ENDLESS)
    at.send("go on\r")
    at.expect("fox there was")
    assert is_plain(at)
    at.sendintr()
    at.expect(r"\r\nstopped; what there is of the answer stays")
    at.expect(PROMPT)
    at.send("/save cut.json\r")
    at.expect("2 messages in")
    saved = (tmp_path / "cut.json").read_text()
    assert '"finish_reason": "cut"' in saved
    assert "fox there was" in saved
    at.expect(PROMPT)
    at.send("again\r")
    at.expect("fox there was")
    at.kill(signal.SIGINT)
    at.expect("stopped; what there is")
    at.expect(PROMPT)
    at.send("\x03")
    at.expect("Ctrl-C again, Ctrl-D or /exit leaves")
    at.expect(PROMPT)
    at.send("text\x03")  # clears the line, so that the next is the first again
    at.expect(PROMPT)
    at.send("\x03")
    at.expect("Ctrl-C again")
    at.expect(PROMPT)
    at.send("\x03")
    ends(at, 130)


def test_ctrl_c_before_the_answer_takes_the_message_back(start: Start, tmp_path: Path) -> None:
    at = start(token_s=30)
    at.send("hello\r")
    time.sleep(0.5)
    at.sendintr()
    at.expect("stopped before the answer began: the message is taken back")
    at.expect(PROMPT)
    at.send("/save none.json\r")
    at.expect("0 messages in")
    at.expect(PROMPT)
    at.sendeof()
    ends(at, 0)


def test_windows_change_and_are_tiny(start: Start) -> None:
    at = start(token_s=0.05)
    for columns in (20, 3, 1, 60):
        at.setwinsize(6, columns)
        time.sleep(0.15)
        at.send("word " * 8)
    at.send("\x1b[200~" + "long line\n" * 20 + "\x1b[201~")
    at.setwinsize(24, 80)
    time.sleep(0.15)
    at.send("\r")
    at.expect(" there")
    at.setwinsize(10, 20)  # in the middle of an answer
    at.expect(r"was a fox\r\n")
    at.expect(PROMPT)
    at.send("\x04")
    ends(at, 0)


def test_a_large_paste_is_one_message(start: Start) -> None:
    at = start()
    text = "\n".join(f"line {number}" for number in range(10_000))
    began = time.monotonic()
    at.send(f"\x1b[200~{text}\x1b[201~")
    at.expect("pasted 10,000 lines")
    at.send("\r")
    at.expect(r"there was a fox\r\n")
    assert time.monotonic() - began < 20
    at.expect(PROMPT)
    at.send("/exit\r")
    ends(at, 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_at_the_prompt_end_it_without_a_word(
    start: Start, number: signal.Signals, code: int
) -> None:
    at = start()
    assert not is_plain(at)
    before = time.monotonic()
    at.kill(number)
    said = ends(at, code)
    assert time.monotonic() - before < 5
    assert "Traceback" not in said


def test_a_plain_terminal(start: Start) -> None:
    at = start(term="dumb", **ENDLESS)
    assert is_plain(at)
    at.sendline('"""one')
    at.expect(r"\. ")
    at.sendline('two"""')
    at.expect("fox there was")
    at.sendintr()
    at.expect("stopped; what there is")
    at.expect("> ")
    at.sendintr()
    at.expect("Ctrl-C again")
    at.expect("> ")
    at.sendeof()
    assert "\x1b" not in ends(at, 0)


def test_stdout_is_for_answers_alone(start: Start, tmp_path: Path) -> None:
    """With stdout in a file the prompt is still drawn, on stderr."""
    script = tmp_path / "run"
    out = tmp_path / "out.txt"
    at = start()
    command = [arg.decode() if isinstance(arg, bytes) else arg for arg in at.args]
    environ = at.env
    at.send("\x04")
    ends(at, 0)
    script.write_text(f'exec "$@" > "{out}"\n')
    at = pexpect.spawn(
        "sh", [str(script), sys.executable, *command[1:]], env=environ, encoding="utf-8", timeout=30
    )
    at.expect(PROMPT)
    at.send("hello\r")
    at.expect(PROMPT)
    at.send("\x04")
    said = ends(at, 0)
    assert "fox" not in said
    assert out.read_text() == " there was a fox\n"


def test_the_installed_command_talks(
    chatty: Make, lmtool_environ: dict[str, str], tmp_path: Path
) -> None:
    """The real engine, as a user starts it: two turns, of which the second reads only its own."""
    at = pexpect.spawn(
        sys.executable,
        ["-m", "lmtool", "chat", "-m", str(chatty("chatml")), "-n", "6", "-v", "-t", "1"],
        env={**lmtool_environ, "TERM": "xterm", "XDG_STATE_HOME": str(tmp_path)},
        encoding="utf-8",
        timeout=60,
        dimensions=(24, 120),
        codec_errors="replace",
    )
    at.expect("/help lists commands")
    at.expect(PROMPT)
    at.send("a rather long message, which is not read twice by the model\r")
    at.expect(r"prompt: (\d+) read, 0 reused")
    first = int(at.match[1])
    at.expect(PROMPT)
    at.send("b\r")
    at.expect(r"prompt: (\d+) read, (\d+) reused")
    read, reused = map(int, at.match.groups())
    assert first <= reused <= first + 6
    assert read < first
    at.expect(PROMPT)
    at.send("\x04")
    ends(at, 0)
    assert re.match(r"# |\n# ", (tmp_path / "lmtool" / "chat_history").read_text())
    assert os.listdir(tmp_path / "lmtool") == ["chat_history"]
