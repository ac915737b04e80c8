"""`lmtool evaluate` and `lmtool score` as a user runs them, on the default model and small ones."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from reference.random_checkpoints import Case
from reference.small_tokenizers import byte_level

from ..conftest import RunLmtool

TEXT = "Once upon a time there was a little fox who lived in the forest with her mother.\n" * 6


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that knows nothing, with a tokenizer of its own and no begin-of-text token."""
    folder = tmp_path_factory.mktemp("small")
    tokenizer = byte_level()
    Case("small", "Llama", {"vocab_size": tokenizer.get_vocab_size()}).save(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_files_and_their_total(run_lmtool: RunLmtool, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.txt").write_text("xq zv\n")
    done = run_lmtool("evaluate", "a.txt", "b.txt", "--json", fresh=True)
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert [one["file"] for one in found["texts"]] == ["a.txt", "b.txt"]
    total = found["total"]
    assert total["bytes"] == len(TEXT) + 6
    assert total["tokens"] == sum(one["tokens"] for one in found["texts"])
    nats = sum(one["loss"] * one["tokens"] for one in found["texts"])
    assert total["loss"] == pytest.approx(nats / total["tokens"])
    assert total["bits_per_byte"] == pytest.approx(nats / math.log(2) / total["bytes"])
    assert found["texts"][0]["bits_per_byte"] < 1 < found["texts"][1]["bits_per_byte"]
    assert done.stderr == b""


def test_stdin_for_two_models_whose_tokens_differ(run_lmtool: RunLmtool, small: Path) -> None:
    done = run_lmtool("evaluate", "default", small, "--window", "64", input=TEXT.encode())
    head, first, second = done.stdout.decode().splitlines()
    assert head.split() == ["model", "text", "tokens", "loss", "perplexity", "bits/byte"]
    assert first.split()[:2] == ["default", "stdin"]
    assert second.split()[:2] == [small.name, "stdin"]
    assert b"different tokenizers: only bits per byte compare" in done.stderr


def test_a_text_shorter_than_the_window_that_was_asked_for_is_named(
    run_lmtool: RunLmtool, tmp_path: Path
) -> None:
    (tmp_path / "short.txt").write_text("A fox.")
    asked = run_lmtool("evaluate", "short.txt", "--window", "512")
    assert b"warning: `short.txt` is shorter than the window of 512 tokens" in asked.stderr
    assert run_lmtool("evaluate", "short.txt").stderr == b""


def test_documents_are_foretold_from_their_beginnings(
    run_lmtool: RunLmtool, small: Path, tmp_path: Path
) -> None:
    (tmp_path / "two.txt").write_text("one two|three four")
    (tmp_path / "one.txt").write_text("one two")
    (tmp_path / "other.txt").write_text("three four")
    parted = run_lmtool("evaluate", small, "two.txt", "--doc-separator", "|", "--json")
    apart = run_lmtool("evaluate", small, "one.txt", "other.txt", "--json")
    ours, its = (json.loads(done.stdout)["total"] for done in (parted, apart))
    assert {key: ours[key] for key in ("tokens", "bytes", "loss")} == pytest.approx(
        {key: its[key] for key in ("tokens", "bytes", "loss")}
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--window", "64", "--stride", "65"], 2, "a stride of 65 is longer than the window"),
        (["--window", "100000"], 2, "wider than the context"),
        (["nowhere.txt"], 3, "no such file or folder"),
        (["-f", "nowhere.txt"], 4, "no such file: `nowhere.txt`"),
        ([], 4, "there is no text to foretell"),
    ],
)
def test_what_cannot_be(run_lmtool: RunLmtool, arguments: list[str], code: int, said: str) -> None:
    done = run_lmtool("evaluate", *arguments, input=b"")
    assert done.returncode == code
    assert said in done.stderr.decode()
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr


def test_bytes_that_are_not_utf8(run_lmtool: RunLmtool) -> None:
    done = run_lmtool("evaluate", input=b"fine\n\xff")
    assert done.returncode == 4
    assert "stdin is not UTF-8: byte 0xff at offset 5, line 2" in done.stderr.decode()


def test_lines_are_scored_in_order_and_short_ones_are_safe(
    run_lmtool: RunLmtool, small: Path
) -> None:
    done = run_lmtool("score", "-m", small, input=b"a\n\nthe old lighthouse\nab\n")
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert [row[2] for row in rows] == ["a", "", "the old lighthouse", "ab"]
    assert rows[0][:2] == rows[1][:2] == ["-", "0"]
    assert float(rows[2][0]) < 0 < int(rows[2][1])
    as_json = run_lmtool("score", "-m", small, "--json", input=b"the old lighthouse\n", fresh=True)
    found = json.loads(as_json.stdout)
    assert found["logprob"] == pytest.approx(float(rows[2][0]), abs=1e-3)
    assert sum(found["token_logprobs"]) == pytest.approx(found["logprob"])


def test_a_line_is_as_likely_alone_as_among_others(run_lmtool: RunLmtool) -> None:
    lines = ["Once upon a time there was a dog.", "x", "He ran and ran until the sun went down."]
    together = run_lmtool("score", input="\n".join(lines).encode()).stdout.decode().splitlines()
    alone = [run_lmtool("score", input=line.encode()).stdout.decode()[:-1] for line in lines[:1]]
    assert float(together[0].split("\t")[0]) == pytest.approx(
        float(alone[0].split("\t")[0]), abs=1e-3
    )


def test_choices_are_ranked(run_lmtool: RunLmtool) -> None:
    choices = [part for word in (" dog", " time", " fox") for part in ("--choice", word)]
    done = run_lmtool("score", "-p", "Once upon a", *choices)
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert rows[0][3] == " time"
    assert sum(float(row[0]) for row in rows) == pytest.approx(1, abs=1e-3)
    lines = run_lmtool("score", "-p", "Once upon a", input=b" dog\n time\n fox\n")
    scored = {row.split("\t")[2]: row.split("\t")[0] for row in lines.stdout.decode().splitlines()}
    assert scored == {row[3]: row[1] for row in rows}


def test_choices_without_anything_before_them(run_lmtool: RunLmtool, small: Path) -> None:
    done = run_lmtool("score", "-m", small, "--choice", "a", "--choice", "b")
    assert done.returncode == 4
    assert b"choices need a prompt to follow" in done.stderr


def test_a_line_too_long_is_named(run_lmtool: RunLmtool, small: Path) -> None:
    done = run_lmtool("score", "-m", small, "-c", "8", input=b"a b c\n" + b"word " * 20)
    assert done.returncode == 4
    assert b"line 2 has" in done.stderr
