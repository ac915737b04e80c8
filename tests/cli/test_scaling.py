"""`lmtool scaling` as a user runs it: on points of a CSV file, and on small checkpoints."""

from __future__ import annotations

import csv
import json
import re
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest

from reference.random_checkpoints import Case
from reference.small_tokenizers import byte_level

from .conftest import REAL, Run

SVG = "{http://www.w3.org/2000/svg}"
CHINCHILLA = Path(__file__).parents[1] / "reference" / "chinchilla.csv"
SIZES = [1.1e5, 3.6e5, 8.5e5, 1.9e6, 4.3e6, 8.0e6]
OFF = [1.002, 0.999, 1.0, 0.998, 1.003, 0.999]
TEXT = "Once upon a time there was a little fox who lived in the forest with her mother.\n" * 20


@pytest.fixture
def scaling(command: Run) -> Run:
    """`scaling("--csv", …)`: in this process, by the engine itself."""
    return partial(command, "scaling", script=REAL)


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """Six sizes near a law whose exponent is 0.3 and whose floor is 1.3."""
    path = tmp_path / "points.csv"
    rows = [
        f"m{n:.0f},{n:.0f},{2 * n:.0f},{(1.3 + 60 * n**-0.3) * o}"
        for n, o in zip(SIZES, OFF, strict=True)
    ]
    path.write_text("model,N,total,L\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five checkpoints with random weights and one tokenizer, the widest first."""
    tokenizer = byte_level()
    folders: list[Path] = []
    for hidden in (60, 48, 36, 24, 12):
        folder = tmp_path_factory.mktemp(f"width{hidden}")
        changes = {"vocab_size": tokenizer.get_vocab_size(), "hidden_size": hidden}
        context = {"max_position_embeddings": 128 if hidden == 36 else 512}
        Case("one", "Llama", changes | context | {"num_attention_heads": 6}).save(folder)
        tokenizer.save(str(folder / "tokenizer.json"))
        folders.append(folder)
    return folders


def test_the_report_fits_80_columns_and_says_what_was_found(scaling: Run, points: Path) -> None:
    ran = scaling("--csv", str(points), "--predict", "50M")
    assert (ran.code, ran.err) == (0, "")
    assert max(map(len, ran.out.splitlines())) <= 80
    law = dict(re.findall(r"^(E|A|alpha) +([\d.]+) ", ran.out, re.MULTILINE))
    assert float(law["alpha"]) == pytest.approx(0.3, abs=0.02)
    assert float(law["E"]) == pytest.approx(1.3, abs=0.05)
    assert "The largest, 8M, foretold from the smaller: 1.8" in ran.out
    assert "within the interval" in ran.out
    assert "50,000,000" in ran.out
    assert "3 degrees of freedom" in " ".join(ran.out.split())
    assert "\x1b" not in ran.out
    assert ran.out.count("●") == 1 + len(SIZES)


def test_colour_is_the_same_picture(scaling: Run, points: Path) -> None:
    plain = scaling("--csv", str(points)).out
    painted = scaling("--csv", str(points), "--color", "always").out
    assert painted != plain
    assert re.sub(r"\x1b\[[\d;]*m", "", painted) == plain


def test_json_holds_everything(scaling: Run, points: Path) -> None:
    found = json.loads(scaling("--csv", str(points), "--json", "--predict", "5e7").out)
    assert found["law"] == "L = E + A / N^alpha"
    assert found["csv"] == str(points)
    assert found["unit"] is None
    for name, value in (("E", 1.3), ("A", 60), ("alpha", 0.3)):
        one = found["fit"][name]
        assert one["low"] < value < one["high"]
    assert [one["size"] for one in found["left_out"]] == SIZES
    assert found["left_out"][-1]["within"] is True
    (ahead,) = found["predicted"]
    assert ahead["size"] == 5e7
    assert ahead["loss"]["low"] < 1.3 + 60 * 5e7**-0.3 < ahead["loss"]["high"]
    assert found["intervals"]["level"] == 0.95
    assert found["points"][0]["name"] == "m110000"


def test_sizes_with_embeddings(scaling: Run, points: Path) -> None:
    found = json.loads(scaling("--csv", str(points), "--json", "--params", "total").out)
    assert [one["size"] for one in found["points"]] == [2 * size for size in SIZES]
    assert found["fit"]["A"]["value"] == pytest.approx(60 * 2**0.3, rel=0.2)


def test_the_figure_is_whole_and_has_every_point(
    scaling: Run, points: Path, tmp_path: Path
) -> None:
    ran = scaling("--csv", str(points), "--svg", str(tmp_path / "law.svg"), "--predict", "9e9")
    assert ran.code == 0
    text = (tmp_path / "law.svg").read_text("utf-8")
    root = ElementTree.fromstring(text)
    titled = [one for one in root.iter(f"{SVG}circle") if one.find(f"{SVG}title") is not None]
    names = [one.find(f"{SVG}title").text for one in titled]
    assert [name for name in names if name.startswith("m")] == [
        f"m{n:.0f}: {(1.3 + 60 * n**-0.3) * o:.4f}" for n, o in zip(SIZES, OFF, strict=True)
    ]
    assert len(names) == len(SIZES) + 2
    width, height = float(root.get("width")), float(root.get("height"))
    for one in root.iter(f"{SVG}circle"):
        assert 0 < float(one.get("cx")) < width
        assert 0 < float(one.get("cy")) < height
    assert "prefers-color-scheme: dark" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_the_law_of_size_and_data(scaling: Run, tmp_path: Path) -> None:
    figure = tmp_path / "law.svg"
    arguments = ("--csv", str(CHINCHILLA), "--predict", "70B:1.4T", "--svg", str(figure))
    found = json.loads(scaling(*arguments, "--json").out)
    assert found["law"] == "L = E + A / N^alpha + B / D^beta"
    assert found["fit"]["alpha"]["value"] == pytest.approx(0.3478, abs=0.002)
    assert found["predicted"][0]["tokens"] == 1.4e12
    assert found["predicted"][0]["loss"]["value"] == pytest.approx(1.973, abs=0.002)
    assert len(list(ElementTree.parse(figure).getroot().iter(f"{SVG}circle"))) > 240


def test_rows_of_another_program(scaling: Run, points: Path) -> None:
    rows = [line.split(",") for line in points.read_text().splitlines()[1:]]
    lines = ["# from a spreadsheet", "", "Loss;Params;seed"]
    lines += [f" {loss} ; {size};7" for _, size, _, loss in rows]
    ran = scaling("--csv", "-", "--json", stdin=("\ufeff" + "\r\n".join(lines)).encode())
    assert ran.err == "the column `seed` isn't used\n"
    theirs, ours = (
        json.loads(out) for out in (ran.out, scaling("--csv", str(points), "--json").out)
    )
    assert theirs["fit"] == ours["fit"]
    assert theirs["csv"] == "-"


def test_equal_tokens_make_a_law_of_size(scaling: Run, points: Path) -> None:
    lines = points.read_text().splitlines()
    text = "\n".join([f"{lines[0]},D", *(f"{line},5e6" for line in lines[1:])])
    ran = scaling("--csv", "-", stdin=text.encode())
    assert "all points have the same D: the law is fitted to size alone" in ran.err
    assert "L = E + A / N^alpha\n" in ran.out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "`stdin` is empty"),
        ("N,L\n", "names columns, but has no points below them"),
        ("N,M\n1,2\n", "`stdin`, line 1: there is no column L among: N, M"),
        ("N,L,params\n1,2,3\n", "line 1: two columns say N"),
        ("N,L\n1,2\n2\n", "`stdin`, line 3 has 1 cells, too few"),
        ("N,L\n1e5,3,5\n", "line 2 has 3 cells, more than the 2 columns"),
        ("# x\nN,L\n1e5,2\n1e6,nan\n", "line 4: L must be above 0 and finite: nan"),
        ("N,L\n1e5,-2\n", "line 2: L must be above 0"),
        ("N,L\n0,2\n", "line 2: N must be above 0"),
        ("N,D,L\n1e5,0,2\n", "line 2: D must be above 0"),
        ("N,L\n1e5,two\n", "line 2: L is not a number: `two`"),
        ("N,D,L\n1e5,,2\n", "line 2: D is not a number: ``"),
        ("N,L\n1e5,2\n1e6,1.9\n1e7,1.8\n", "needs 4 sizes or more: there are 3"),
        ("N,L\n1e5,2\n1e5,1.9\n1e5,1.8\n1e5,1.7\n", "all 4 models have the same size"),
        ("N,D,L\n1,2,2\n2,3,2\n3,4,2\n", "needs 6 points or more: there are 3"),
        ("N,L,error\n1,2,\n2,2,.1\n3,2,.1\n4,2,.1\n", "an error for 3 of 4 points only"),
        ("N,L\n1,\xff\n", "is not UTF-8: byte 0xff in line 2"),
    ],
)
def test_points_that_are_refused_by_their_line(scaling: Run, text: str, says: str) -> None:
    ran = scaling("--csv", "-", stdin=text.encode("latin-1"))
    assert (ran.code, ran.out) == (4, "")
    assert says in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--predict", "big"], "--predict takes a number of parameters, not `big`"),
        (["--predict", "0"], "not `0`"),
        (["--predict", "1M:"], "not `1M:`"),
        (["--predict", "1M:2B"], "the law is of size alone; leave `:D` out"),
        (["--params", "all"], "--params"),
        (["--svg", "-"], "two results can't both go to stdout"),
        (["default"], "--csv has the points already: `default` isn't measured"),
        (["-m", "default"], "`default` isn't measured"),
    ],
)
def test_what_makes_no_sense(scaling: Run, points: Path, arguments: list[str], says: str) -> None:
    ran = scaling("--csv", str(points), *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err


def test_a_law_with_data_needs_tokens_to_predict(scaling: Run) -> None:
    ran = scaling("--csv", str(CHINCHILLA), "--predict", "70B")
    assert ran.code == 2
    assert "the law has D in it; add tokens, as in 7e+10:20B" in ran.err


def test_files_that_cannot_be(scaling: Run, points: Path, tmp_path: Path) -> None:
    assert scaling("--csv", "nowhere.csv").err == "error: no such file: `nowhere.csv`\n"
    ran = scaling("--csv", str(points), "--svg", str(tmp_path / "no" / "law.svg"))
    assert (ran.code, ran.out) == (1, "")
    assert "no such folder" in ran.err
    ran = scaling("--csv", str(points), "--params", "total", stdin=b"")
    assert ran.code == 0
    points.write_text(points.read_text().replace("total", "sum"))
    ran = scaling("--csv", str(points), "--params", "total", "--svg", str(tmp_path / "law.svg"))
    assert "has no column `total`" in ran.err
    assert not (tmp_path / "law.svg").exists()


@pytest.mark.parametrize("least", [0.0, 1.7])
def test_points_without_noise_are_told_plainly(scaling: Run, least: float) -> None:
    sizes = [10**place for place in range(5, 12)]
    text = "\n".join(["N,L", *(f"{size},{least + 400 / size**0.34}" for size in sizes)])
    ran = scaling("--csv", "-", stdin=text.encode())
    assert f"{least:.4f}  {least:.4f} to {least:.4f}" in ran.out
    assert "0.3400  0.3400 to 0.3400" in ran.out
    assert "exactly; within the interval" in " ".join(ran.out.split())
    assert max(map(len, ran.out.splitlines())) <= 80


def test_losses_that_rise_make_no_law(scaling: Run, tmp_path: Path) -> None:
    text = "\n".join(["N,L", *(f"{10**n},{n}" for n in range(5, 10))])
    ran = scaling("--csv", "-", "--svg", str(tmp_path / "law.svg"), stdin=text.encode())
    assert ran.code == 0
    assert "the loss doesn't fall with size: there is no law to fit" in ran.out
    assert "foretold" not in ran.out
    assert "alpha  " not in ran.out
    assert "Intervals" not in ran.out
    ElementTree.parse(tmp_path / "law.svg")
    ran = scaling("--csv", "-", "--json", stdin=text.encode())
    assert "warning: the loss doesn't fall with size" in ran.err
    assert json.loads(ran.out)["fit"] == {"E": None, "A": None, "alpha": None}


def test_a_family_is_measured_as_evaluate_measures_it(
    scaling: Run, command: Run, family: list[Path], tmp_path: Path
) -> None:
    text, csv_file = tmp_path / "text.txt", tmp_path / "points.csv"
    text.write_text(TEXT)
    names = [str(folder) for folder in family]
    ran = scaling(*names, str(text), "--json", "--points", str(csv_file), "-t", "1")
    assert ran.code == 0
    found = json.loads(ran.out)
    assert (found["unit"], found["window"], found["texts"]) == ("nats a token", 128, [str(text)])
    sizes = [one["size"] for one in found["points"]]
    assert sizes == sorted(sizes)
    asked = (names[-1], str(text), "--json", "-t", "1", "--window", "128")
    narrow = command("evaluate", *asked, script=REAL)
    assert found["points"][0]["loss"] == json.loads(narrow.out)["total"]["loss"]
    inspected = json.loads(command("inspect", names[-1], "--json", script=REAL).out)
    parts = inspected["parameters"]["by_part"]
    assert sizes[0] == parts["mixer"] + parts["feed"] + parts["norm"]
    assert found["points"][0]["total"] == inspected["parameters"]["total"]
    rows = list(csv.DictReader(csv_file.open()))
    assert [float(row["L"]) for row in rows] == [one["loss"] for one in found["points"]]
    again = json.loads(scaling("--csv", str(csv_file), "--json").out)
    assert [one["size"] for one in again["points"]] == sizes


def test_models_with_other_tokens_are_compared_in_bits(
    scaling: Run, family: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    names = [*map(str, family[1:]), "default", str(tmp_path / "text.txt")]
    ran = scaling(*names, "--json", "-t", "1")
    assert ran.code == 0
    assert "different tokens: losses are in bits a byte" in ran.err
    assert json.loads(ran.out)["unit"] == "bits a byte"


def test_a_short_text_is_named(scaling: Run, family: list[Path]) -> None:
    ran = scaling(*map(str, family), "--json", "-t", "1", stdin=b"Once upon a time")
    assert ran.code == 0
    assert "tokens, less than a window of 128" in ran.err
    assert "too short to tell" in json.loads(ran.out)["intervals"]["over"]
    ran = scaling(*map(str, family), "-t", "1", stdin=b"")
    assert ran.code == 4
    assert "there is no text to foretell" in ran.err


def test_too_few_models_are_told_before_they_are_loaded(scaling: Run, family: list[Path]) -> None:
    ran = scaling(*map(str, family[:3]), stdin=TEXT.encode())
    assert (ran.code, ran.out) == (4, "")
    assert "needs 4 sizes or more: there are 3" in ran.err
    ran = scaling(*[str(family[0])] * 4, stdin=TEXT.encode())
    assert "all 4 models have the same size" in ran.err
    ran = scaling(str(family[0]), "./nowhere", stdin=TEXT.encode())
    assert ran.code == 3


def test_as_a_process_on_a_csv_file_it_loads_no_torch(run_lmtool, points: Path) -> None:
    done = run_lmtool("scaling", "--csv", points, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    assert b"| torch\n" not in done.stderr.replace(b"|   ", b"| ")
    assert b"The largest, 8M" in done.stdout
