"""`lmtool compare`: what it prints, draws and refuses."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pexpect
import pytest

from lmtool.cli.bar_chart import Chart, draw_bars
from lmtool.cli.comparison_report import distinct_names
from lmtool.cli.text_table import Table, as_markdown, as_text, display_width, fitted, printable
from reference.small_tokenizers import KINDS, SAMPLES

from .conftest import REAL, Ran

SVG = "{http://www.w3.org/2000/svg}"
TEXTS = {"en": "english", "ru": "russian", "ja": "japanese"}
Compare = Callable[..., Ran]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tokenizers of every kind and texts in some languages."""
    folder = tmp_path_factory.mktemp("compare")
    for name, make in KINDS.items():
        (folder / name).mkdir()
        make().save(str(folder / name / "tokenizer.json"))
    (folder / "texts").mkdir()
    for code, name in TEXTS.items():
        (folder / "texts" / f"{code}.txt").write_bytes(SAMPLES[name].encode())
    (folder / "empty.txt").touch()
    (folder / "latin1.txt").write_bytes(b"fine\nna\xefve\n")
    (folder / "binary.bin").write_bytes(bytes(range(256)))
    (folder / "broken").mkdir()
    (folder / "broken" / "tokenizer.json").write_text('{"model": ')
    return folder


@pytest.fixture
def compare(command, place: Path, monkeypatch: pytest.MonkeyPatch) -> Compare:
    """`compare("byte_level", "--", "texts")`, in the folder of the texts."""
    monkeypatch.chdir(place)

    def run(*arguments: str, stdin: bytes = b"") -> Ran:
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            return command("compare", *arguments, script=REAL)

    return run


def test_tables_fit_80_columns_and_stay_plain_in_a_pipe(compare: Compare) -> None:
    ran = compare("byte_level", "byte_fallback", "unigram", "--", "texts")
    assert (ran.code, ran.err) == (0, "")
    assert "\x1b" not in ran.out
    assert max(map(display_width, ran.out.splitlines())) <= 80
    assert ran.out.endswith("\n")
    assert not ran.out.endswith("\n\n")
    for words in ("bytes a token by file", "shared vocabulary", "text that doesn't come back"):
        assert words in ran.out
    assert re.search(r"^tokens +\d+ +\d+ +\d+$", ran.out, re.MULTILINE)
    assert re.search(r"^beside byte_level +[+-]\d+\.\d % +[+-]\d+\.\d %$", ran.out, re.MULTILINE)


def test_long_names_become_letters(compare: Compare) -> None:
    names = ("byte_level", "unigram", "word_piece", "byte_fallback", "./unigram", "./byte_level")
    ran = compare(*names, "--", "texts")
    assert ran.code == 0
    assert re.search(r"^bytes a token by file +text +A +B +C +D +E +F$", ran.out, re.MULTILINE)
    assert re.search(r"^E  \./unigram +Unigram, ", ran.out, re.MULTILINE)
    assert max(map(display_width, ran.out.splitlines())) <= 80


def test_one_tokenizer_alone_is_a_table_of_it(compare: Compare) -> None:
    ran = compare("byte_level", "--", "texts/en.txt")
    assert ran.code == 0
    assert "shared vocabulary" not in ran.out
    assert "beside" not in ran.out
    found = compare("byte_level", "--json", "--", "texts/en.txt").json
    assert found["overlaps"] == found["words"] == []
    assert found["total"]["tokenizers"][0]["change"] == 0


def test_json_holds_everything(compare: Compare, place: Path) -> None:
    from tokenizers import Tokenizer

    found = compare("byte_level", "unigram", "--json", "--by", "language", "--", "texts").json
    assert [one["name"] for one in found["tokenizers"]] == ["byte_level", "unigram"]
    assert {group["name"] for group in found["groups"]} == {"English", "Russian", "Japanese"}
    library = Tokenizer.from_file(str(place / "byte_level" / "tokenizer.json"))
    english = next(group for group in found["groups"] if group["name"] == "English")
    count = len(library.encode(SAMPLES["english"]).ids)
    assert english["tokenizers"][0]["tokens"] == count
    assert english["tokenizers"][0]["bytes_per_token"] == len(SAMPLES["english"]) / count
    assert english["tokenizers"][0]["tokens_per_word"] == count / len(SAMPLES["english"].split())
    assert sum(group["bytes"] for group in found["groups"]) == found["text"]["bytes"]
    assert found["text"]["files"] == ["texts/en.txt", "texts/ja.txt", "texts/ru.txt"]
    (overlap,) = found["overlaps"]
    assert 0 < overlap["jaccard"] < 1
    assert overlap["share_of_first"] == overlap["shared"] / found["tokenizers"][0]["unused"]["of"]
    unigram = found["tokenizers"][1]
    assert unigram["unknown"]["tokens"] > 0
    faults = {fault["file"]: fault for fault in unigram["round_trip"]["files"]}
    assert faults["texts/ja.txt"]["first_offset"] == 0
    (words,) = found["words"]
    for word in words["dearer"]:
        assert word["cost"] == word["count"] * (len(word["second"]) - len(word["first"])) > 0


