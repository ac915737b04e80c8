"""`lmtool tokenize --show` and `--html`: what a person sees of tokens, and that it is all there."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool.cli.text_table import display_width
from lmtool.cli.token_cells import parts_of
from lmtool.cli.token_page import TokenPage
from lmtool.tokenizer.bulk import encode_blocks, encode_text
from lmtool.tokenizer.tokenizer import Tokenizer
from reference.browser import Browser
from reference.page_reader import Element, data_of, read_page
from reference.small_tokenizers import ALL, byte_fallback, byte_level, word_piece

from .conftest import REAL, Ran

HOSTILE = "</script><script>alert(1)</script> \"q\" 'a' <!-- &amp; --> </main>\n]]>"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("small") / "tokenizer.json"
    byte_level().save(str(file))
    return file


@pytest.fixture
def show(command: Any, small: Path, tmp_path: Path) -> Callable[..., Ran]:
    def run(text: str, *arguments: str, **environ: str) -> Ran:
        file = tmp_path / "text"
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        given = ("tokenize", "-m", str(small), str(file), *arguments)
        return command(*given, script=REAL, **environ)

    return run


def plain(painted: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", painted)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b" the", "·the"),
        (b"a\n\nb", "a↵↵b"),
        (b"\tx\r\n", "→x⟨CR⟩↵"),
        (b"\x1b[31m\x7f\x00", "⟨ESC⟩[31m⟨U+007F⟩⟨NUL⟩"),
        (b"\xe3\x81", "⟨E3⟩⟨81⟩"),
        (b"\x82a\xe3", "⟨82⟩a⟨E3⟩"),
        ("e\u0301".encode(), "e\u0301"),
        ("\u0301e".encode(), "◌\u0301e"),
        ("👩\u200d👧".encode(), "👩⟨U+200D⟩👧"),
        ("\u202eabc".encode(), "⟨U+202E⟩abc"),
        ("\u3000日本".encode(), "⟨U+3000⟩日本"),
    ],
)
def test_what_is_not_seen_is_marked(data: bytes, shown: str) -> None:
    assert "".join(text for _, text in parts_of(data)) == shown


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=12) | st.text(max_size=8).map(str.encode))
def test_nothing_that_is_shown_moves_the_cursor(data: bytes) -> None:
    shown = "".join(text for _, text in parts_of(data))
    assert shown.isprintable()
    if data:
        assert display_width(shown) >= 1


def test_without_colours_there_are_borders(show: Callable[..., Ran]) -> None:
    ran = show("the old\n", "--show")
    assert ran.code == 0
    assert "\x1b" not in ran.out
    assert ran.out.count("▏") == len(show("the old\n").out.split()) - 1
    assert ran.out.replace("▏", "") == "the·old↵\n"


def test_ids_stand_beside_the_pieces(show: Callable[..., Ran]) -> None:
    ids = show("the old", "--ids").out.split()
    small = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
    shown = show("the old", "--show", "--ids").out.rstrip("\n").split("▏")
    assert [re.findall(r"\d+$", one.translate(small))[0] for one in shown] == ids


def test_neighbours_have_other_colours_and_specials_their_own(show: Callable[..., Ran]) -> None:
    out = show("a<|endoftext|>bcd", "--show", "--special", "parse", "--color", "always").out
    cells = re.findall(r"\x1b\[([\d;]*)m([^\x1b]*)\x1b\[0m", out)
    grounds = [re.findall(r"48;5;(\d+)", style)[0] for style, _ in cells]
    assert [text for _, text in cells][:2] == ["a", "<|endoftext|>"]
    assert all(left != right for left, right in pairwise(grounds))
    assert cells[1][0].startswith("1;")


def test_no_ground_reaches_over_the_end_of_a_line(show: Callable[..., Ran]) -> None:
    out = show("one\n\ntwo\n", "--show", "--color", "always").out
    for line in out.split("\n"):
        assert line == "" or line.endswith("\x1b[0m")


@pytest.mark.parametrize("before", ["", "abc", "abcdefg", "日本", "e\u0301"])
def test_tabs_go_to_their_stops_whatever_is_wide_before_them(
    show: Callable[..., Ran], before: str
) -> None:
    out = plain(show(f"{before}\tX", "--show", "--color", "always").out)
    assert display_width(out[: out.index("X")]) % 8 == 0
    assert display_width(out[: out.index("→")]) >= display_width(before)


def test_many_texts_each_have_a_line(show: Callable[..., Ran]) -> None:
    out = show("a\n\nb\n", "--show", "--lines").out
    assert out == "a\n\nb\n"


@pytest.mark.parametrize("other", ["--pieces", "--offsets", "--json", "--check", "-0"])
def test_what_writes_something_else_is_refused(show: Callable[..., Ran], other: str) -> None:
    show("a", "--show", other).fails(2, "--show", "exclude each other")


def test_show_is_coloured_on_a_terminal_unless_no_color_says_otherwise(
    small: Path, lmtool_environ: dict[str, str]
) -> None:
    for more, painted in (({}, True), ({"NO_COLOR": "1"}, False)):
        environ = {key: value for key, value in lmtool_environ.items() if key != "NO_COLOR"}
        ours, theirs = pty.openpty()
        done = subprocess.run(
            [sys.executable, "-m", "lmtool", "tokenize", "-m", small, "-p", "a b", "--show"],
            stdout=theirs,
            env=environ | {"TERM": "xterm-256color"} | more,
            check=True,
        )
        os.close(theirs)
        assert (b"\x1b[" in os.read(ours, 4096)) is painted
        os.close(ours)
        assert done.returncode == 0


class Page:
    """A page read back: its tokens' texts, and what it tells of them."""

    def __init__(self, source: str) -> None:
        page = read_page(source)
        self.tokens = [text_of(token) for token in page.all("b")]
        self.scripts = page.all("script")
        self.told = data_of(page)


