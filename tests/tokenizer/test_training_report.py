"""training.json: what it says is so, and is the same whatever the order and the threads."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from lmtool.tokenizer.corpus import Corpus
from lmtool.tokenizer.recipe import PATTERNS, Recipe
from lmtool.tokenizer.save import NAMES, save
from lmtool.tokenizer.training import samples
from lmtool.tokenizer.training.train import Effort, train
from reference.small_tokenizers import ALL, SAMPLES


def report_on(folder: Path, corpus: Corpus, threads: int | None = None, **recipe: Any) -> Any:
    save(train(corpus, Recipe(**{"vocab_size": 300} | recipe), Effort(threads)), folder)
    return json.loads((folder / "training.json").read_bytes())


@pytest.fixture
def texts(tmp_path: Path) -> tuple[Path, ...]:
    """Three files, two of one name, one that is no UTF-8, and a packed one."""
    (tmp_path / "below").mkdir()
    (tmp_path / "a.txt").write_text(ALL, "utf-8")
    (tmp_path / "below" / "a.txt").write_bytes(b"so it is\n\xffand so\xff it was\n" * 40)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress("むかしむかし\n".encode() * 99))
    return tuple(tmp_path / name for name in ("a.txt", "below/a.txt", "b.txt.gz"))


@pytest.mark.parametrize("sample", [None, 2000])
def test_order_and_threads_change_no_byte(
    tmp_path: Path, texts: tuple[Path, ...], sample: int | None
) -> None:
    for name, paths, threads in (("one", texts, 1), ("two", texts[::-1], 2)):
        corpus = Corpus(paths, ("\n",), sample_bytes=sample, errors="skip")
        report_on(tmp_path / name, corpus, threads)
    for name in NAMES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_it_says_how_it_was_made(tmp_path: Path, texts: tuple[Path, ...]) -> None:
    recipe = {"specials": ("<s>", "</s>"), "bos": "<s>", "eos": "</s>", "pattern": "gpt2"}
    said = report_on(tmp_path / "made", Corpus(texts, errors="replace"), **recipe)
    assert said["recipe"]["specials"] == ["<s>", "</s>"]
    assert said["recipe"]["expression"] == PATTERNS["gpt2"]
    assert (said["vocab_size"], said["text"]["errors"]) == (300, "replace")


def test_files_are_counted_one_by_one(tmp_path: Path, texts: tuple[Path, ...]) -> None:
    said = report_on(tmp_path / "made", Corpus(texts, errors="skip"))["text"]
    first, second, third = said["files"]
    assert [file["file"] for file in said["files"]] == ["a.txt", "a.txt", "b.txt.gz"]
    assert (third["documents"], third["characters"], third["bytes"]) == (1, 99 * 7 - 1, 99 * 19 - 1)
    (bad,) = (file for file in (first, second) if "not_utf8" in file)
    assert bad["not_utf8"] == {"count": 80, "first_offset": 9, "first_line": 2}
    for what in ("documents", "characters", "bytes"):
        assert said[what] == sum(file[what] for file in said["files"])


def test_compression_is_what_the_tokenizer_does(tmp_path: Path, texts: tuple[Path, ...]) -> None:
    training = train(Corpus(texts[::2]), Recipe(vocab_size=400))
    save(training, tmp_path / "made")
    said = json.loads((tmp_path / "made" / "training.json").read_bytes())
    contents = [ALL.rstrip("\n"), ("むかしむかし\n" * 99).rstrip("\n")]
    training.tokenizer.encode_special_tokens = True
    tokens = [len(training.tokenizer.encode(text).ids) for text in contents]
    for file, text, count in zip(said["text"]["files"], contents, tokens, strict=True):
        assert file["bytes"] == file["measured_bytes"] == len(text.encode())
        assert file["bytes_per_token"] == pytest.approx(file["bytes"] / count, abs=1e-4)
    whole = said["text"]["bytes"] / sum(tokens)
    assert said["bytes_per_token"] == pytest.approx(whole, abs=1e-4)
    # And merging has counted the same.
    assert training.merges.tokens == sum(tokens)


def test_a_large_file_is_measured_by_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "LARGEST", 40_000)
    path = tmp_path / "large.txt"
    lines = [*SAMPLES.values(), "the old lighthouse"]
    path.write_text("".join(f"{line} {number}\n" for number in range(500) for line in lines))
    training = train(Corpus((path,)), Recipe(vocab_size=300))
    (file,) = training.files
    assert file.measured is not None
    assert not file.measured.whole
    assert 2e4 < file.measured.bytes < 1e5 < file.count.bytes
    assert training.merges is not None
    exact = file.count.bytes / training.merges.tokens
    assert file.measured.bytes_per_token == pytest.approx(exact, rel=0.02)


def test_the_rarest_merges_have_the_counts_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abab " * 30 + "xy " * 7 + "öö " * 4)
    said = report_on(tmp_path / "made", Corpus((tmp_path / "a.txt",)), pattern="gpt2")
    rare = [(merge["text"], merge["count"]) for merge in said["rarest_merges"]]
    assert ("xy", 7) in rare or (" xy", 7) in rare
    assert [count for _, count in rare] == sorted(count for _, count in rare)
    assert {"left": "ĠÃ¶", "right": "Ã¶", "text": " öö", "count": 4} in said["rarest_merges"]
    assert said["text"]["distinct_words"] == len({"abab", " abab", " xy", " öö", " "})
