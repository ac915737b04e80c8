"""Corpora of every kind: packed, in tables, damaged, not UTF-8, named by patterns."""

from __future__ import annotations

import gzip
import json
import lzma
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool import InputError
from lmtool.tokenizer import decoding, opening
from lmtool.tokenizer.corpus import Corpus, Faults, Part, find_files, read_text
from reference.small_tokenizers import ALL

PACKERS = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", PACKERS)
def test_files_of_many_members_are_read_to_the_end(tmp_path: Path, suffix: str) -> None:
    pack = PACKERS[suffix]
    data = b"".join(map(pack, (b"one ", ALL.encode() * 40, b"", b"end")))
    seen: list[int] = []
    if suffix != ".zst":
        data += bytes(8)
    path = write(tmp_path / f"a.txt{suffix}", data)
    assert "".join(read_text(path, seen.append)) == "one " + ALL * 40 + "end"
    assert sum(seen) == len(data)


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("harm", ["cut", "cut short", "swapped", "text", "rubbish behind", "empty"])
def test_damage_is_told_with_a_hint(tmp_path: Path, suffix: str, harm: str) -> None:
    packed = bytearray(PACKERS[suffix](ALL.encode()))
    swapped = bytearray(packed)
    swapped[len(packed) // 2] ^= 0xFF
    data = {
        "cut": packed[:-9],
        "cut short": packed[:3],
        "swapped": swapped,
        "text": ALL.encode(),
        "rubbish behind": packed + b"rubbish",
        "empty": b"",
    }[harm]
    path = write(tmp_path / f"a{suffix}", bytes(data))
    with pytest.raises(InputError, match="cannot read") as caught:
        list(read_text(path))
    assert str(path) in caught.value.message
    assert "-t" in (caught.value.hint or "")


def test_zstandard_that_cannot_be_unpacked_here(tmp_path: Path, monkeypatch) -> None:
    path = write(tmp_path / "a.zst", PACKERS[".zst"](b"a"))
    for name in ("zstandard", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"needs Python 3\.14 or") as caught:
        list(read_text(path))
    assert "lmtool[zstd]" in (caught.value.hint or "")


@settings(max_examples=200, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from([b"ab", b"\n", "é".encode(), "\ufffd".encode(), "😀".encode()])
        | st.binary(max_size=4),
        max_size=12,
    ),
    errors=st.sampled_from(["replace", "skip"]),
    block=st.integers(1, 9),
)
def test_bad_bytes_are_replaced_or_left_out(parts: list[bytes], errors: Any, block: int) -> None:
    data = b"".join(parts)
    faults = Faults()
    blocks = [data[at : at + block] for at in range(0, len(data), block)]
    text = "".join(decoding.decode(blocks, Path("a"), errors, faults))
    assert text == data.decode(errors={"replace": "replace", "skip": "ignore"}[errors])
    left_out = len(data) - len(data.decode(errors="ignore").encode())
    put_in = data.decode(errors="replace").count("\ufffd") - data.decode(errors="ignore").count(
        "\ufffd"
    )
    assert faults.count == (left_out if errors == "skip" else put_in)
    if faults.count:
        with pytest.raises(UnicodeDecodeError) as caught:
            data.decode()
        start = caught.value.start
        assert (faults.offset, faults.line) == (start, 1 + data.count(b"\n", 0, start))


def test_faults_are_kept_by_file(tmp_path: Path) -> None:
    paths = (write(tmp_path / "a.txt", b"a\xffb\n\xfe"), write(tmp_path / "b.txt", b"fine"))
    corpus = Corpus(paths, errors="skip")
    assert [part.text for part in corpus.parts()] == ["ab", "fine"]
    assert corpus.faults == {0: Faults(2, 1, 1), 1: Faults()}


