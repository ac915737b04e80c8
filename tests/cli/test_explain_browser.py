"""The page of `lmtool explain --html` in a real browser: mouse, keyboard, themes, widths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lmtool.cli.explain_page import COLUMNS, as_page
from reference.browser import Browser
from reference.invented_explanations import invented

from .conftest import REAL, Run

BALL = "Tom had a red ball. He gave the"
TIP = "document.getElementById('tip').innerText"
HIDDEN = "document.getElementById('tip').hidden"


def written(command: Run, page: Path, *arguments: str) -> Any:
    """Write the page of a prompt -> the predictions of the same run."""
    ran = command("explain", *arguments, "--json", "--html", str(page), script=REAL)
    assert ran.code == 0, ran
    return ran.json["predictions"]


def shown(prediction: Any) -> str:
    """How a token is shown."""
    return prediction["token"].replace(" ", "·")


def test_a_browser_tells_of_what_is_pointed_at(
    command: Run, tmp_path: Path, browser: Browser
) -> None:
    file = tmp_path / "pointed.html"
    found = written(command, file, BALL)
    (one,) = found
    browser.open(file)
    assert browser.run(HIDDEN)
    browser.point(".grid tbody tr:nth-child(4) td:last-child")
    lines = browser.run(TIP).split("\n")
    assert lines[0] == "After layer 2, what comes after ·the would be:"
    assert lines[1:3] == [
        shown(one["layers"][2]["top"][0]),
        f"{100 * one['layers'][2]['top'][0]['probability']:.1f}%",
    ]
    assert any(line.startswith("In layer 2, attention added ") for line in lines)
    browser.point("h1")
    assert browser.run(HIDDEN)
    browser.point(".words b:nth-child(6)")
    assert browser.run(TIP).startswith("·ball\n")
    browser.point(".sum tr[data-layer='5']")
    assert browser.run(TIP).startswith("In layer 5, attention added ")
    # A click keeps it until the next one.
    browser.click(".words b:nth-child(3)")
    browser.point("h1")
    assert browser.run(TIP).startswith("·had\n")
    browser.click("h1")
    assert browser.run(HIDDEN)
    cells = [f".grid tbody tr:nth-child({row}) td:nth-child(3)" for row in (2, 3)]
    browser.click(cells[0])
    assert browser.run(TIP).startswith("After layer 0, what comes after Tom would be:")
    browser.press("ArrowDown")
    assert browser.run(TIP).startswith("After layer 1, what comes after Tom would be:")
    browser.click(cells[0])
    assert browser.run(TIP).startswith("After layer 0, what comes after Tom would be:")
    browser.click(cells[0])
    assert browser.run(HIDDEN)
    # The tip is always within the window.
    for cell in (".grid tbody tr:last-child td:last-child", ".words b:last-child"):
        browser.point(cell)
        box = browser.run("(r => [r.left, r.top, r.right, r.bottom])(tip.getBoundingClientRect())")
        assert 0 <= box[0] < box[2] <= 1100
        assert 0 <= box[1] < box[3] <= 900


def test_a_browser_goes_by_the_keyboard(command: Run, tmp_path: Path, browser: Browser) -> None:
    file = tmp_path / "keys.html"
    found = written(command, file, BALL, "-n", "3")
    browser.open(file)
    answers = [shown(one["answer"]) for one in found]
    assert browser.text("h1") == f"Why {answers[0]} comes next"
    # Tab reaches the predictions, then the words, how they are coloured, and the grid.
    browser.press("Tab", "ArrowRight")
    visible = (
        "[...document.querySelectorAll('h1')].filter(e => e.offsetParent).map(e => e.innerText)"
    )
    assert browser.run(visible) == [f"Why {answers[1]} comes next"]
    browser.press("Tab", "End")
    assert browser.run(TIP).startswith(f"{answers[0]}\n")
    browser.press("ArrowLeft")
    assert browser.run(TIP).startswith("·the\n")
    browser.press("Escape")
    assert browser.run(HIDDEN)
    browser.press("Tab", "Tab")
    after = "After layer 5, what comes after ·the would be:"
    assert browser.run(TIP).startswith(after)
    browser.press("ArrowUp", "ArrowRight")
    assert browser.run(TIP).startswith(f"After layer 4, what comes after {answers[0]} would be:")
    browser.press("ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp")
    assert browser.run(HIDDEN)
    browser.press("ArrowRight", "Enter")
    assert browser.run(visible) == [f"Why {answers[2]} comes next"]
    browser.click(".grid thead th[data-pick='1']")
    assert browser.run(visible) == [f"Why {answers[1]} comes next"]
    assert browser.run("document.querySelector('#pick input:checked').value") == "1"


def test_a_browser_colours_words_and_follows_the_theme(
    command: Run, tmp_path: Path, browser: Browser
) -> None:
    file = tmp_path / "colours.html"
    written(command, file, BALL)
    grounds = (
        "[...document.querySelectorAll('.words b')].map(e => getComputedStyle(e).backgroundColor)"
    )
    pages: list[str] = []
    for dark in (False, True):
        browser.open(file, dark=dark)
        pages.append(browser.run("getComputedStyle(document.body).backgroundColor"))
        seen = [browser.run(grounds)]
        for kind in ("back", "adds"):
            browser.click(f".by input[value='{kind}']")
            seen.append(browser.run(grounds))
        assert all(len(set(one)) > 5 for one in seen)
        assert seen[0] != seen[1] != seen[2]
        cell = "getComputedStyle(document.querySelector('.grid tbody td:nth-child({})')){}"
        surest = [browser.run(cell.format(at, ".backgroundColor")) for at in (2, 3, 4)]
        assert len(set(surest)) > 1
    assert pages == ["rgb(255, 255, 255)", "rgb(22, 24, 28)"]


def test_a_browser_has_wide_and_hostile_pages(tmp_path: Path, browser: Browser) -> None:
    file = tmp_path / "wide.html"
    found, columns = invented(COLUMNS, 12, 2)
    file.write_text(as_page(found, columns), "utf-8")
    for width in (380, 1100):
        browser.open(file, width)
        assert browser.run("document.querySelectorAll('script').length") == 2
        assert browser.run("document.title") == "Why the next word is that one"
        # What is wide scrolls in its own box, and the explained column is in sight.
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        left, right = browser.run(
            "(r => [r.left, r.right])(document.querySelector('.grid .sel').getBoundingClientRect())"
        )
        assert 0 < left < right <= width
        browser.run("(document.querySelector('.box').scrollTop = 99, 0)")
        edge = "document.querySelector('.grid {}').getBoundingClientRect().{}"
        box = browser.run("document.querySelector('.box').getBoundingClientRect().left")
        assert browser.run(edge.format("tbody th", "left")) == pytest.approx(box, abs=2)
        top = browser.run("document.querySelector('.box').getBoundingClientRect().top")
        assert browser.run(edge.format("thead th", "top")) == pytest.approx(top, abs=2)
    heads = browser.run(
        "[...document.querySelectorAll('.grid thead th b')].map(e => e.textContent)"
    )
    assert heads == [found.spelling.shown(id) for id in found.ids]
    for column in range(2, 60, 7):
        browser.point(f".grid tbody tr:nth-child(3) td:nth-child({column})")
        shown_there = found.spelling.shown(found.ids[column - 2])
        line = f"After layer 1, what comes after {shown_there} would be:"
        assert browser.run("tip.querySelector('.head').textContent") == line
