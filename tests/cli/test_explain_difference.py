"""`lmtool explain --diff`: what each changed word does, in numbers and within 80 columns."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lmtool.cli.text_table import display_width

from .conftest import REAL, Run

BALL = "Tom had a red ball. He gave the"
HAT = "Tom and Ann had a blue hat. She gave the"


def compared(command: Run, first: str, second: str, *more: str) -> Any:
    ran = command("explain", first, "--diff", second, "--json", *more, script=REAL)
    assert (ran.code, ran.err) == (0, ""), ran
    return ran.json


def test_each_change_alone_and_taken_back(command: Run) -> None:
    found = compared(command, BALL, HAT, "--answer", " toy", "--top", "2")
    pairs = [(one["before"]["text"], one["after"]["text"]) for one in found["changes"]]
    assert pairs == [("", " and Ann"), (" red", " blue"), (" ball", " hat"), (" He", " She")]
    assert found["changes_found"] == 4
    assert found["first"]["prompt"] == BALL
    assert [one["token"] for one in found["second"]["top"]] == [" hat", " red"]
    hat = found["changes"][2]
    # Made alone, or taken back alone, it is a prompt like any other.
    alone = compared(command, BALL, BALL.replace("ball", "hat"), "--answer", " toy", "--top", "2")
    undone = compared(command, HAT, HAT.replace("hat", "ball"), "--top", "2")
    assert hat["alone"]["kl"] == pytest.approx(alone["forth"]["kl"], abs=1e-4)
    assert hat["undone"]["kl"] == pytest.approx(undone["forth"]["kl"], abs=1e-4)
    assert [one["token"] for one in hat["alone"]["watched"]] == [" ball", " hat", " toy"]
    assert hat["alone"]["gained"][0]["token"] == " hat"
    assert hat["alone"]["lost"][0]["token"] == " ball"
    assert len(hat["alone"]["gained"]) == len(hat["alone"]["lost"]) == 2
    (single,) = alone["changes"]
    assert single["alone"] == alone["forth"]
    assert single["undone"] == alone["back"]
    ball = alone["forth"]["watched"][0]
    before = command("explain", BALL, "--json", script=REAL).json["predictions"][0]["answer"]
    assert ball["before"]["probability"] == pytest.approx(before["probability"], abs=1e-5)
    assert ball["before"]["logit"] == pytest.approx(before["logit"], abs=1e-4)
    rise = math.log(ball["after"]["probability"] / ball["before"]["probability"])
    assert rise < -2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (BALL, HAT),
        ("むかし、ある日のこと、少年は", "むかし、ある夜のこと、美しい少女と老人は"),
        ("a b c d e " * 30, "A B c D f " * 30 + "supercalifragilisticexpialidocious" * 3),
    ],
)
def test_the_report(command: Run, first: str, second: str) -> None:
    ran = command("explain", first, "--diff", second, "--answer", " toy", script=REAL)
    assert (ran.code, ran.err) == (0, "")
    assert max(map(display_width, ran.out.splitlines())) <= 80
    for words in ("\nWhich change moves the answer\n", "\n(all) ", "alone: how far", "likelier"):
        assert words in ran.out
    assert "\x1b" not in ran.out
    painted = command("explain", first, "--diff", second, "--color", "always", script=REAL)
    assert "\x1b[1mWhich change moves the answer" in painted.out


def test_nothing_differs(command: Run) -> None:
    ran = command("explain", BALL, "--diff", BALL, script=REAL)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith("\nBoth prompts are the same tokens: nothing differs.\n")
    found = compared(command, BALL, BALL)
    assert (found["changes"], found["forth"]["kl"]) == ([], pytest.approx(0, abs=1e-9))


def test_it_is_read_as_the_prompt_is(command: Run) -> None:
    found = compared(command, r"one\ntwo and", r"one\nsix and", "-e", "--bos", "off")
    assert (found["first"]["prompt"], found["second"]["prompt"]) == ("one\ntwo and", "one\nsix and")
    ids = command(
        *("explain", "--token-ids", "5 6 7 8", "--diff", "5 6 9 8", "--json"), script=REAL
    ).json
    assert ids["second"]["prompt_token_ids"] == [5, 6, 9, 8]
    assert [one["before"]["begin"] for one in ids["changes"]] == [2]
    lacking = compared(command, BALL, HAT, "--ablate", "head:4.*")
    assert lacking["ablation"]["parts"] == ["head:4.0", "head:4.1", "head:4.2", "head:4.3"]
    assert lacking["forth"]["kl"] != pytest.approx(compared(command, BALL, HAT)["forth"]["kl"])


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--at", "3"), 2, "--diff and --at exclude each other"),
        (("-n", "3"), 2, "--diff and --tokens exclude each other"),
        (("--html", "p.html"), 2, "--diff and --html exclude each other"),
        (("--ablate", "text:ball"), 2, "--diff doesn't go with --ablate of tokens or text"),
        (("--answer", " toys and"), 4, "it is 2 tokens"),
        (("--diff", ""), 4, "the prompt is empty"),
        (("-c", "4"), 4, "no room is left"),
        (("--diff", "\udcff"), 4, "--diff is not UTF-8"),
    ],
)  # fmt: skip
def test_what_makes_no_sense(command: Run, more: tuple[str, ...], code: int, words: str) -> None:
    command("explain", BALL, "--diff", HAT, *more, script=REAL).fails(code, words)
