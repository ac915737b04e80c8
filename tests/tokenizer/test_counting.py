"""Words of a corpus and their counts: against the pre-tokenizer itself, whatever the way there."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import tempfile
from collections import Counter
from pathlib import Path
from typing import IO

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from lmtool import LmtoolError, OutOfMemoryError
from lmtool.tokenizer.corpus import Corpus
from lmtool.tokenizer.recipe import PATTERNS, Recipe, empty_tokenizer
from lmtool.tokenizer.training import blocks, counting, frequent, runs, shares, tally, workers
from lmtool.tokenizer.training.counting import Counted, count_words
from lmtool.tokenizer.training.letters import DISPUTED
from lmtool.tokenizer.training.splitting import KNOWN, Splitter
from reference.small_tokenizers import ALL, SAMPLES

LETTERS = [
    *"ab zZ1²_'\n\r\t /。あ」!é\u0301\u00a0\u3000\u2028\u0085\u1680\x00\x1c",
    *("  ", " \n", "\n ", "\u017f", "'S", "'ll", "\u212a", "ß", "İ", "ǅ", "ʰ", "\u0295", "\ufeff"),
    *("\U0001f469\u200d", "\U0001e4d0", "\U00031350", "\ua7f1", "\ufffd", "中", "한", "½"),
]
TEXTS = st.lists(st.sampled_from(LETTERS) | st.characters(exclude_categories=["Cs"]), max_size=40)
DOCUMENTS = TEXTS.map("".join)


def pipelines() -> dict[str, Tokenizer]:
    made = {name: empty_tokenizer(Recipe(pattern=name)) for name in PATTERNS}
    made["own regex"] = empty_tokenizer(Recipe(pattern=r"\w+|\W"))
    for name, (normalizer, splitter) in {
        "gpt2's own": (None, pre_tokenizers.ByteLevel(add_prefix_space=False)),
        "prefix space": (None, pre_tokenizers.ByteLevel(add_prefix_space=True)),
        "metaspace": (None, pre_tokenizers.Metaspace()),
        "bert": (normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()),
        "nfkc": (normalizers.NFKC(), pre_tokenizers.Split(Regex(PATTERNS["gpt4"]), "isolated")),
        "lower": (
            normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase()]),
            pre_tokenizers.Split(Regex(PATTERNS["gpt2"]), "isolated"),
        ),
        "removed": (None, pre_tokenizers.Split(Regex(r"\s+"), "removed")),
        "whole": (normalizers.Replace(" ", "▁"), None),
    }.items():
        made[name] = Tokenizer(models.BPE())
        made[name].normalizer = normalizer
        made[name].pre_tokenizer = splitter
    return made


PIPELINES = pipelines()


def expected(pipeline: Tokenizer, texts: list[str]) -> Counter[bytes]:
    """What tokenizers' own parts say, letters for bytes put back by encoding each letter's word."""
    found: Counter[bytes] = Counter()
    for text in texts:
        if pipeline.normalizer is not None:
            text = pipeline.normalizer.normalize_str(text)
        if pipeline.pre_tokenizer is None:
            found.update([text.encode()] if text else [])
            continue
        parts = pipeline.pre_tokenizer.pre_tokenize_str(text)
        if "ByteLevel" in str(pipeline.pre_tokenizer):
            found.update(bytes(map(BYTES.__getitem__, part)) for part, _ in parts)
        else:
            found.update(part.encode() for part, _ in parts)
    return found


def gpt2_bytes() -> dict[str, int]:
    """By asking the library what each byte of two-byte letters becomes."""
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    table: dict[str, int] = {}
    for number in [*range(0x800), *range(0x800, 0x110000, 0x400)]:
        if not 0xD800 <= number < 0xE000:
            spelled = level.pre_tokenize_str(chr(number))[0][0]
            table.update(zip(spelled, chr(number).encode(), strict=True))
    return table


BYTES = gpt2_bytes()


@settings(max_examples=150, deadline=None)
@given(text=DOCUMENTS, name=st.sampled_from(sorted(PIPELINES)))
def test_words_are_those_of_the_pipeline(text: str, name: str) -> None:
    words = Splitter(PIPELINES[name]).words(text)
    assert Counter(words) == expected(PIPELINES[name], [text])
    if Splitter(PIPELINES[name]).pattern is not None and PIPELINES[name].normalizer is None:
        assert b"".join(words) == text.encode()


def write(folder: Path, *texts: str) -> tuple[Path, ...]:
    paths = tuple(folder / f"{number}.txt" for number in range(len(texts)))
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text.encode())
    return paths


def count(
    corpus: Corpus, name: str = "gpt4", **how: int
) -> tuple[list[tuple[bytes, int]], Counted]:
    counted = count_words(corpus, Splitter(PIPELINES[name]), **how)
    return list(counted.words), counted


@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(DOCUMENTS, max_size=4),
    name=st.sampled_from(["gpt2", "gpt4", "qwen2", "o200k", "own regex", "nfkc", "lower"]),
    size=st.sampled_from([8, 32, 1 << 20]),
)
@example(texts=["aİ。aaaaaaaa"], name="lower", size=8)
def test_documents_are_counted_wherever_blocks_end(
    tmp_path_factory, texts: list[str], name: str, size: int
) -> None:
    paths = write(tmp_path_factory.getbasetemp(), "<|end|>".join(texts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "SIZE", size)
        # Where there is no place to cut, a text this long would be cut all the same.
        patch.setattr(blocks, "LARGEST", 1000)
        words, counted = count(Corpus(paths, ("<|end|>",)), name)
    stripped = [text.strip("\n") for text in texts]
    assert dict(words) == expected(PIPELINES[name], stripped)
    assert [word for word, _ in words] == sorted(word for word, _ in words)
    file = counted.files[0]
    assert file.bytes == counted.bytes == sum(len(text.encode()) for text in stripped)
    assert file.characters == counted.characters == sum(map(len, stripped))
    assert file.documents == counted.documents == sum(map(bool, stripped))


SPACES = st.text(" \n\ta'é1!/\u2003\u3000\u00a0\u2028あ", max_size=24)


@settings(max_examples=400, deadline=None)
@given(
    texts=st.lists(SPACES | DOCUMENTS, max_size=5),
    name=st.sampled_from(["gpt2", "gpt4", "qwen2", "o200k", "digits", "nfkc", "lower"]),
)
def test_chunks_between_spaces_have_the_words_of_the_whole(texts: list[str], name: str) -> None:
    pipeline = PIPELINES[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tally, "_WORTH_CUTTING", 1 << 20)
        patch.setattr(tally, "_JOINED", 3)
        counts = tally.Tally(Splitter(pipeline))
        # The space makes sure that it is worth cutting.
        texts = [*texts, "a b"]
        counts.add(blocks.BORDER.join(text.encode() for text in texts))
        found = {
            w: n for words, numbers in counts.batches() for w, n in zip(words, numbers, strict=True)
        }
    assert found == expected(pipeline, texts)


def test_known_patterns_are_found_in_pipelines_that_have_them() -> None:
    known = {name for name, pipeline in PIPELINES.items() if Splitter(pipeline).parts_at_spaces}
    named = {name for name in PATTERNS if PATTERNS[name] in KNOWN}
    assert named >= {"gpt2", "gpt4", "qwen2", "o200k", "digits"}
    assert known == named | {"gpt2's own", "nfkc", "lower"}
    assert set(PATTERNS.values()) >= KNOWN


def test_the_order_of_files_changes_nothing(tmp_path: Path) -> None:
    paths = write(tmp_path, *SAMPLES.values())
    words, _ = count(Corpus(paths))
    assert count(Corpus(paths[::-1]))[0] == words
    assert dict(words) == expected(PIPELINES["gpt4"], [t.strip("\n") for t in SAMPLES.values()])


def varied(count: int) -> str:
    """Text with many distinct words of all lengths, and one that is long."""
    letters = str.maketrans("0123456789", "abcdefghéö")
    words = (f"{n * 7919 % 10007}".translate(letters) * (n % 3 + 1) for n in range(count))
    return " ".join([*words, "あいう" * 300, "end  of\n\nit"])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_count_what_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    paths = write(tmp_path, varied(4000), "the cat, the hat\n" * 2000, "".join(SAMPLES.values()))
    alone, _ = count(Corpus(paths), threads=1)
    monkeypatch.setattr(blocks, "SIZE", 1 << 12)
    monkeypatch.setattr(workers, "_can_fork", lambda: method == "fork")
    many, counted = count(Corpus(paths[::-1]), threads=3)
    assert many == alone
    assert [file.path for file in counted.files] == [*paths[::-1]]
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("name", ["gpt4", "metaspace", "prefix space"])
def test_spilling_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    words = varied(4000).split(" ")
    texts = [" ".join(words[start : start + 200]) for start in range(0, len(words), 200)]
    paths = write(tmp_path, *texts, "the cat, the hat\n" * 20, "".join(SAMPLES.values()))
    expected_words, _ = count(Corpus(paths), name, threads=1)
    monkeypatch.setattr(blocks, "SIZE", 1 << 11)
    monkeypatch.setattr(blocks, "_STRETCH", 1 << 10)
    monkeypatch.setattr(tally, "_MOST_RUNS", 4)
    monkeypatch.setattr(tally, "_CHECK_EVERY", 1 << 10)
    written = spilled(monkeypatch)
    batches = counting._count(  # pyright: ignore[reportPrivateUsage]
        blocks.pack(Corpus(paths), Splitter(PIPELINES[name]), list(map(blocks.FileCount, paths))),
        Splitter(PIPELINES[name]),
        shares.Share(1, 1 << 17),
        large=False,
    )
    found = [pair for some in batches for pair in zip(*some, strict=True)]
    assert found == expected_words
    assert len(written) > 3


def spilled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every temporary file that is written from now on."""
    written: list[int] = []
    made = tempfile.TemporaryFile

    def make(*arguments: object, **named: object) -> IO[bytes]:
        written.append(1)
        return made(*arguments, **named)  # pyright: ignore

    monkeypatch.setattr(tempfile, "TemporaryFile", make)
    return written


