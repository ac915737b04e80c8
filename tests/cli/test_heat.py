"""`lmtool evaluate --heat`: what the picture shows is what the model paid, in 80 columns."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool.cli.evaluate_report import Line
from lmtool.cli.heat import BANDS, DEAREST, Heat, band_of, course_of
from lmtool.cli.heat_report import SHOWN, draw_heat
from lmtool.cli.prompt_words import Word
from lmtool.cli.text_table import display_width
from lmtool.engine.score import Loss
from reference.heated import DOCUMENTS, PIECES, Pieces, heat_of

from ..conftest import RunLmtool

HOT = "Once upon a time there was a fox who lived in Constantinople.\n\nShe was 日本語 happy.\n"
PAINT = re.compile(r"\x1b\[[0-9;]*m")


def drawn(heat: Heat, colour: bool = False) -> list[str]:
    return draw_heat(Line("model", "text", Loss()), heat, colour).splitlines()


@settings(deadline=None, max_examples=40)
@given(DOCUMENTS, st.integers(1, 70))
def test_the_picture_holds_the_text_within_80_columns(documents: Any, step: int) -> None:
    heat = heat_of(documents, step)
    plain, painted = drawn(heat), drawn(heat, colour=True)
    assert max(map(display_width, plain)) <= 80
    painted = [PAINT.sub("", line) for line in painted]
    assert max(map(display_width, painted)) <= 80
    assert not [line for line in plain if any(ord(c) < 32 or c in "\u2028\u202e" for c in line)]
    cells = list(heat.cells(999))
    assert b"".join(cell.data for cell in cells) == b"".join(
        PIECES[id] for document in documents for id, _ in document
    )
    bits = [one for cell in cells for one in cell.bits]
    wanted = [one if at else None for document in documents for at, (_, one) in enumerate(document)]
    assert [one is None for one in bits] == [one is None for one in wanted]
    assert [one or 0.0 for one in bits] == pytest.approx([one or 0.0 for one in wanted])


@settings(deadline=None, max_examples=40)
@given(DOCUMENTS, st.integers(1, 70))
def test_the_dearest_words_are_those_of_all_words(documents: Any, step: int) -> None:
    words: list[tuple[float, int, int]] = []
    place = 0
    for document in documents:
        paid = [0.0, *(bits for _, bits in document[1:])]
        for word in cast("list[Word]", Pieces().words([id for id, _ in document])):
            words.append((sum(paid[word.begin : word.end]), place + word.begin, word.end))
        place += len(document)
    dear = [bits for bits, _, _ in sorted(words, key=lambda word: -word[0]) if bits]
    found = heat_of(documents, step).dearest()
    assert [one.bits for one in found] == pytest.approx(dear[:DEAREST])
    places = {at: bits for bits, at, _ in words}
    for one in found:
        assert places[one.place] == pytest.approx(one.bits)


def test_bands_share_out_the_loss() -> None:
    heat = heat_of([[(0, 0.0), (1, 0.5), (2, 3.0), (3, 8.0), (4, 12.5), (1, 0.25)]], 2)
    assert heat.counts == [2, 1, 0, 1, 1]
    assert heat.sums == pytest.approx([0.75, 3.0, 0.0, 8.0, 12.5])
    rows = [line.split("  ") for line in drawn(heat) if line.startswith(("below 1", "12 or more"))]
    assert [[cell.strip() for cell in row if cell.strip()] for row in rows] == [
        ["below 1", "over 1 in 2", "2", "40.0%", "3.1%"],
        ["12 or more", "1 in 4,096 or less", "1", "20.0%", "51.5%", "█████"],
    ]


def test_marks_stand_below_their_tokens() -> None:
    heat = heat_of([[(0, 0.0), (1, 2.0), (2, 0.1), (16, 13.0), (3, 5.0), (4, 9.0), (5, 1.0)]], 9)
    lines = drawn(heat)
    at = lines.index("a the fox日本語es.↵")
    assert lines[at + 1] == " ▂▂▂▂    ██████▄▄▆▂"


def test_without_an_end_a_word_ends_all_the_same() -> None:
    heat = Heat(Pieces(), 5)
    heat.begin(0)
    for _ in range(40):
        heat.add([0] * 50, [1.0] * 50)
    assert len(heat._word) <= 114  # pyright: ignore[reportPrivateUsage]
    assert len(list(heat.cells(999))) == 5
    assert heat.tokens == 2001


def test_a_long_text_is_cut_and_says_so() -> None:
    heat = heat_of([[(1, 1.0)] * (SHOWN + 100)], 2048, keep=SHOWN)
    assert f"… the first {SHOWN:,} of {SHOWN + 100:,} tokens; --html shows more" in drawn(heat)
    shown = [line for line in drawn(heat) if line.startswith(" the the") or "the the the" in line]
    assert sum(line.count("the") for line in shown if "  " not in line) == SHOWN


@pytest.mark.parametrize("bits", [math.nan, math.inf])
def test_a_model_that_gives_no_number_is_hottest(bits: float) -> None:
    heat = heat_of([[(0, 0.0), (1, bits), (2, 1.0)]], 9)
    assert band_of(bits) == len(BANDS) - 1
    assert heat.counts[-1] == 1
    assert drawn(heat)


def test_a_course_has_the_text_s_mean() -> None:
    shares = [(64.0, 64)] * 100 + [(128.0, 64)] * 100
    steps = course_of(shares, 20)
    assert steps == pytest.approx([1 / math.log(2)] * 10 + [2 / math.log(2)] * 10)
    assert course_of(shares[:3], 20) == pytest.approx([1 / math.log(2)] * 3)


def test_of_a_model_on_texts(run_lmtool: RunLmtool, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(HOT)
    (tmp_path / "b.txt").write_text("xq zv\n")
    (tmp_path / "empty.txt").write_text("")
    done = run_lmtool("evaluate", "a.txt", "empty.txt", "b.txt", "--heat")
    table, first, second = done.stdout.decode().split("\nWhere the loss sits: ")
    assert done.returncode == 0
    assert "empty.txt" in table
    assert first.startswith("default on a.txt\n")
    assert second.startswith("default on b.txt\n")
    assert "\x1b" not in done.stdout.decode()
    figures = json.loads(run_lmtool("evaluate", "a.txt", "--json").stdout)["texts"][0]
    legend = [line for line in first.splitlines() if " 1 in " in line]
    counts = [int(re.split(r"  +", line)[2]) for line in legend]
    assert sum(counts) == figures["tokens"]
    assert re.search(r"^·?Constantinople +\d", first, re.MULTILINE)


def test_colours_where_they_are_wanted(run_lmtool: RunLmtool, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(HOT)
    painted = run_lmtool("evaluate", "a.txt", "--heat", "--color", "always").stdout.decode()
    assert f"\x1b[{BANDS[-1].style}m" in painted
    run_lmtool("evaluate", "a.txt", "--heat", "-o", "heat.txt", FORCE_COLOR="1")
    assert "\x1b" not in (tmp_path / "heat.txt").read_text()
    plain = PAINT.sub("", painted)
    assert "She was 日本語 happy.↵" in plain
    assert "▂▂" not in plain


def test_heat_and_json_exclude_each_other(run_lmtool: RunLmtool) -> None:
    done = run_lmtool("evaluate", "--heat", "--json", input=HOT.encode())
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--heat and --json exclude each other" in done.stderr
