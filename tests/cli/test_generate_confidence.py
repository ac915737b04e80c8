"""`lmtool generate --confidence`: colours that go with the characters, and what says so."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from lmtool.cli.confidence import BANDS, band_of, colour
from reference.scripted_model import Script

from .conftest import Child, Run

PAINTED = re.compile(r"\x1b\[[\d;]*m")
ALWAYS = ("--confidence", "--color", "always")


def plain(text: str) -> str:
    return PAINTED.sub("", text)


@pytest.mark.parametrize(
    ("probability", "name"),
    [
        (1.0, "blue"),
        (0.9001, "blue"),
        (0.8999, "pale blue"),
        (0.5001, "pale blue"),
        (0.4999, "yellow"),
        (0.1999, "orange"),
        (0.0499, "red, underlined"),
        (0.0, "red, underlined"),
    ],
)
def test_bands(probability: float, name: str) -> None:
    assert band_of(math.log(probability) if probability else -math.inf).name == name
    assert band_of(math.nan).name == "red, underlined"


def test_letters_bring_their_ground_along() -> None:
    """So they can be read on a dark terminal as on a light one."""
    assert len({band.style for band in BANDS}) == len(BANDS)
    for band in BANDS:
        assert "38;5;16" in band.style
        assert "48;5;" in band.style


def test_neighbours_share_a_colour_and_line_breaks_have_none() -> None:
    blue, red = BANDS[0].style, BANDS[-1].style
    assert colour("ab\ncd", [0.0, -0.01, 0.0, -9.0, -9.0]) == (
        f"\x1b[{blue}mab\x1b[0m\n\x1b[{red}mcd\x1b[0m"
    )
    assert colour("", []) == ""


def test_text_is_coloured_and_the_legend_is_on_stderr(generate: Run) -> None:
    ran = generate("x", *ALWAYS, script=Script(texts=(("ab", "c\n"),), sure=-0.01))
    style = BANDS[0].style
    assert ran.out == f"\x1b[{style}mab\x1b[0m\x1b[{style}mc\x1b[0m\n"
    assert plain(ran.err).startswith("confidence:  90 % or more: blue ")
    assert all(band.name in ran.err and band.style in ran.err for band in BANDS)
    assert ran.request.traced
    assert ran.request.logprobs == 0


def test_samples_that_wait_and_text_that_comes_late_are_coloured_too(generate: Run) -> None:
    script = Script(texts=(("a", "b"), ("c",)), sure=-9.0)
    streamed = generate("x", *ALWAYS, "--samples", "2", script=script)
    whole = generate("x", *ALWAYS, "--samples", "2", "--no-stream", script=script)
    assert plain(streamed.out) == plain(whole.out) == "ab\n---\nc\n"
    assert streamed.out == whole.out
    script = Script(texts=(("a",),), endless=True, token_s=0.02, held="<held>")
    ran = generate("x", *ALWAYS, "-n", "-1", "--timeout", "0.3", script=script)
    assert plain(ran.out).endswith("a<held>")
    assert not ran.out.endswith("<held>")


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        ((), {}),
        (("--color", "never"), {"FORCE_COLOR": "1"}),
        ((), {"NO_COLOR": "1", "FORCE_COLOR": "1"}),
    ],
)
def test_without_colour_it_says_that_it_shows_nothing(
    generate: Run, arguments: tuple[str, ...], environ: dict[str, str]
) -> None:
    ran = generate("x", "--confidence", *arguments, **environ)
    assert ran.out == " there was a fox"
    assert "--confidence shows nothing where there is no colour" in ran.err
    assert not ran.request.traced


def test_json_has_no_colour(generate: Run) -> None:
    ran = generate("x", *ALWAYS, "--json")
    assert ran.json["text"] == " there was a fox"
    assert "--logprobs" in ran.err
    assert "logprobs" not in ran.json


def test_a_file_is_coloured_only_where_always(generate: Run, tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    ran = generate("x", "--confidence", "-o", str(path), FORCE_COLOR="1")
    assert path.read_text() == " there was a fox"
    assert "shows nothing" in ran.err
    generate("x", *ALWAYS, "-o", str(path))
    assert plain(path.read_text()) == " there was a fox" != path.read_text()


def test_quiet_keeps_the_legend_to_itself(generate: Run) -> None:
    ran = generate("x", *ALWAYS, "-q")
    assert ran.err == ""
    assert "\x1b[" in ran.out


def test_without_a_tokenizer_ids_are_coloured(generate: Run) -> None:
    script = Script(texts=(("a", "b"),), has_tokenizer=False)
    ran = generate("--token-ids", "1", *ALWAYS, script=script)
    assert plain(ran.out) == "97 98" != ran.out


def test_on_a_terminal(scripted: Callable[..., Child]) -> None:
    child = scripted(sure=-0.01)
    environ = child.environ | {"TERM": "xterm-256color"}
    arguments = [*child.command[1:], "generate", "x", "--confidence"]
    talk = pexpect.spawn(child.command[0], arguments, env=environ, encoding="utf-8")
    talk.expect(pexpect.EOF)
    assert talk.before is not None
    assert f"\x1b[{BANDS[0].style}m there\x1b[0m" in talk.before
    assert plain(talk.before).endswith(" there was a fox\r\n")


def test_through_the_engine(real: Run, checkpoint: Path) -> None:
    """Stop texts and characters of several tokens delay a text, not its colours."""
    asked = ("灯", "-m", str(checkpoint), "-n", "40", "--temp", "2", "--seed", "5")
    found = real(*asked, "--json", "--logprobs", "0").json
    ran = real(*asked, *ALWAYS, "--stop", found["text"][-5:-1] + "never")
    assert plain(ran.out) == found["text"]
    letters = [
        (letter, code)
        for code, run in re.findall(r"(?:\x1b\[([\d;]+)m)?([^\x1b]+)(?:\x1b\[0m)?", ran.out)
        for letter in run
    ]
    alone = [one for one in found["logprobs"] if one["token"].isascii() and one["token"].isalpha()]
    assert alone
    painted = {letter for letter, code in letters if code}
    for one in alone:
        style = band_of(one["logprob"]).style
        assert set(one["token"]) <= painted
        assert any(code == style and letter == one["token"][0] for letter, code in letters)