def test_memory_is_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    mebi = 1 << 20
    monkeypatch.setattr(shares, "_memory_used", lambda: 60 * mebi)
    assert shares.share_memory(0, 7) == shares.Share(7, None)
    few = shares.share_memory(1200 * mebi, 64)
    assert 1 < few.processes < 6
    assert few.room is not None
    assert few.processes * few.room < 1000 * mebi
    tiny = shares.share_memory(mebi, 8)
    assert tiny.processes == 1
    assert tiny.room


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> IO[bytes]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(LmtoolError, match=r"cannot write temporary files in `.*: No space left"):
        runs.Run([runs.pack_batch(([b"a"], [1]))], in_memory=0)


@settings(max_examples=100, deadline=None)
@given(
    tables=st.lists(st.dictionaries(st.binary(max_size=3), st.integers(1, 1 << 60)), max_size=5),
    size=st.integers(1, 4),
)
def test_runs_merge_to_the_sum(tables: list[dict[bytes, int]], size: int) -> None:
    def run(table: dict[bytes, int]) -> runs.Run:
        order = sorted(table)
        parts = [order[at : at + size] for at in range(0, len(order), size)]
        return runs.Run(runs.pack_batch((part, [table[w] for w in part])) for part in parts)

    merged = runs.merge(run(table).batches() for table in tables)
    pairs = [pair for batch in merged for pair in zip(*batch, strict=True)]
    total: Counter[bytes] = Counter()
    for table in tables:
        total.update(table)
    assert pairs == sorted(total.items())