def test_csv_and_markdown_have_the_same_figures(compare: Compare) -> None:
    options = ("byte_level", "unigram", "--by", "script", "--", "texts")
    found = compare("--json", *options).json
    rows = list(csv.DictReader(compare("--format", "csv", *options).out.splitlines()))
    assert len(rows) == 2 * (len(found["groups"]) + 1)
    assert rows[0]["script"] == found["groups"][0]["name"]
    assert (
        float(rows[1]["bytes_per_token"]) == found["groups"][0]["tokenizers"][1]["bytes_per_token"]
    )
    assert rows[-1]["script"] == "total"
    page = compare("--format", "markdown", *options).out
    assert "| script | text | byte_level | unigram |\n| --- | ---: | ---: | ---: |\n" in page
    compare("--format", "csv", "--json", *options).fails(2, "exclude each other")


def test_a_picture_is_well_formed_and_whole(compare: Compare, tmp_path: Path) -> None:
    target = tmp_path / "bars.svg"
    ran = compare("byte_level", "unigram", "--svg", str(target), "--", "texts")
    assert ran.err == f"written: {target}\n"
    assert compare("byte_level", "--svg", str(target), "-q", "--", "texts").err == ""
    root = ElementTree.fromstring(target.read_text("utf-8"))
    assert root.tag == f"{SVG}svg"
    compare("byte_level", "--svg", "nowhere/x.svg", "--", "texts").fails(1, "no such folder")
    compare("byte_level", "--svg", "texts", "--", "texts").fails(1, "it is a folder")


def test_a_tokenizer_that_loses_text_is_not_praised_for_it(
    compare: Compare, tmp_path: Path
) -> None:
    target = tmp_path / "bars.svg"
    ran = compare("byte_level", "unigram", "--svg", str(target), "--", "texts")
    note = re.search(r"^unigram loses (\d+ %) of the text to unknown tokens", ran.out, re.MULTILINE)
    assert note is not None
    assert f"; unigram: {note[1]} unknown" in target.read_text("utf-8")
    assert "byte_level loses" not in ran.out


def test_the_result_may_go_to_a_file(compare: Compare, tmp_path: Path) -> None:
    ran = compare("byte_level", "-o", str(tmp_path / "out.txt"), "--", "texts")
    assert (ran.code, ran.out) == (0, "")
    assert "bytes a token" in (tmp_path / "out.txt").read_text("utf-8")


# --- What are tokenizers and what are files


def test_files_come_behind_two_dashes_by_f_or_from_stdin(compare: Compare) -> None:
    text = SAMPLES["english"].encode()
    behind = compare("byte_level", "unigram", "--json", "--", "texts/en.txt").json
    by_f = compare("byte_level", "-f", "texts/en.txt", "unigram", "--json").json
    stdin = compare("byte_level", "unigram", "--json", stdin=text).json
    dash = compare("byte_level", "unigram", "--json", "--", "-", stdin=text).json
    for found in (by_f, stdin, dash):
        assert found["total"] == behind["total"]
    assert stdin["groups"][0]["name"] == "stdin"
    both = compare("byte_level", "--json", "-f", "texts/en.txt", "--", "texts/ru.txt").json
    assert both["text"]["files"] == ["texts/en.txt", "texts/ru.txt"]


def test_behind_two_dashes_nothing_is_an_option(compare: Compare, place: Path) -> None:
    for name in ("--json", "-x.txt", "a=b"):
        (place / name).write_text("the old keeper")
        ran = compare("byte_level", "--", name)
        assert ran.code == 0, ran.err
        assert ran.out.startswith("tokenizers\n")


