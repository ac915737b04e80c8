"""tokenize, detokenize and count as filters: many texts, JSON, bad input, several files."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reference.small_tokenizers import byte_fallback, byte_level

from .conftest import REAL, Ran, Run


@pytest.fixture
def filters(command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`filters("count", …)`: a filter by a byte-level tokenizer, in an empty folder."""
    byte_level().save(str(tmp_path / "tokenizer.json"))
    monkeypatch.setenv("LMTOOL_MODEL", str(tmp_path / "tokenizer.json"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*arguments: str, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return command(*arguments, script=REAL)

    return run


def test_nul_ends_texts_in_and_out(filters: Run) -> None:
    text = "two\nlines\0\0öne\0"
    ids = filters("tokenize", "-z", stdin=text.encode()).out
    assert ids.count("\0") == 3
    assert "\n" not in ids
    assert filters("detokenize", "-z", stdin=ids.encode()).out == text
    counted = filters("count", "-z", stdin=text.encode()).out
    assert counted == "".join(f"{len(part.split())}\0" for part in ids.split("\0")[:-1])
    filters("tokenize", "-z", "-0").fails(2, "-0 and -z exclude each other")
    filters("count", "-z", "--lines").fails(2, "--lines and -z exclude each other")


def test_json_goes_back_however_it_is_laid_out(filters: Run) -> None:
    text = 'a "quoted {" \\ brace\nöne\n'
    record = filters("tokenize", "--json", stdin=text.encode()).out
    spread = json.dumps(json.loads(record), indent=2)
    rows = filters("tokenize", "--lines", "--json", stdin=text.encode()).out
    for given in (record, spread, f"[{record}]", str(json.loads(record)["ids"])):
        assert filters("detokenize", stdin=given.encode()).out == text
    assert filters("detokenize", "--lines", stdin=rows.encode()).out == text
    assert filters("detokenize", stdin=b'{"token_ids": [65]}').out == byte_level().decode([65])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (b'{"ids": [1, 2', "begins as JSON, but isn't"),
        (b'{"ids": 5}', "has no list of `ids`"),
        (b'{"ids": [1, true]}', "not a token id: `True`, id number 2 of stdin"),
        (b'{"ids": [1, 99999]}', "no token has the id 99999: id number 2 of stdin"),
        (b"[1, -2]", "not a token id: `-2`, id number 2, line 1 of stdin"),
        (b"\x01\x00\x02\xff", "flat ids are read from files that end in .bin"),
    ],
)
def test_what_holds_no_ids_is_said(filters: Run, given: bytes, says: str) -> None:
    filters("detokenize", stdin=given).fails(4, says)


def test_bad_input_is_replaced_or_skipped_and_counted(filters: Run) -> None:
    text = b"good\nb\xe9d\xff\n"
    for options in ((), ("--lines",)):
        strict = filters("tokenize", *options, stdin=text)
        assert strict.code == 4
        assert "stdin is not UTF-8: byte 0xe9 at offset 6, line 2" in strict.err
        put = filters("tokenize", *options, "--errors", "replace", stdin=text)
        assert put.err == (
            "warning: stdin is not UTF-8: 2 U+FFFD put in, the first at offset 6, line 2\n"
        )
        assert filters("detokenize", *options, stdin=put.out.encode()).out == "good\nb�d�\n"
        left = filters("tokenize", *options, "--errors", "skip", stdin=text)
        assert "2 bytes left out, the first at offset 6, line 2" in left.err
    ids = filters("tokenize", stdin=b"ab").out.split()
    bad = f"{ids[0]} x 99999 {' '.join(ids[1:])}".encode()
    put = filters("detokenize", "--errors", "replace", stdin=bad)
    assert (put.code, put.out) == (0, "a��b")
    assert "2 words replaced by U+FFFD; the first: not a token id: `x`" in put.err
    assert filters("detokenize", "--errors", "skip", stdin=bad).out == "ab"
    filters("count", "--errors", "often").fails(2, "strict, replace or skip")


def test_lines_before_a_bad_one_are_answered(filters: Run) -> None:
    ran = filters("count", "--lines", stdin=b"a\nb\n\xff\n")
    assert (ran.code, ran.out) == (4, "1\n1\n")
    ran = filters("detokenize", "--lines", stdin=b"65\nx\n")
    assert (ran.code, ran.out.count("\n")) == (4, 1)


def test_offsets_may_count_characters(filters: Run) -> None:
    rows = filters("tokenize", "--offsets", "--characters", "-p", "aö").out.splitlines()
    assert [row.split("\t")[:2] for row in rows] == [["0", "1"], ["1", "2"], ["1", "2"]]
    record = json.loads(filters("tokenize", "--json", "--characters", "-p", "aö").out)
    assert record["offsets"] == [[0, 1], [1, 2], [1, 2]]
    assert record["offsets_in"] == "characters"


def test_several_files_are_one_text_or_none(filters: Run) -> None:
    Path("a").write_text("the o")
    Path("b").write_text("ld")
    assert filters("tokenize", "a", "b").out == filters("tokenize", "-p", "the old").out
    filters("tokenize", "a", "nowhere").fails(4, "no such file: `nowhere`")
    filters("tokenize", "a", ".").fails(4, "`.` is a folder")
    filters("detokenize", "nowhere").fails(4, "no such file: `nowhere`")