class Broken(Splitter):
    """Fails in a way of its own where a text says so."""

    def split(self, text: str) -> list[str]:
        if "memory" in text:
            raise MemoryError
        if "killed" in text:
            os.kill(os.getpid(), signal.SIGKILL)
        if "bug" in text:
            raise ValueError("a bug")
        return super().split(text)


@pytest.mark.parametrize(
    ("word", "kind", "says"),
    [
        ("memory", OutOfMemoryError, "memory ran out while words were counted"),
        ("killed", OutOfMemoryError, "the system killed a process that counted words"),
        ("bug", RuntimeError, "ValueError: a bug"),
    ],
)
def test_a_worker_that_fails_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, kind: type[Exception], says: str
) -> None:
    monkeypatch.setattr(blocks, "SIZE", 64)
    monkeypatch.setattr(workers, "_can_fork", lambda: True)
    monkeypatch.setattr(counting, "_FEW", 0)
    paths = write(tmp_path, f"{'a' * 80}\n" * 20 + word + "\nb" * 500)
    with pytest.raises(kind, match=says):
        count_words(Corpus(paths), Broken(PIPELINES["own regex"]), threads=2)
    assert multiprocessing.active_children() == []


def frequent_words(name: str, words: list[str]) -> frequent.FrequentWords:
    return frequent.FrequentWords(Splitter(PIPELINES[name]), words)


COMMON = ["  ", "\n\n", " the", "123", "'s", ".\n", " a", "あ", "\u3000", "!!", "aa", "\t\t"]
RARE = st.lists(st.sampled_from([*COMMON, *LETTERS, "x", "9", "y "]), max_size=30).map("".join)
FINDERS = {name: frequent_words(name, COMMON) for name in ("gpt2", "gpt4", "qwen2", "o200k")}


@settings(max_examples=600, deadline=None)
@given(text=RARE, name=st.sampled_from(sorted(FINDERS)))
@example(text="a  1", name="gpt4")
@example(text="x\u3000 123", name="gpt4")
@example(text="x \u3000123", name="gpt2")
def test_frequent_words_and_what_is_between_them_are_all_words(text: str, name: str) -> None:
    assert FINDERS[name].agrees(text)


def test_every_letter_is_counted_alike_among_frequent_words() -> None:
    numbers = (*range(0x3000), *range(0x3000, 0xD800, 41), *range(0xE000, 0x30000, 97))
    letters = [chr(number) for number in numbers if not DISPUTED.search(chr(number))]
    for name, finder in FINDERS.items():
        text = "".join(f"a{c}b {c}c1{c}{c} the {c}\n'{c}" for c in letters)
        assert finder.agrees(text), name
        assert finder.count([text.encode(), "\u0295".encode()])[2] == ["\u0295".encode()]


def test_frequent_words_are_counted_by_gigatoken_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "SIZE", 1 << 12)
    monkeypatch.setattr(blocks, "_STRETCH", 1 << 10)
    text = "the cat sat on the mat, the dog didn't\n" * 1000 + varied(300) + ALL
    paths = write(tmp_path, text)
    counts = tally.Tally(Splitter(PIPELINES["gpt4"]), patience=2)
    for block in blocks.pack(
        Corpus(paths), Splitter(PIPELINES["gpt4"]), [blocks.FileCount(paths[0])]
    ):
        counts.add(block)
        if counts._blocks == 4:  # pyright: ignore[reportPrivateUsage]
            assert counts._frequent is not None  # pyright: ignore[reportPrivateUsage]
    found = {w: n for words, ns in counts.batches() for w, n in zip(words, ns, strict=True)}
    assert found == expected(PIPELINES["gpt4"], [text])