def test_the_help_page_says_where_files_stand(compare: Compare) -> None:
    assert "Usage: lmtool compare [OPTIONS] TOKENIZER... [-- FILE...]" in compare("-h").out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, ["missing argument 'TOKENIZER"]),
        (["--", "texts"], 2, ["missing argument 'TOKENIZER"]),
        (["byte_level", "--"], 2, ["no files behind `--`", "leave `--` out to read stdin"]),
        (["byte_level", "texts/en.txt"], 3, ["put it behind `--`", "texts/en.txt"]),
        (["byte_level", "nowhere", "--", "texts"], 3, ["`nowhere`"]),
        (["byte_level", "broken", "--", "texts"], 3, ["broken/tokenizer.json", "not JSON"]),
        (["byte_level", "--", "nothing.txt"], 4, ["no such file: `nothing.txt`"]),
        (["byte_level", "--", "latin1.txt"], 4, ["latin1.txt", "offset 7, line 2"]),
        (["byte_level", "--", "binary.bin"], 4, ["binary.bin", "not UTF-8"]),
        (["byte_level", "--", "-", "-"], 2, ["stdin can be read only once"]),
        (["byte_level", "--by", "colour", "--", "texts"], 2, ["'colour'"]),
        (["byte_level", "--sample-bytes", "0", "--", "texts"], 2, ["--sample-bytes"]),
    ],
)
def test_what_cannot_be_compared_is_refused(
    compare: Compare, arguments: list[str], code: int, says: list[str]
) -> None:
    compare(*arguments).fails(code, *says)


def test_bad_bytes_are_counted_when_they_may_be_there(compare: Compare) -> None:
    ran = compare("byte_level", "--errors", "replace", "--", "latin1.txt")
    assert ran.code == 0
    assert "`latin1.txt` is not UTF-8: 1 U+FFFD put in, the first at offset 7, line 2" in ran.err
    ran = compare("byte_level", "--errors", "skip", "--json", "--", "binary.bin")
    assert ran.json["text"] == {
        "files": ["binary.bin"],
        **{"bytes": 128, "characters": 128, "words": 1, "bad_bytes": 128},
    }


def test_an_empty_text_divides_by_nothing(compare: Compare, tmp_path: Path) -> None:
    for options in ((), ("--json",), ("--format", "csv"), ("--by", "script")):
        svg = ("--svg", str(tmp_path / "x.svg"))
        ran = compare("byte_level", "unigram", *options, *svg, "--", "empty.txt")
        assert ran.code == 0
        assert ran.err.startswith("warning: there is no text to compare on\n")
    ElementTree.fromstring((tmp_path / "x.svg").read_text("utf-8"))
    assert compare("byte_level", stdin=b"").code == 0


def test_the_same_tokenizer_twice_is_told_apart(compare: Compare) -> None:
    found = compare("byte_level", "byte_level", "--json", "--", "texts").json
    assert [one["name"] for one in found["tokenizers"]] == ["byte_level", "byte_level (2)"]
    assert found["overlaps"][0]["jaccard"] == 1


def test_special_tokens_are_text_unless_parsed(compare: Compare) -> None:
    text = b"a<|endoftext|>b"
    as_text = compare("byte_level", "--json", stdin=text).json
    parsed = compare("byte_level", "--json", "--special", "parse", stdin=text).json
    assert parsed["total"]["tokenizers"][0]["tokens"] == 3
    assert as_text["total"]["tokenizers"][0]["tokens"] > 3
    assert parsed["tokenizers"][0]["round_trip"]["lines_changed"] == 0


