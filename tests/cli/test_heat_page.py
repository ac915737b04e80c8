"""`lmtool evaluate --html`: the page holds the text and its prices, and runs nothing of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool.cli.evaluate_report import Line
from lmtool.cli.heat import band_of
from lmtool.cli.heat_page import draw_page
from lmtool.cli.token_cells import parts_of
from lmtool.engine.score import Loss
from reference.browser import browsing, find_browser
from reference.heated import DOCUMENTS, heat_of
from reference.page_reader import data_of, read_page

from ..conftest import RunLmtool

HOSTILE = "</script><script>document.title = 'taken'</script><img src=x onerror=alert(1)>"
TEXT = f"Once upon a time there was a fox.\n{HOSTILE}\nHe lived in 日本.\n"


def line_of(name: str = "text") -> Line:
    loss = Loss()
    loss.add([1.0, 2.0])
    return Line("model", name, loss)


@settings(deadline=None, max_examples=40)
@given(DOCUMENTS, st.integers(1, 80))
def test_every_token_has_its_text_its_band_and_its_price(documents: Any, limit: int) -> None:
    heat = heat_of(documents, 7, keep=limit)
    page = read_page("".join(draw_page([line_of()], [(line_of(), heat)], limit)))
    cells = list(heat.cells(limit))
    (section,) = data_of(page)
    shown = page.one("div", "text").all("b")
    assert len(shown) == len(cells) == len(section["cells"])
    for cell, element, (place, *told) in zip(cells, shown, section["cells"], strict=True):
        assert place == cell.place
        assert told[::2] == list(cell.ids)
        assert [bits is None for bits in told[1::2]] == [bits is None for bits in cell.bits]
        prices = [bits for bits in cell.bits if bits is not None]
        band = band_of(sum(prices) / len(prices)) if prices else None
        assert element.kinds == ([] if band is None else [f"h{band}"])
        assert all(section["texts"][str(id)] for id in cell.ids)
        if all(kind == "text" for kind, _ in parts_of(cell.data)) and cell.data:
            assert element.text == "".join(text for _, text in parts_of(cell.data))
    tokens = sum(map(len, documents))
    assert bool(page.all("p", "cut")) == (tokens > limit)
    assert sum(len(cell.ids) for cell in cells) == min(tokens, limit)
    assert len(page.all("script")) == 2


def test_names_are_text() -> None:
    heat = heat_of([[(1, 0.0), (2, 3.0)]], 1)
    line = Line("<i>model</i>", "a<b>\u202e.txt", line_of().loss)
    page = read_page("".join(draw_page([line], [(line, heat)], 9)))
    (title,) = page.all("h2")
    assert title.text == "a<b>\\u202e.txt by <i>model</i>"


def test_a_price_that_is_no_number_is_none() -> None:
    heat = heat_of([[(0, 0.0), (1, math.inf), (2, math.nan)]], 9)
    page = read_page("".join(draw_page([line_of()], [(line_of(), heat)], 9)))
    assert data_of(page)[0]["cells"][1:] == [[1, 1, None], [2, 2, None]]


def test_a_page_without_a_folder_is_told_before_anything_is_run(run_lmtool: RunLmtool) -> None:
    done = run_lmtool("evaluate", "--html", "nowhere/heat.html", input=TEXT.encode())
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"cannot write `nowhere/heat.html`: no such folder: `nowhere`" in done.stderr
    both = run_lmtool("evaluate", "--html", "-", input=TEXT.encode())
    assert (both.returncode, both.stdout) == (2, b"")


@pytest.mark.skipif(find_browser() is None, reason="needs a Chromium")
def test_in_a_browser(run_lmtool: RunLmtool, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    done = run_lmtool("evaluate", "a.txt", "--html", "heat.html", "--json")
    assert done.stderr == b"written: heat.html\n"
    figures = json.loads(done.stdout)["texts"][0]
    page = read_page((tmp_path / "heat.html").read_text())
    bits = [one for cell in data_of(page)[0]["cells"] for one in cell[2::2] if one is not None]
    assert len(bits) == figures["tokens"]
    assert sum(bits) * math.log(2) / len(bits) == pytest.approx(figures["loss"], abs=0.01)
    with browsing(find_browser() or "", tmp_path / "profile") as browser:
        browser.open(tmp_path / "heat.html", width=500)
        assert "<img src=x" in browser.text(".text").replace("·", " ")
        assert browser.run("document.title") == "Where the loss sits"
        browser.point(".text b:nth-child(2)")
        assert browser.text("#told").startswith('token 1 "Once", id ')
        assert f"{bits[0]:.2f} bits, chance " in browser.text("#told")
        browser.point(".text b:nth-child(1)")
        assert browser.text("#told").endswith("nothing stands before it")
        browser.click(".text b:nth-child(3)")
        browser.point(".text b:nth-child(2)")
        assert browser.text("#told").startswith("token 2 ")
        browser.press("Escape")
        assert browser.run("document.getElementById('told').textContent") == ""
        assert browser.run("document.documentElement.scrollWidth") <= 500
        light = browser.run("getComputedStyle(document.body).backgroundColor")
        browser.open(tmp_path / "heat.html", dark=True)
        assert browser.run("getComputedStyle(document.body).backgroundColor") != light
        assert all(address.startswith("file:") for address in browser.requests)
        assert len(browser.requests) == 2
        assert browser.complaints == []
