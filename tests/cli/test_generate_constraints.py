"""`--json-schema`, `--regex`, `--choice`, `--grammar-file`: from the command line to the text."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from reference.scripted_model import Script

from .conftest import Run

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 6}, "n": {"enum": [1, 2, 3]}},
    "required": ["name", "n"],
    "additionalProperties": False,
}
HOT = ("--temp", "2", "--seed", "5")


@pytest.fixture
def schema_file(tmp_path: Path) -> str:
    path = tmp_path / "person.json"
    path.write_text(json.dumps(SCHEMA))
    return str(path)


def test_json_by_a_schema(real: Run, checkpoint: Path, schema_file: str) -> None:
    arguments = ("The", "-m", str(checkpoint), *HOT)
    by_file = real(*arguments, "-j", schema_file)
    jsonschema.validate(json.loads(by_file.out), SCHEMA)
    assert by_file.err == ""
    inline = real(*arguments, "--json-schema", json.dumps(SCHEMA))
    assert inline.out == by_file.out
    every = real(*arguments, "-j", schema_file, "--samples", "3", "--format", "jsonl").out
    for line in every.splitlines():
        row = json.loads(line)
        jsonschema.validate(json.loads(row["text"]), SCHEMA)
        assert row["finish_reason"] == "stop"
        assert row["settings"]["json_schema"] == {"value": schema_file, "source": "command line"}


def test_regex_choice_and_grammar(real: Run, checkpoint: Path, tmp_path: Path) -> None:
    arguments = ("The", "-m", str(checkpoint), *HOT)
    assert real(*arguments, "--regex", "[0-9]{3}/x").out[3:] == "/x"
    assert real(*arguments, "--choice", "yes", "--choice", "n\\o").out in ("yes", "n\\o")
    assert real(*arguments, "--choice", "a\\nb", "-e").out == "a\nb"
    (tmp_path / "g.lark").write_text('\ufeffstart: "a" B\nB: /[xy]{2}/\n', "utf-8")
    out = real(*arguments, "--grammar-file", str(tmp_path / "g.lark")).out
    assert out in ("axx", "axy", "ayx", "ayy")


def test_a_text_cut_short_is_warned_of(real: Run, checkpoint: Path, schema_file: str) -> None:
    arguments = ("The", "-m", str(checkpoint), *HOT, "-j", schema_file)
    ran = real(*arguments, "-n", "4", "--json")
    assert ran.json["finish_reason"] == "length"
    assert ran.err == (
        f"warning: the text is not complete under `{schema_file}`: it ended at --max-tokens\n"
    )
    ran = real(*arguments, "--samples", "2", "--stop", '"')
    assert "warning: sample 1 is not complete" in ran.err
    assert "it ended at a stop text or token" in ran.err
    assert real(*arguments, "-n", "4", "-q").err == ""


UNREAD = [
    (("--regex", "a", "--choice", "b"), 2, "`--regex` and `--choice` exclude each other"),
    (("-j", "{}", "--grammar-file", "x"), 2, "`--json-schema` and `--grammar-file` exclude"),
    (("--regex", "(a"), 2, "--regex: the regular expression `(a` is wrong at character 1"),
    (("--regex", ""), 2, "--regex must be text that is not empty"),
    (("--choice", "a", "--choice", ""), 2, "--choice must be text that is not empty"),
    (("-j", ""), 2, "--json-schema must be text that is not empty"),
    (("-j", "no/such.json"), 4, "cannot read `no/such.json`: No such file"),
    (("-j", "."), 4, "cannot read `.`"),
    (("-j", '{"type": "integer", "minimum": 1, "maximum": 0}'), 4, "--json-schema: can't be met"),
    (("-j", '{"a": }'), 4, "--json-schema is not JSON: expecting value (line 1, column 7"),
    (("-j", "[]"), 4, "--json-schema is no JSON Schema"),
    (("--grammar-file", "no.lark"), 4, "cannot read `no.lark`"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), UNREAD, ids=lambda one: str(one)[:40])
def test_what_is_wrong_is_said_before_a_model_is_loaded(
    generate: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    diary = tmp_path / "diary"
    out = tmp_path / "out.txt"
    ran = generate("a", *arguments, "-o", str(out), script=Script(diary=str(diary)))
    ran.fails(code, said)
    assert not diary.exists()
    assert not out.exists()


def test_files_that_are_wrong(generate: Run, tmp_path: Path) -> None:
    path = tmp_path / "x"
    for flag, data, said in (
        ("-j", b'{"type": "string",\n "x"}', "is not JSON: expecting ':' delimiter (line 2, col"),
        ("-j", b'{"a": "\xff"}', "is not UTF-8: byte 0xff at offset 7"),
        ("--grammar-file", b"start: b\nb: nothing", "line 2: unknown name"),
    ):
        path.write_bytes(data)
        generate("a", flag, str(path)).fails(4, f"`{path}`", said)


def test_the_command_line_overrules_the_other_kind(generate: Run, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[generate]\nchoice = ["a", "b"]\n')
    ran = generate("a", "--config", str(config))
    assert (ran.request.grammar.kind, ran.request.grammar.source) == ("choice", '["a", "b"]')
    ran = generate("a", "--config", str(config), LMTOOL_REGEX="x+")
    assert (ran.request.grammar.kind, ran.request.grammar.source) == ("regex", "x+")
    ran = generate("a", "--config", str(config), "-j", "{}", LMTOOL_REGEX="x+")
    assert ran.request.grammar.kind == "json_schema"
    assert generate("a").request.grammar is None


def test_without_the_library_the_extra_is_named(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "llguidance.py").write_text("raise ImportError")
    (tmp_path / "lmtool").symlink_to(checkout)
    done = subprocess.run(
        [sys.executable, "-m", "lmtool", "generate", "a", "--regex", "b"],
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: constraints need llguidance, which is not installed")
    assert "pip install 'lmtool[grammar]'" in done.stderr
