"""The command line as a whole: help pages, what they import, and commands that aren't there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from lmtool.cli.app import COMMANDS, run

RunLmtool = Callable[..., "subprocess.CompletedProcess[bytes]"]
HEAVY = (
    "torch",
    "tokenizers",
    "huggingface_hub",
    "numpy",
    "lmtool.engine.session",
    "lmtool.tokenizer",
)


def imported_by(lmtool_environ: dict[str, str], *arguments: str) -> set[str]:
    """The modules that are loaded when a command line is done."""
    code = (
        "import sys; from lmtool.cli.app import run; run(sys.argv[1:]); "
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=lmtool_environ,
        capture_output=True,
        check=True,
    )
    return set(ran.stderr.decode().split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["generate", "--help"]])
def test_help_imports_nothing_heavy(lmtool_environ: dict[str, str], arguments: list[str]) -> None:
    modules = imported_by(lmtool_environ, *arguments)
    assert not [name for name in HEAVY if name in modules]
    if len(arguments) == 1:
        assert not [name for name in modules if name.startswith("lmtool.cli.commands.")]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_page_lists_each_command_with_its_own_first_line(name: str) -> None:
    function = getattr(COMMANDS[name].load(), name.replace("-", "_"))
    first = " ".join(function.__doc__.split("\n\n")[0].split())
    assert COMMANDS[name].help == first


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_help_page(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    for flag in ("-h", "--help"):
        assert run([name, flag]) == 0
        caught = capfd.readouterr()
        assert f"Usage: lmtool {name} " in caught.out
        assert caught.err == ""


def test_no_command_shows_the_help_page(capfd: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "train-tokenizer" in capfd.readouterr().out


def test_version_is_the_package_s(capfd: pytest.CaptureFixture[str]) -> None:
    import lmtool

    assert run(["--version"]) == 0
    assert capfd.readouterr().out == f"lmtool {lmtool.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["nosuch"], ["no such command 'nosuch'", "`lmtool --help`"]),
        (["genrate"], ["no such command 'genrate'", "Did you mean 'generate'?"]),
        (["--nosuch"], ["no such option: --nosuch"]),
    ],
)
def test_unknown_command_is_one_line(
    capfd: pytest.CaptureFixture[str], arguments: list[str], parts: list[str]
) -> None:
    assert run(arguments) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n"), err[:7]) == ("", 1, "error: ")
    for part in parts:
        assert part in err


def test_reader_of_a_help_page_may_go(lmtool_environ: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "lmtool", "generate", "--help"],
        env=lmtool_environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(30) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""


def test_bug_is_one_line_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("lmtool.cli.commands.generate.open_session", broken)
    assert run(["generate", "x", "--no-stdin"]) == 1
    assert capfd.readouterr().err == (
        "error: unexpected RuntimeError: two lines; "
        "this is a bug in lmtool; `--debug` shows where\n"
    )