def text_of(element: Element) -> str:
    """Without the mark that stands for a line's end."""
    return "".join(
        one if isinstance(one, str) else "" if "n" in one.kinds else text_of(one)
        for one in element.inside
    )


def page_of(tokenizer: Tokenizer, texts: list[str]) -> str:
    import io

    stream = io.BytesIO()
    page = TokenPage(stream, tokenizer, "text")
    for text in texts:
        for encoded in encode_blocks(tokenizer, [text], "auto", "text"):
            page.add(encoded)
        page.end_text()
    page.end()
    return stream.getvalue().decode()


@pytest.fixture(scope="module")
def made(small: Path) -> Tokenizer:
    return Tokenizer.load(small)


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40))
def test_a_page_has_every_token_and_is_whole_whatever_the_text(made: Tokenizer, text: str) -> None:
    page = Page(page_of(made, [text, HOSTILE]))
    ids = [*made.encode(text), *made.encode(HOSTILE)]
    assert page.told["tokens"][::3] == ids
    assert len(page.tokens) == len(ids)
    assert len(page.scripts) == 2
    assert sum(page.told["tokens"][2::3]) == len((text + HOSTILE).encode())


def test_hostile_text_is_text(made: Tokenizer) -> None:
    page = Page(page_of(made, [HOSTILE]))
    assert "".join(page.tokens) == HOSTILE


@pytest.mark.parametrize("make", [byte_fallback, word_piece])
def test_other_vocabularies_have_pages_too(tmp_path: Path, make: Callable[[], Any]) -> None:
    file = tmp_path / "tokenizer.json"
    make().save(str(file))
    tokenizer = Tokenizer.load(file)
    page = Page(page_of(tokenizer, [ALL]))
    assert page.told["tokens"][::3] == encode_text(tokenizer, ALL, "auto", "text").ids
    pieces = {int(id): piece for id, (piece, _) in page.told["pieces"].items()}
    assert pieces == {id: tokenizer.piece(id) for id in set(page.told["tokens"][::3])}


def test_a_page_is_written_whole_or_not_at_all(show: Callable[..., Ran], tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("before")
    assert show("fine \ud800", "--html", str(file)).code == 4
    assert file.read_text() == "before"
    ran = show("fine", "--html", str(file))
    assert (ran.code, ran.out) == (0, "")
    assert file.read_text().startswith("<!DOCTYPE html>")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["page.html", "text"]
    show("a", "--html", "-").fails(2, "--html needs a file")
    assert show("a", "--html", str(tmp_path / "no" / "a.html")).code == 1


def test_a_browser_tells_of_the_token_pointed_at(
    made: Tokenizer, tmp_path: Path, browser: Browser
) -> None:
    text = f"{HOSTILE}\nthe old {ALL}"
    ids = made.encode(text)
    at = len(ids) // 2
    file = tmp_path / "page.html"
    file.write_text(page_of(made, [text]), "utf-8")
    browser.open(file)
    browser.run(f"(document.querySelectorAll('main b')[{at}].id = 'here', 0)")
    browser.point("#here")
    told = browser.text("#told")
    start = len(made.decode_bytes(ids[:at], skip_special=False))
    data = made.token_bytes(ids[at])
    assert told.startswith(f"token {at}: id {ids[at]}\n")
    assert f"bytes {start} to {start + len(data)}: {data.hex(' ').upper()}" in told
    assert browser.run("document.querySelectorAll('script').length") == 2
    browser.point("h1")
    assert browser.text("#told") == ""