def test_names_are_short_and_never_the_same(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    assert distinct_names(["default", "org/model"]) == ["default", "org/model"]
    assert distinct_names(["./byte_level", "unigram/tokenizer.json"]) == ["byte_level", "unigram"]
    assert distinct_names(["byte_level", "./byte_level"]) == ["byte_level", "./byte_level"]
    assert distinct_names(["x", "x", "x"]) == ["x", "x (2)", "x (3)"]


# --- On a terminal and in a process


def test_a_terminal_gets_bold_heads(lmtool_environ: dict[str, str], place: Path) -> None:
    arguments = ["-m", "lmtool", "compare", "byte_level", "--", "texts"]
    environ = {**lmtool_environ, "TERM": "xterm"}
    child = pexpect.spawn(
        sys.executable, arguments, cwd=str(place), env=environ, encoding="utf-8", timeout=60
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert "\x1b[1mbytes a token by file" in (child.before or "")


def test_as_a_process_it_reads_a_pipe_and_loads_no_torch(run_lmtool, place: Path) -> None:
    text = SAMPLES["english"].encode()
    done = run_lmtool(
        *("compare", "byte_level", "unigram", "--json"),
        input=text,
        cwd=place,
        PYTHONPROFILEIMPORTTIME="1",
    )
    assert done.returncode == 0, done.stderr[-300:]
    assert json.loads(done.stdout)["text"]["bytes"] == len(text)
    assert b"torch" not in done.stderr
    assert b"transformers" not in done.stderr


def test_tab_offers_models_before_the_dashes_and_files_behind(
    capfd, monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    from lmtool.cli.app import run

    monkeypatch.chdir(place)
    monkeypatch.setenv("HF_HUB_CACHE", str(place / "none"))
    monkeypatch.setenv("_LMTOOL_COMPLETE", "complete_bash")

    def tab(*words: str) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", "\n".join(("lmtool", *words)))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        capfd.readouterr()
        assert run([]) == 0
        return capfd.readouterr().out.split()

    assert "byte_level" in tab("compare", "")
    assert "unigram" in tab("compare", "byte_level", "")
    assert tab("compare", "byte_level", "--", "") == []


# --- Tables and bars by themselves


def test_cells_are_aligned_by_what_they_take_on_a_terminal() -> None:
    table = Table("words", ("word", "n"), [["漢字", "1"], ["e\u0301t", "20"], ["only"]])
    assert as_text(table) == "words   n\n漢字    1\ne\u0301t     20\nonly\n\n"
    assert as_markdown(Table("t", ("a", "b"), [["x|y", "1"], ["z"]])) == (
        "**t**\n\n| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n| z |  |\n\n"
    )
    assert [fitted("漢字かな", width) for width in (8, 7, 4)] == ["漢字かな", "漢字か…", "漢…"]
    assert fitted("a/b/long.txt", 9, keep_end=True) == "…long.txt"
    assert printable("a\x1b[31m\n\u202eb") == "a\\x1b[31m\\n\\u202eb"


def chart(**changes) -> Chart:
    given = {
        "title": "Bytes a token",
        "subtitle": "1 kB",
        "series": ["A", "B"],
        "labels": ["eng", "fra"],
        "values": [[4.0, 2.0], [None, 1.5]],
    }
    return Chart(**(given | changes))


def test_bars_are_as_long_as_their_values() -> None:
    root = ElementTree.fromstring(draw_bars(chart()))
    bars = [bar for bar in root.iter(f"{SVG}rect") if bar.find(f"{SVG}title") is not None]
    assert [bar.find(f"{SVG}title").text for bar in bars] == [
        "eng, A: 4.00",
        "eng, B: 2.00",
        "fra, B: 1.50",
    ]
    widths = [float(bar.get("width")) for bar in bars]
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.01)
    assert widths[1] / widths[2] == pytest.approx(4 / 3, rel=0.01)
    assert len({bar.get("class") for bar in bars}) == 2


def test_names_are_escaped_and_what_xml_cannot_hold_is_replaced() -> None:
    nasty = "<b>&\"'\x00\x1b\ud800\uffff]]>"
    root = ElementTree.fromstring(
        draw_bars(chart(title=nasty, subtitle=nasty, series=[nasty, "B"], labels=[nasty, "f"]))
    )
    assert "<b>&\"'" in root.find(f"{SVG}title").text
    assert not list(root.iter("b"))


def test_many_series_and_long_labels_stay_inside_the_picture() -> None:
    series = [f"tokenizer number {place}" for place in range(12)]
    labels = [f"a/very/long/folder/name/{place}/and/a/file.txt" for place in range(20)]
    values = [[float(place + other) for other in range(12)] for place in range(20)]
    root = ElementTree.fromstring(draw_bars(chart(series=series, labels=labels, values=values)))
    width, height = float(root.get("width")), float(root.get("height"))
    for bar in root.iter(f"{SVG}rect"):
        assert float(bar.get("x")) + float(bar.get("width")) < width
        assert float(bar.get("y")) + float(bar.get("height")) < height
    texts = [text for text in root.iter(f"{SVG}text") if text.get("text-anchor") == "end"]
    assert all(text.text.startswith("…") for text in texts)
