"""The rows of `lmtool batch`: whatever they are written as, a bad one is bad alone."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as some

from lmtool import InputError
from lmtool.cli.batch import rows as module
from lmtool.cli.batch.rows import Input, Meter, Row
from lmtool.tokenizer.opening import STDIN

from .conftest import Run


def rows_of(data: bytes, format: str = "jsonl") -> list[Row]:
    """The rows that come on stdin; counted as a scan counts them."""
    source, meter = Input.of(STDIN, format), Meter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        found = list(source.rows(meter))
        patch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        assert source.scan() == meter.scan
    assert meter.scan.rows == len(found)
    assert [row.number for row in found] == list(range(1, len(found) + 1))
    return found


def fields(data: bytes, format: str = "jsonl") -> list[Any]:
    """Each row's fields, or what is wrong with it."""
    return [row.fault.message if row.fault else row.fields for row in rows_of(data, format)]


def test_json_lines() -> None:
    data = b'\xef\xbb\xbf{"a": 1}\r\n\n  \n"text"\n{"b": "\xc3\xa9\\u2028"}'
    found = rows_of(data)
    assert [row.fields for row in found] == [{"a": 1}, {"prompt": "text"}, {"b": "é\u2028"}]
    assert [row.line for row in found] == [1, 4, 5]


def test_how_a_row_is_laid_out_does_not_matter() -> None:
    one, other = rows_of(b'{"a": 1, "b": [2]}\n{ "b":[ 2 ],"a":1 }\n')
    assert one.data == other.data
    assert rows_of(b'{"a": 1}')[0].data != rows_of(b'{"a": 2}')[0].data


def test_plain_lines() -> None:
    assert fields(b"one\r\n\n two \nbad\xff\nlast", "lines") == [
        {"prompt": "one"},
        {"prompt": ""},
        {"prompt": " two "},
        "line 4 is not UTF-8: byte 0xff at offset 3 of the line",
        {"prompt": "last"},
    ]


def test_tables() -> None:
    data = b'\xef\xbb\xbfid,text\r\n1,"a ""b"", c"\r\n2,"two\r\nlines"\r\n\r\n'
    data += b"3\r\n4,\xff\r\n5,\xc3\xa9\r\n"
    found = rows_of(data, "csv")
    assert [row.line for row in found] == [2, 3, 6, 7, 8]
    assert fields(data, "csv") == [
        {"id": "1", "text": 'a "b", c'},
        {"id": "2", "text": "two\r\nlines"},
        "line 6 has 1 cell, and the header 2 names",
        "line 7 is not UTF-8: it has a byte 0xff",
        {"id": "5", "text": "é"},
    ]
    assert fields(b"a\tb\n1\t2\n", "tsv") == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("header", [b"a,a\n", b"a,\n", b"a,\xff\n"])
def test_a_table_without_a_good_header(header: bytes) -> None:
    with pytest.raises(InputError, match=r"header|two columns"):
        rows_of(header + b"1,2\n", "csv")


def test_a_line_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 100)
    data = b'{"a": "' + b"x" * 1000 + b'"}\n{"a": 1}\n' + b"y" * 5000
    long, good, last = fields(data)
    assert good == {"a": 1}
    assert long == "line 1 is longer than 100 bytes"
    assert last == "line 3 is longer than 100 bytes"


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.jsonl.gz", gzip.compress),
        ("a.jsonl.xz", lzma.compress),
        ("a.jsonl.zst", zstandard.compress),
        ("a.ndjson", bytes),
        ("a.unknown", bytes),
    ],
)
def test_packed_files(tmp_path: Path, name: str, pack: Any) -> None:
    path = tmp_path / name
    path.write_bytes(pack(b'{"a": 1}\n{"a": 2}\n'))
    source = Input.of(path, "auto")
    assert source.lasting
    assert source.scan().rows == 2
    assert [row.fields for row in source.rows(Meter())] == [{"a": 1}, {"a": 2}]
    if pack is not bytes:
        path.write_bytes(path.read_bytes()[:-3])
        with pytest.raises(InputError, match="cannot read"):
            source.scan()


