"""What goes wrong around `lmtool generate` is one line on stderr and the contract's code."""

from __future__ import annotations

from pathlib import Path

import pytest

from reference.scripted_model import Script

from .conftest import Run


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("LmtoolError", 1),
        ("UsageError", 2),
        ("ModelError", 3),
        ("InputError", 4),
        ("OutOfMemoryError", 5),
    ],
)
def test_engine_s_errors_have_their_codes(generate: Run, name: str, code: int) -> None:
    ran = generate("x", script=Script(texts=(("a",),), fails_with=name))
    assert (ran.code, ran.out) == (code, "a")
    assert ran.err == "error: it broke; mend it\n"


def test_python_s_own_memory_error_has_its_code(generate: Run) -> None:
    ran = generate("x", script=Script(texts=(("a",),), fails_with="MemoryError"))
    assert (ran.code, ran.err.split(";")[0]) == (5, "error: out of memory")


def test_debug_adds_the_traceback(generate: Run) -> None:
    ran = generate("x", "--debug", script=Script(texts=(("a",),), fails_with="ModelError"))
    assert ran.err.startswith("Traceback (most recent call last):")
    assert ran.err.endswith("\nerror: it broke; mend it\n")


def test_failed_text_leaves_no_output_file(generate: Run, tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    generate("x", "-o", str(path), script=Script(fails_with="LmtoolError")).fails(1, "it broke")
    assert list(tmp_path.iterdir()) == []


def test_output_that_cannot_be_written_is_said_before_the_model_loads(
    generate: Run, tmp_path: Path
) -> None:
    ran = generate("x", "-o", str(tmp_path / "none" / "out.txt"))
    ran.fails(1, "cannot write", "no such folder", str(tmp_path / "none"))
    assert ran.model is None
    generate("x", "-o", str(tmp_path)).fails(1, "cannot write", "it is a folder")


def test_overflow_is_an_input_error_with_both_counts(generate: Run) -> None:
    generate("x" * 200).fails(4, "200", "100")


def test_prompt_needs_a_tokenizer(generate: Run) -> None:
    script = Script(has_tokenizer=False)
    generate("x", script=script).fails(3, "no tokenizer.json", "--token-ids")
    generate("--token-ids", "1", "--stop", "a", script=script).fails(3, "--stop", "--stop-token")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--nosuch"], ["no such option: --nosuch", "lmtool generate --help"]),
        (["--temp"], ["'--temp' requires an argument"]),
        (["-n"], ["'-n' requires an argument"]),
        (["--color", "pink"], ["--color", "pink"]),
    ],
)
def test_bad_command_line_is_one_line(
    generate: Run, arguments: list[str], parts: list[str]
) -> None:
    generate(*arguments).fails(2, *parts)


def test_errors_are_painted_where_asked(generate: Run) -> None:
    assert generate("x", "--nosuch", "--color", "always").err.startswith("\x1b[31merror:\x1b[0m")
    assert generate("x", "--nosuch", FORCE_COLOR="1").err.startswith("\x1b[31merror:")
    for environ in ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, {}):
        generate("x", "--nosuch", **environ).fails(2)