def parquet(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def test_parquet_gives_a_document_a_row(tmp_path: Path) -> None:
    texts = ["one\n", None, "", "two<|end|>three", "四"]
    path = parquet(tmp_path / "a.parquet", text=texts, other=pa.array(texts).dictionary_encode())
    seen: list[int] = []
    corpus = Corpus((path,), ("<|end|>",), on_read=seen.append)
    assert list(corpus.pieces()) == ["one", "two", "three", "四"]
    assert sum(seen) == corpus.size
    named = Corpus((path,), text_field="other", exact=True)
    assert [part.text for part in named.parts()] == ["one\n", "", "two<|end|>three", "四"]


def test_what_is_wrong_with_parquet_is_told(tmp_path: Path, monkeypatch) -> None:
    path = parquet(tmp_path / "a.parquet", body=["a"], number=[1])
    for field, says in (("text", "has no column `text`"), ("number", "is int64, not text")):
        with pytest.raises(InputError, match=says) as caught:
            list(Corpus((path,), text_field=field).parts())
        assert caught.value.hint == "name the field with --text-field; there is body"
    data = path.read_bytes()
    for harmed in (data[: len(data) // 2], b"rubbish", b"", b"\xff" * 40 + data[40:]):
        with pytest.raises(InputError, match="cannot read") as caught:
            list(Corpus((write(tmp_path / "b.parquet", harmed),), text_field="body").parts())
        assert "\n" not in caught.value.message
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match="needs the `pyarrow` package") as caught:
        list(Corpus((path,)).parts())
    assert "lmtool[parquet]" in (caught.value.hint or "")


def test_a_field_of_rows_is_chosen(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", json.dumps({"body": "a", "n": 1, "title": "b"}).encode())
    assert list(Corpus((path,), text_field="body").pieces()) == ["a"]
    with pytest.raises(InputError, match='line 1 has no "text"') as caught:
        list(Corpus((path,)).pieces())
    assert caught.value.hint == "name the field with --text-field; there is body, title"


@settings(max_examples=60, deadline=None)
@given(lines=st.lists(st.text("ab\u2028", max_size=9), max_size=6), block=st.integers(1, 20))
def test_rows_are_lines_wherever_blocks_end(tmp_path_factory, lines: list[str], block: int) -> None:
    rows = "\n".join(json.dumps(line) for line in lines)
    path = write(tmp_path_factory.getbasetemp() / "rows.jsonl", rows.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "BLOCK", block)
        found = [part.text for part in Corpus((path,), exact=True).parts() if part.ends]
    assert found == lines


@settings(max_examples=100, deadline=None)
@given(text=st.text("ab\n<>|", max_size=30), block=st.integers(1, 9))
def test_exact_documents_join_to_the_file(tmp_path_factory, text: str, block: int) -> None:
    path = write(tmp_path_factory.getbasetemp() / "exact", text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "BLOCK", block)
        parts = list(Corpus((path,), ("<|>",), exact=True).parts())
    documents, held = [], ""
    for part in parts:
        held += part.text
        if part.ends:
            documents.append(held)
            held = ""
    expected = text.split("<|>")
    assert held == ""
    assert documents == (expected if expected[-1] else expected[:-1])
    assert all(part == Part(0, part.text, part.ends) for part in parts)


def test_patterns_find_files(tmp_path: Path, monkeypatch) -> None:
    for name in ("a.txt", "b/c.txt", "b/d/e.txt", "b/f.bin", "odd[1].txt", "g/h.md"):
        write(tmp_path / name, b"a")
    monkeypatch.chdir(tmp_path)

    def found(pattern: str) -> list[str]:
        return [path.as_posix() for path in find_files([Path(pattern)])]

    assert found("**/*.txt") == ["a.txt", "b/c.txt", "b/d/e.txt", "odd[1].txt"]
    assert found("b/*") == ["b/c.txt", "b/d/e.txt", "b/f.bin"]
    assert found("[ab].txt") == ["a.txt"]
    assert found("odd[1].txt") == ["odd[1].txt"], "what is there is no pattern"
    assert found("b/**") == ["b/c.txt", "b/d/e.txt", "b/f.bin"]
    with pytest.raises(InputError, match=r"no file matches `\*\.csv`"):
        found("*.csv")


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_packed_file_by_another_name_is_seen_through(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / "a.txt", PACKERS[suffix](ALL.encode()))
    with pytest.raises(InputError, match="is not UTF-8") as caught:
        list(read_text(path))
    assert caught.value.hint == f"it begins as {suffix} files do: name it so, or unpack it first"
