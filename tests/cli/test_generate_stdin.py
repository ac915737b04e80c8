"""The prompt of `lmtool generate`: stdin, files, escapes, and stdin that never speaks."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from .conftest import Child, Run

Scripted = Callable[..., Child]


def prompt(ran: object) -> str:
    """The text that the engine was asked to continue."""
    return "".join(map(chr, ran.request.ids))  # type: ignore[attr-defined]


def test_stdin_is_the_prompt_where_none_is_given(generate: Run) -> None:
    assert prompt(generate(stdin="昔々\n".encode())) == "昔々"


def test_stdin_comes_before_the_prompt_and_a_blank_line(generate: Run) -> None:
    assert prompt(generate("What is it?", stdin=b"A fox.\n")) == "A fox.\n\nWhat is it?"


def test_empty_stdin_adds_nothing(generate: Run) -> None:
    assert prompt(generate("What is it?", stdin=b"")) == "What is it?"


def test_no_stdin_leaves_it_alone(generate: Run) -> None:
    assert prompt(generate("Once", "--no-stdin", stdin=b"A fox.")) == "Once"


def test_files_come_in_their_order_before_the_prompt(generate: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\n")
    (tmp_path / "b").write_text("two\n\n")
    ran = generate("three", "-f", str(tmp_path / "a"), "--file", str(tmp_path / "b"))
    assert prompt(ran) == "one\n\ntwo\n\n\nthree"
    ran = generate("-f", str(tmp_path / "a"), stdin=b"zero")
    assert prompt(ran) == "zero\n\none"


def test_dash_puts_stdin_among_the_files(generate: Run, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    ran = generate("-f", str(tmp_path / "a"), "-f", "-", "three", stdin=b"two\n")
    assert prompt(ran) == "one\n\ntwo\n\nthree"


@pytest.mark.parametrize(
    ("text", "kept"), [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a"), ("\ta ", "\ta ")]
)
def test_one_final_newline_is_dropped_unless_exact(
    generate: Run, tmp_path: Path, text: str, kept: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(text.encode())
    assert prompt(generate("-f", str(path))) == kept
    assert prompt(generate("-f", str(path), "--exact")) == text
    assert prompt(generate(stdin=text.encode())) == kept
    assert prompt(generate("--exact", stdin=text.encode())) == text


def test_argument_keeps_its_newline(generate: Run) -> None:
    assert prompt(generate("a\n")) == "a\n"


def test_escapes_are_read_only_when_asked(generate: Run, tmp_path: Path) -> None:
    text = r"a\tb\n\x41\xe3\x81\x82\u3042\U0001F98A\\n\q\"\0"
    assert prompt(generate(text)) == text
    assert prompt(generate(text, "-e")) == 'a\tb\nAああ🦊\\n\\q"\0'
    (tmp_path / "a").write_text(r"\n")
    assert prompt(generate("-e", "-f", str(tmp_path / "a"))) == r"\n"
    assert generate("x", "--escape", "--stop", r"\n").request.stop.texts == ("\n",)
    assert generate("x", "--stop", r"\n").request.stop.texts == (r"\n",)


def test_escape_that_is_no_utf8_is_an_error(generate: Run) -> None:
    generate(r"ab\xff", "-e").fails(4, "the prompt is not UTF-8: byte 0xff at offset 2")
    generate(r"\ud800", "-e").fails(4, r"`\ud800` is not a character")


def test_bytes_that_are_no_utf8_are_named(generate: Run, tmp_path: Path) -> None:
    generate(stdin=b"abc\xff").fails(4, "stdin is not UTF-8", "0xff at offset 3")
    path = tmp_path / "latin1.txt"
    path.write_bytes("naïve".encode("latin1"))
    generate("-f", str(path)).fails(4, f"`{path}` is not UTF-8", "0xef at offset 2")
    generate("caf\udce9").fails(4, "the prompt is not UTF-8", "0xe9 at offset 3")
    generate("x", "--stop", "\udcff").fails(4, "--stop is not UTF-8")


def test_nothing_to_continue_is_an_error(generate: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    generate(stdin=b"").fails(4, "the prompt is empty")
    generate("").fails(4, "the prompt is empty")
    generate("-f", str(tmp_path / "empty")).fails(4, "the prompt is empty")
    assert generate("", "--bos", "on").request.ids == (1,)


def test_a_file_that_cannot_be_read_is_named(generate: Run, tmp_path: Path) -> None:
    generate("-f", str(tmp_path / "none")).fails(4, f"`{tmp_path}/none`", "No such file")
    generate("-f", str(tmp_path)).fails(4, f"`{tmp_path}`", "Is a directory")


def test_prompts_that_contradict_are_usage_errors(generate: Run) -> None:
    generate("x", "-p", "y").fails(2, "given twice")
    generate("x", "--token-ids", "1").fails(2, "--token-ids")
    generate("-f", "-", "-f", "-").fails(2, "stdin can be read only once")
    generate("-f", "-", "--no-stdin").fails(2, "--no-stdin")
    generate("--no-stdin").fails(2, "no prompt")
    generate("Once", "upon").fails(2, "upon", "quotes")


@pytest.mark.parametrize("ids", ["1,x", "1.5", "-1", "1 0x2", "¹"])
def test_bad_token_id_is_named(generate: Run, ids: str) -> None:
    bad = ids.replace(",", " ").split()[-1]
    generate(f"--token-ids={ids}").fails(4, f"`{bad}` in --token-ids is not a token id")


def test_silent_pipe_is_left_out_and_said(scripted: Scripted) -> None:
    process = scripted().start("generate", "Once", "--echo", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.wait(30) == 0  # while its stdin is still open
    out, err = process.communicate()
    assert out == b"Once there was a fox"
    assert err == b"stdin is silent: going on without it (--stdin waits for it)\n"


def test_silent_socket_is_left_out_too(scripted: Scripted) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ran = scripted().run("generate", "Once", "--echo", stdin=theirs)
    assert ran.stdout == b"Once there was a fox"


def test_pipe_that_speaks_before_the_model_is_there_counts(scripted: Scripted) -> None:
    child = scripted(load_s=1.0)
    process = child.start("generate", "Once", "--echo", stdin=subprocess.PIPE)
    assert process.stdin is not None
    child.reached("loading")
    process.stdin.write(b"A f")
    process.stdin.flush()
    time.sleep(1.5)  # begun in time, so that it is waited for
    out, err = process.communicate(b"ox.\n")
    assert (out, err) == (b"A fox.\n\nOnce there was a fox", b"")


def test_stdin_option_waits_for_a_silent_pipe(scripted: Scripted) -> None:
    child = scripted()
    process = child.start("generate", "Once", "--echo", "--stdin", stdin=subprocess.PIPE)
    child.reached("loading")
    time.sleep(0.5)
    out, _ = process.communicate(b"A fox.")
    assert out == b"A fox.\n\nOnce there was a fox"


def test_stdin_is_waited_for_where_it_is_the_prompt(scripted: Scripted) -> None:
    child = scripted()
    process = child.start("generate", "--echo", stdin=subprocess.PIPE)
    child.reached("loading")
    time.sleep(0.5)
    out, _ = process.communicate(b"A fox.")
    assert out == b"A fox. there was a fox"


def test_pipe_that_nobody_made_blocking_is_read(scripted: Scripted) -> None:
    read, write = os.pipe()
    os.set_blocking(read, False)
    child = scripted()
    process = child.start("generate", "--echo", stdin=read)
    child.reached("loading")
    os.write(write, b"A fox.")
    os.close(write)
    assert process.communicate()[0] == b"A fox. there was a fox"
    os.close(read)


def test_dev_null_and_closed_stdin_work(scripted: Scripted) -> None:
    ran = scripted().run("generate", "Once", stdin=subprocess.DEVNULL)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b" there was a fox", b"")
    shell = ["sh", "-c", '"$@" <&-', "sh"]
    child = scripted()
    for arguments, code, out in (
        (("generate", "Once"), 0, b" there was a fox"),
        (("generate",), 2, b""),
    ):
        ran = subprocess.run(
            [*shell, *child.command, *arguments],
            env=child.environ,
            capture_output=True,
            check=False,
        )
        assert (ran.returncode, ran.stdout) == (code, out)
    assert ran.stderr.startswith(b"error: no prompt, and stdin is closed")


def test_typed_prompt_is_asked_for(scripted: Scripted) -> None:
    child = scripted()
    talk = pexpect.spawn(
        child.command[0], [*child.command[1:], "generate", "--echo"], env=child.environ, timeout=30
    )
    talk.expect_exact("reading the prompt from stdin, Ctrl-D ends\r\n")
    talk.sendline("Once")
    talk.sendeof()
    talk.expect(pexpect.EOF)
    assert talk.before.endswith(b"Once there was a fox\r\n")


def test_terminal_is_not_read_beside_a_prompt(scripted: Scripted) -> None:
    child = scripted()
    talk = pexpect.spawn(child.command[0], [*child.command[1:], "generate", "x"], env=child.environ)
    talk.expect(pexpect.EOF, timeout=30)
    assert talk.before == b" there was a fox\r\n"
