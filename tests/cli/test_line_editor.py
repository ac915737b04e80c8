"""The prompt of a talk: keys in, entries out, by prompt_toolkit's own pipe for a terminal."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input

from lmtool.cli.entries import Entry, InterruptError
from lmtool.cli.line_editor import LineEditor, Pastes


class Screen(io.StringIO):
    """What is drawn, on no terminal."""

    encoding = "utf-8"  # type: ignore[assignment]

    def fileno(self) -> int:
        raise OSError


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., object]]:
    r"""`typed("hi\r")`: the entry that these keys make, or the exception."""
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    with create_pipe_input() as keys, create_app_session(input=keys):
        editor = LineEditor(screen, tmp_path / "history")

        def run(text: str) -> object:
            # Beside, since a pipe holds no more than 64 KiB.
            Thread(target=keys.send_text, args=(text,), daemon=True).start()
            try:
                return editor.read()
            except (EOFError, InterruptError) as error:
                return error

        run.screen = screen  # type: ignore[attr-defined]
        yield run


def pasted(text: str) -> str:
    return f"\x1b[200~{text}\x1b[201~"


def test_lines_end_and_go_on(typed: Callable[..., object]) -> None:
    assert typed("hi\r") == Entry("hi")
    assert typed("hi\n") == Entry("hi")
    assert typed("one\\\rtwo\r") == Entry("one\ntwo")
    assert typed("one\x1b\rtwo\r") == Entry("one\ntwo")  # Alt-Enter
    assert typed('"""one\r  two\r"""\r') == Entry("one\n  two", literal=True)
    assert typed('"""/help"""\r') == Entry("/help", literal=True)
    assert typed("日本 é 👩‍👧\r") == Entry("日本 é 👩‍👧")
    assert typed("\r") == Entry("")
    assert typed("ab\x7fc\r") == Entry("ac")


def test_control_keys(typed: Callable[..., object]) -> None:
    found = typed("some text\x03")
    assert isinstance(found, InterruptError)
    assert not found.empty
    found = typed("\x03")
    assert isinstance(found, InterruptError)
    assert found.empty
    assert isinstance(typed("\x04"), EOFError)
    assert typed("ab\x01\x04\r") == Entry("b")  # within a line Ctrl-D deletes


def test_lines_come_back(typed: Callable[..., object], tmp_path: Path) -> None:
    assert typed("first\r") == Entry("first")
    assert typed("second\r") == Entry("second")
    time.sleep(0.1)  # the history loads beside
    assert typed("\x1b[A\x1b[A\r") == Entry("first")
    assert typed(pasted("one\n" * 50) + "\r") == Entry("one\n" * 50)
    assert typed("\x1b[A\r") == Entry("one\n" * 50)
    assert (tmp_path / "history").read_text().count("+one") == 50


def test_pastes(typed: Callable[..., object]) -> None:
    assert typed(pasted("one\r\ntwo\rthree") + "\r") == Entry("one\ntwo\nthree")
    text = "\n".join(f"line {number} of many \\" for number in range(10_000))
    began = time.monotonic()
    assert typed("see " + pasted(text) + " and /x\r") == Entry(f"see {text} and /x")
    assert time.monotonic() - began < 5
    assert "[pasted 10,000 lines]" in typed.screen.getvalue()  # type: ignore[attr-defined]
    assert "line 5000" not in typed.screen.getvalue()  # type: ignore[attr-defined]
    wide = "x" * 500_000
    assert typed(pasted(wide) + "\r") == Entry(wide)
    # A paste is one thing to the keys: deleted as a whole, passed by one step.
    assert typed("a" + pasted(text) + "b\x7f\x7fc\r") == Entry("ac")
    assert typed(pasted(text) + pasted(wide) + "\x1b[D-\r") == Entry(f"{text}-{wide}")


def test_stand_ins_are_not_in_what_they_stand_for() -> None:
    pastes = Pastes()
    text = "\U0010f000\U0010f001" * 400
    held = pastes.hold(text)
    assert held not in text
    assert pastes.written_out(f"a{held}b") == f"a{text}b"
    assert pastes.hold("short") == "short"
