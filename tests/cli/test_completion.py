"""Shell completion: what Tab gives, by the protocol of each shell and in a real bash."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from lmtool.cli.app import run
from lmtool.cli.completion import tidy_words

Complete = Callable[..., list[str]]


@pytest.fixture
def complete(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Complete:
    """`complete("generate", "--te")`: what bash is told for a line that ends in `--te`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))

    def ask(*words: str) -> list[str]:
        monkeypatch.setenv("_LMTOOL_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(("lmtool", *words)))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        capfd.readouterr()
        assert run([]) == 0
        out, err = capfd.readouterr()
        assert err == ""
        return out.split()

    return ask


def fill(folder: Path) -> None:
    for name in ("models--org--alpha", "models--org--beta", "models--gpt2", "datasets--org--d"):
        (folder / "cache" / name).mkdir(parents=True)
    for name in ("checkpoint", "empty"):
        (folder / name).mkdir()
    (folder / "checkpoint" / "config.json").touch()


def test_commands_and_options_are_completed(complete: Complete) -> None:
    assert complete("tok") == ["tokenize"]
    assert {"--temp", "--temperature"} < set(complete("generate", "--te"))
    assert "train-tokenizer" in complete("")


@pytest.mark.parametrize(
    "words",
    [
        *(("generate", "-m"), ("generate", "--model"), ("generate", "--draft-model")),
        *(("bench", "-m"), ("tokenize", "-m"), ("count", "--model"), ("detokenize", "-m")),
        *(("inspect",), ("doctor",), ("quantize",), ("generate", "--model", "=")),
    ],
    ids=" ".join,
)
def test_models_are_completed_by_name(complete: Complete, tmp_path: Path, words) -> None:
    fill(tmp_path)
    assert complete(*words, "") == ["default", "gpt2", "org/alpha", "org/beta", "checkpoint"]
    assert complete(*words, "or") == ["org/alpha", "org/beta"]
    assert complete(*words, "org/a") == ["org/alpha"]
    # What can only be a path is left to the shell.
    assert complete(*words, "./") == complete(*words, "/tm") == complete(*words, "empt") == []


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("generate", "--dtype", "fl"), ["float32", "float16"]),
        (("generate", "--quant", ""), ["none", "int8", "int4"]),
        (("generate", "--quant", "=", "int"), ["int8", "int4"]),
        (("generate", "--format", ""), ["text", "json", "jsonl"]),
        (("bench", "--dtype", "b"), ["bfloat16"]),
        (("tokenize", "--special", ""), ["text", "parse"]),
        (("inspect", "--kv-dtype", "i"), ["int8"]),
        (("generate", "--color", "n"), ["never"]),
        (("quantize", "checkpoint", "--quant", "int"), ["int8", "int4"]),
        (("generate", "-o", ""), []),
        (("generate", "--temp", ""), []),
    ],
)
def test_choices_are_completed(complete: Complete, words: tuple[str, ...], names) -> None:
    assert complete(*words) == names


def test_what_can_t_be_completed_is_passed_over_in_silence(
    complete: Complete, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert complete("nosuch") == []
    monkeypatch.setenv("COMP_WORDS", "lmtool\nnosuch\n--te")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert run([]) == 0
    assert capfd.readouterr() == ("\n", "")


def test_a_cache_that_is_none_breaks_nothing(complete: Complete, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    assert complete("generate", "-m", "") == ["default"]


@pytest.mark.parametrize(
    ("words", "place", "tidy", "moved"),
    [
        ("lmtool generate --model = x", 4, "lmtool generate --model x", 3),
        ("lmtool generate --model =", 3, "lmtool generate --model ", 3),
        ("lmtool generate --model = x -p y", 4, "lmtool generate --model x -p y", 3),
        ("lmtool generate a = b", 4, "lmtool generate a = b", 4),
    ],
)
def test_words_that_bash_parted_are_joined(words: str, place: int, tidy: str, moved: int) -> None:
    environ = {"_LMTOOL_COMPLETE": "complete_bash", "COMP_CWORD": str(place)}
    environ["COMP_WORDS"] = words.replace(" ", "\n")
    tidy_words(environ)
    assert environ["COMP_WORDS"].replace("\n", " ") == tidy
    assert environ["COMP_CWORD"] == str(moved)


def test_fish_and_zsh_are_told_what_each_name_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "lmtool generate -m org/a")
    monkeypatch.setenv("_LMTOOL_COMPLETE", "complete_zsh")
    assert run([]) == 0
    assert '"org/alpha":"cached"' in capfd.readouterr().out
    monkeypatch.setenv("_LMTOOL_COMPLETE", "complete_fish")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    assert run([]) == 0
    assert capfd.readouterr().out == "org/alpha\tcached\n"
    # Its code says whether fish should offer files instead.
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "is-args")
    assert run([]) == 0
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "lmtool generate -m ./")
    assert run([]) == 1


def test_scripts_are_shown_and_installed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for shell, word in (("bash", "complete -o"), ("zsh", "compdef"), ("fish", "--command lmtool")):
        assert run(["--show-completion", shell]) == 0
        out, err = capfd.readouterr()
        assert word in out
        assert err == ""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".bashrc").write_text("alias a=b")
    for _ in range(2):
        assert run(["--install-completion", "bash"]) == 0
        assert str(tmp_path / ".bash_completions" / "lmtool.sh") in capfd.readouterr().out
    lines = (tmp_path / ".bashrc").read_text().split("\n")
    assert lines[0] == "alias a=b"
    assert sum("lmtool.sh" in line for line in lines) == 1
    assert run(["--show-completion", "tcsh"]) == 2
    assert capfd.readouterr().err == (
        "error: no script for `tcsh`; `lmtool --show-completion SHELL` takes bash, zsh, fish, "
        "powershell, pwsh\n"
    )


def test_completion_is_fast_and_loads_no_torch(
    lmtool_environ: dict[str, str], tmp_path: Path
) -> None:
    environ = lmtool_environ | {
        "_LMTOOL_COMPLETE": "complete_bash",
        "COMP_WORDS": "lmtool\ngenerate\n-m\nde",
        "COMP_CWORD": "3",
    }
    code = (
        "import sys, atexit\nfrom lmtool.cli.app import run\nassert run([]) == 0\n"
        "heavy = {'torch', 'huggingface_hub', 'tokenizers', 'numpy', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (ran.stdout, ran.stderr) == (b"default\n", b"")
    # 0.15 s on a machine with nothing else to do.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.6


def test_tab_in_a_real_bash(lmtool_environ: dict[str, str], tmp_path: Path) -> None:
    fill(tmp_path)
    command = tmp_path / "bin" / "lmtool"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lmtool "$@"\n')
    command.chmod(0o755)
    environ = lmtool_environ | {
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
        "TERM": "dumb",
        "PS1": "$ ",
    }
    subprocess.run([command, "--install-completion", "bash"], env=environ, check=True)
    shell = pexpect.spawn(
        "bash", ["--noprofile", "-i"], env=environ, cwd=tmp_path, timeout=20, encoding="utf-8"
    )
    shell.send("echo rea''dy\r")
    shell.expect("ready\r\n")
    for typed, becomes in (
        ("lmtool tok", "lmtool tokenize "),
        ("lmtool tokenize -m org/al", "lmtool tokenize -m org/alpha "),
        ("lmtool generate --model=org/b", "lmtool generate --model=org/beta "),
        ("lmtool count check", "lmtool count checkpoint/"),
    ):
        shell.send(f"{typed}\t")
        shell.expect_exact(becomes)
        shell.send("\x03")
    shell.close()
