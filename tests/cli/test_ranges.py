"""Lists and ranges on the command line."""

from __future__ import annotations

import pytest

from lmtool.cli.ranges import MOST, Names, Ranges


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("512", (512,)),
        ("0", (0,)),
        ("1,2,4", (1, 2, 4)),
        ("4, 1,4", (4, 1, 4)),
        ("1-4", (1, 2, 3, 4)),
        ("7-7", (7,)),
        ("0-8192+2048", (0, 2048, 4096, 6144, 8192)),
        ("128-1024*2", (128, 256, 512, 1024)),
        ("10-25+10", (10, 20)),
        ("1-100*3", (1, 3, 9, 27, 81)),
        ("0,1-4*2,100", (0, 1, 2, 4, 100)),
        ("0-0*2", (0,)),
        (f"1-{MOST}", tuple(range(1, MOST + 1))),
        (5, (5,)),
    ],
)
def test_ranges(text: object, values: tuple[int, ...]) -> None:
    assert Ranges().accept(text) == values


@pytest.mark.parametrize(
    "text",
    [
        *("", ",", "1,", "a", "1.5", "-1", "1-", "-", "4-1", "1-4+0", "1-4*1", "0-4*2", "1-4*"),
        *("1--4", "1-4+-1", "1-4-8", "1e3", "0x10", f"0-{MOST}", "1-99999999999", "²"),
        *(True, 1.5, None),
    ],
)
def test_what_is_no_range(text: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (a setting's kind has nothing more to say)
        Ranges().accept(text)


def test_the_least_value_is_kept() -> None:
    assert Ranges(1).accept("1-3") == (1, 2, 3)
    for text in ("0", "0-3", "1,0"):
        with pytest.raises(ValueError):  # noqa: PT011
            Ranges(1).accept(text)


def test_names() -> None:
    names = Names(("none", "int8"))
    assert names.accept("int8, none,int8") == ("int8", "none", "int8")
    for text in ("int4", "none,", "", 8):
        with pytest.raises(ValueError):  # noqa: PT011
            names.accept(text)