def test_count_goes_on_behind_a_file_that_fails(filters: Run) -> None:
    Path("a").write_text("ab\n")
    Path("bad").write_bytes(b"\xff")
    ran = filters("count", "a", "nowhere", "bad", ".", "a", "-c", "-l")
    assert ran.code == 4
    assert [line.split() for line in ran.out.splitlines()] == [
        ["3", "1", "3", "a"],
        ["3", "1", "3", "a"],
        ["6", "2", "6", "total"],
    ]
    assert ran.err.count("error: ") == 3
    record = json.loads(filters("count", "a", "nowhere", "--json").out)
    assert record["total"]["tokens"] == 3
    assert [one["file"] for one in record["failed"]] == ["nowhere"]


def test_names_may_come_from_a_file(filters: Run) -> None:
    Path("a\nb").write_text("ab")
    ran = filters("count", "--files0-from", "-", stdin=b"a\nb\0a\nb\0")
    assert ran.out.endswith("4 total\n")
    filters("count", "--files0-from", "-", stdin=b"").fails(4, "names no files")
    filters("count", "--files0-from", "-", stdin=b"-\0").fails(4, "can't be one of them")
    filters("count", "--files0-from", "-", "a").fails(2, "nothing else can")


def test_check_names_what_changes_text(filters: Run, tmp_path: Path) -> None:
    path = tmp_path / "fallback.json"
    byte_fallback().save(str(path))
    ran = filters("tokenize", "--check", "-m", str(path), "-p", "a▁")
    ran.fails(1, "U+2581 (▁) comes back as a space")


def test_ids_pass_a_real_pipe_that_closes(lmtool_environ: dict[str, str], tmp_path: Path) -> None:
    byte_level().save(str(tmp_path / "tokenizer.json"))
    tool = f"{sys.executable} -m lmtool"
    shell = f"yes 'öld {{' | {tool} tokenize --lines --json | {tool} detokenize --lines | head -2"
    done = subprocess.run(
        ["bash", "-c", f"{shell}; echo ${{PIPESTATUS[1]}} ${{PIPESTATUS[2]}}"],
        env=lmtool_environ | {"LMTOOL_MODEL": str(tmp_path / "tokenizer.json")},
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.decode() == "öld {\nöld {\n141 141\n", os.fsdecode(done.stderr)
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("tokenize", "--check", "--json"), "--check writes nothing, so --json has nothing to do"),
        (("tokenize", "--check", "--pieces"), "so --pieces has nothing to do"),
        (("tokenize", "--check", "-0"), "so -0 has nothing to do"),
        (("tokenize", "--check", "-o", "a"), "so -o has nothing to do"),
        (("tokenize", "--characters", "--pieces"), "--characters is about offsets"),
        (("tokenize", "--characters"), "--characters is about offsets"),
        (("tokenize", "--check", "--characters"), "so --characters has nothing to do"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    filters: Run, arguments: tuple[str, ...], says: str
) -> None:
    filters(*arguments, "-p", "a").fails(2, says)


def test_the_ratio_is_in_json_if_it_is_asked_for(filters: Run) -> None:
    found = json.loads(filters("count", "--json", "--ratio", "-p", "the old").out)
    (one,) = found["files"]
    assert one["ratio"] == found["total"]["ratio"] == one["bytes"] / one["tokens"]
    assert '"ratio"' not in filters("count", "--json", "-p", "the old").out
    rows = filters("count", "--json", "--ratio", "--lines", stdin=b"a\n\n").out.splitlines()
    assert [json.loads(row)["ratio"] for row in rows] == [1.0, None]


def test_flat_ids_that_end_too_soon_are_refused_before_anything_is_written(filters: Run) -> None:
    Path("odd.bin").write_bytes(b"\x01\x00\x02\x00\xff")
    Path("whole.bin").write_bytes(b"\x01\x00")
    ran = filters("detokenize", "whole.bin", "odd.bin")
    ran.fails(4, "`odd.bin` ends inside an id: 5 bytes are not a multiple of 2")
    assert ran.out == ""


def test_what_is_no_tokenizer_is_said_to_be_none(filters: Run) -> None:
    Path("a.txt").write_text("hello\n")
    filters("count", "-m", "a.txt", "-p", "a").fails(3, "`a.txt` is not a vocabulary")
    filters("count", "-m", "here/x.model", "-p", "a").fails(3, "no such file or folder: `here/x.")
    ran = filters("train-tokenizer", "a.txt", "-o", "o", "--extend", "F/x.model")
    ran.fails(3, "no such file or folder: `F/x.model`")


def test_what_else_does_not_go_together_is_said(filters: Run, tmp_path: Path) -> None:
    tokenizer = str(tmp_path / "tokenizer.json")
    Path("a.txt").write_text("hello\n")
    both = ("--from", tokenizer, "--extend", tokenizer)
    filters("train-tokenizer", "a.txt", "-o", "o", *both).fails(2, "--extend keeps its tokens")
    filters("inspect", tokenizer, "-c", "5").fails(2, "-c is about a model's memory")
    filters("inspect", tokenizer, "--kv-dtype", "int8").fails(2, "--kv-dtype is about a model's")
    ran = filters("tokenize", "-p", "a", "--html", "no/a.html")
    ran.fails(1, "cannot write `no/a.html`: no such folder: `no`")