def test_formats_by_name() -> None:
    names = {"a.csv": "csv", "a.csv.gz": "csv", "a.tsv": "tsv", "a.txt.xz": "lines", "-": "jsonl"}
    assert {name: Input.of(Path(name), "auto").format for name in names} == names
    assert Input.of(Path("a.csv"), "lines").format == "lines"


values = some.recursive(
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats(allow_nan=False, allow_infinity=False)
    | some.text(some.characters(exclude_categories=["Cs"])),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner),
    max_leaves=6,
)
objects = some.dictionaries(some.text(some.characters(exclude_categories=["Cs"])), values)


@settings(max_examples=40, deadline=None)
@given(some.lists(objects, max_size=4))
def test_any_object_comes_through(wanted: list[dict[str, Any]]) -> None:
    data = b"".join(json.dumps(one).encode() + b"\n" for one in wanted)
    assert fields(data) == wanted


@settings(max_examples=60, deadline=None)
@given(
    some.lists(
        some.text(some.characters(exclude_categories=["Cs"]), min_size=1),
        min_size=1,
        max_size=3,
        unique=True,
    ),
    some.data(),
)
def test_any_table_comes_through(header: list[str], data: some.DataObject) -> None:
    header = [name.replace("\r", "").replace("\0", "") or "x" for name in header]
    if len(set(header)) < len(header):
        return
    cell = some.text(some.characters(exclude_categories=["Cs"], exclude_characters="\0"))
    cells = data.draw(some.lists(some.lists(cell, min_size=len(header), max_size=len(header))))
    written = io.StringIO(newline="")
    csv.writer(written).writerows([header, *cells])
    found = fields(written.getvalue().encode(), "csv")
    assert found == [dict(zip(header, row, strict=True)) for row in cells]


@settings(max_examples=150, deadline=None)
@given(some.binary(max_size=60), some.sampled_from(["jsonl", "lines", "csv"]))
def test_no_bytes_are_too_bad(data: bytes, format: str) -> None:
    try:
        found = rows_of(data, format)
    except InputError:
        assert format == "csv", "only a header can be bad for all"
        return
    for row in found:
        json.dumps(row.fields, allow_nan=False).encode()
        assert (row.fault is None) or not row.fields


def test_a_template_over_the_fields(command: Run, tmp_path: Path) -> None:
    table, output = tmp_path / "a.csv", tmp_path / "out.jsonl"
    table.write_text("q,n,temp\nwho?,1,0.5\nwhy?,2,\n")
    template = tmp_path / "form.jinja"
    template.write_text("{{ n }}. {{ q | upper }}{% if temp %} at {{ temp }}{% endif %}")
    given = ("batch", str(table), "-o", str(output))
    for text in (str(template), template.read_text()):
        done = command(*given, "--template", text, "--fresh")
        assert done.code == 0, done
        found = [json.loads(line) for line in output.read_bytes().splitlines()]
        assert [one["prompt"] for one in found] == ["1. WHO? at 0.5", "2. WHY?"]
        assert [one["fields"] for one in found] == [
            {"q": "who?", "n": "1"},
            {"q": "why?", "n": "2"},
        ]
        assert found[0]["settings"]["temp"] == {"value": 0.5, "source": "row"}


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ nothing }}", "'nothing' is undefined"),
        ("{{ 'x' * 9999999999 }}", "too much memory"),
        ("{{ raise_exception('no') }}", "no"),
        ("{{ ''.__class__ }}", "unsafe"),
    ],
)
def test_a_template_that_fails_for_a_row(
    command: Run, tmp_path: Path, template: str, message: str
) -> None:
    (tmp_path / "in.jsonl").write_text('{"q": 1}\n')
    output = tmp_path / "out.jsonl"
    done = command("batch", str(tmp_path / "in.jsonl"), "-o", str(output), "--template", template)
    assert done.code == 6, done
    assert message in json.loads(output.read_text())["error"]["message"]


def test_a_template_that_is_none(command: Run, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"q": 1}\n')
    given = ("batch", str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl"), "--template")
    command(*given, "{{ q").fails(3, "not valid Jinja")
    command(*given, str(tmp_path / "none")).fails(3, "none")
