"""Reading text: packed files, documents, pieces, and what can be wrong with them."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool import InputError
from lmtool.tokenizer import corpus, opening
from lmtool.tokenizer.corpus import Corpus, find_files, read_text, spread_sample
from reference.small_tokenizers import ALL, SAMPLES


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def read(path: Path) -> str:
    return "".join(read_text(path))


def test_packed_files_are_unpacked(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.txt", ALL.encode())) == ALL
    assert read(write(tmp_path / "a.txt.gz", gzip.compress(ALL.encode()))) == ALL
    assert read(write(tmp_path / "a.txt.xz", lzma.compress(ALL.encode()))) == ALL


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
@pytest.mark.parametrize("harm", ["cut", "swap", "text"])
def test_a_damaged_packed_file_is_named(tmp_path: Path, suffix: str, harm: str) -> None:
    packed = bytearray((gzip if suffix == ".gz" else lzma).compress(ALL.encode()))
    if harm == "swap":
        packed[len(packed) // 2] ^= 0xFF
    data = {"cut": packed[:-20], "swap": packed, "text": ALL.encode()}[harm]
    path = write(tmp_path / f"a{suffix}", bytes(data))
    with pytest.raises(InputError, match="cannot read"):
        read(path)


def test_bytes_read_add_up_to_the_size_on_disk(tmp_path: Path) -> None:
    files = {"a.txt": ALL.encode(), "a.txt.gz": gzip.compress(ALL.encode() * 50)}
    for name, data in files.items():
        seen: list[int] = []
        path = write(tmp_path / name, data)
        for _ in read_text(path, seen.append):
            pass
        assert sum(seen) == len(data) == Corpus((path,)).size


@settings(max_examples=100, deadline=None)
@given(
    before=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    bad=st.sampled_from([b"\xff", b"\xe3\x81", b"\xc0\x80", b"\xed\xa0\x80", b"\x80"]),
    after=st.sampled_from([b"", b"x", b"\n"]),
    block=st.sampled_from([1, 2, 3, 7, 1 << 18]),
)
def test_a_bad_byte_is_named_with_offset_and_line(
    tmp_path_factory, before: str, bad: bytes, after: bytes, block: int
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "bad", before.encode() + bad + after)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "BLOCK", block)
        with pytest.raises(InputError) as caught:
            read(path)
    offset, line = len(before.encode()), before.count("\n") + 1
    expected = f"byte 0x{bad[0]:02x} at offset {offset}, line {line}"
    assert caught.value.message.endswith(expected)


@settings(max_examples=100, deadline=None)
@given(
    documents=st.lists(st.text("ab \n<", max_size=12), max_size=6),
    block=st.integers(1, 9),
)
def test_separators_part_documents_wherever_blocks_end(
    tmp_path_factory, documents: list[str], block: int
) -> None:
    text = "<|end|>".join(documents)
    path = write(tmp_path_factory.getbasetemp() / "docs", text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "BLOCK", block)
        pieces = list(Corpus((path,), ("<|end|>",)).pieces())
    stripped = [document.strip("\n") for document in text.split("<|end|>")]
    assert pieces == [document for document in stripped if document]


@settings(max_examples=100, deadline=None)
@given(text=st.text("ab \n。", max_size=80), longest=st.integers(2, 20))
def test_pieces_join_to_the_document_and_are_short(
    tmp_path_factory, text: str, longest: int
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "long", text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "PIECE", longest)
        pieces = list(Corpus((path,)).pieces())
    assert "".join(pieces) == text.strip("\n")
    assert all(0 < len(piece) <= longest for piece in pieces)


def test_jsonl_gives_the_text_of_its_rows(tmp_path: Path) -> None:
    rows = [json.dumps({"text": "one\ntwo", "id": 1}), "", json.dumps("three"), '{"text": ""}']
    path = write(tmp_path / "a.jsonl.gz", gzip.compress("\n".join(rows).encode()))
    assert list(Corpus((path,)).pieces()) == ["one\ntwo", "three"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("{", "line 2 is not JSON"),
        ('{"txt": "a"}', 'line 2 has no "text"'),
        ("3", 'line 2 has no "text"'),
        ('{"text": "\\ud800"}', "line 2 has half a surrogate pair"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, says: str) -> None:
    path = write(tmp_path / "a.jsonl", f'"fine"\n{row}\n'.encode())
    with pytest.raises(InputError, match=says):
        list(Corpus((path,)).pieces())


def test_folders_give_their_text_files_by_name(tmp_path: Path) -> None:
    for name in ("b.txt", "a/c.md.xz", "a/b.jsonl", "x.json", "y.bin", ".git/d.txt", ".e.txt"):
        write(tmp_path / name, b"")
    found = [path.relative_to(tmp_path).as_posix() for path in find_files([tmp_path])]
    assert found == ["a/b.jsonl", "a/c.md.xz", "b.txt"]
    assert find_files([tmp_path / "y.bin"]) == (tmp_path / "y.bin",)
    with pytest.raises(InputError, match="no text files in"):
        find_files([tmp_path / "b.txt", write(tmp_path / "e/f.bin", b"").parent])
    with pytest.raises(InputError, match="no such file"):
        find_files([tmp_path / "nothing"])


@settings(max_examples=100, deadline=None)
@given(
    pieces=st.lists(st.text("abあ", min_size=1, max_size=9), max_size=40),
    size=st.integers(1, 120),
    data=st.data(),
)
def test_a_sample_doesn_t_depend_on_order(pieces: list[str], size: int, data) -> None:
    sample = list(spread_sample(pieces, size))
    assert sample == list(spread_sample(data.draw(st.permutations(pieces)), size))
    total, taken = (sum(len(piece.encode()) for piece in some) for some in (pieces, sample))
    assert min(size, total) <= taken <= min(size + 27, total)
    assert not set(sample) - set(pieces)


def test_a_sample_comes_from_all_over(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "".join(f"{n:05} " for n in range(40_000)).encode())
    sample = list(Corpus((path,), sample_bytes=40_000).pieces())
    firsts = sorted(int(piece.split()[0]) for piece in sample)
    assert 40_000 <= sum(map(len, sample)) < 45_000
    assert firsts[0] < 12_000
    assert firsts[-1] > 28_000


def test_samples_of_many_scripts_are_read_as_they_are(tmp_path: Path) -> None:
    for name, text in SAMPLES.items():
        assert read(write(tmp_path / f"{name}.txt", text.encode())) == text
