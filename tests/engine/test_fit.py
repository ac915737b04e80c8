"""What is kept of a prompt that the context can't hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool import InputError
from lmtool.engine.fit import OVERFLOWS, Fit, Overflow, fit

thorough = settings(max_examples=300, deadline=None, derandomize=True)
wanted = st.none() | st.integers(0, 60)
CUTS = [overflow for overflow in OVERFLOWS if overflow != "error"]


def kept(total: int, context: int, max_new: int | None, overflow: Overflow, first: int = 0) -> str:
    """The letters that are kept of the first ones of the alphabet."""
    letters = "abcdefghijklmnopqrstuvwxyz"[:total]
    return "".join(fit(total, context, max_new, overflow, first).of(letters))


@pytest.mark.parametrize(
    ("max_new", "overflow", "first", "left"),
    [
        (4, "truncate-left", 0, "uvwxyz"),
        (4, "truncate-left", 1, "avwxyz"),
        (4, "truncate-middle", 0, "abcxyz"),
        (3, "truncate-middle", 1, "abcwxyz"),
        (None, "truncate-left", 0, "vwxyz"),
        (900, "truncate-middle", 0, "abxyz"),
        (0, "truncate-left", 0, "qrstuvwxyz"),
    ],
)
def test_by_hand(max_new: int | None, overflow: Overflow, first: int, left: str) -> None:
    assert kept(26, 10, max_new, overflow, first) == left


def test_a_context_of_two_keeps_the_newest() -> None:
    assert kept(5, 2, None, "truncate-left", first=1) == "e"
    assert kept(5, 2, None, "truncate-middle", first=1) == "e"


@thorough
@given(
    st.integers(1, 80), st.integers(2, 40), wanted, st.sampled_from(OVERFLOWS), st.integers(0, 1)
)
def test_whatever_fits_is_whole(
    total: int, context: int, max_new: int | None, overflow: Overflow, first: int
) -> None:
    room = context if max_new == 0 else context - 1
    if total <= room:
        assert fit(total, context, max_new, overflow, first) == Fit(total, total, 0)
    elif overflow == "error":
        with pytest.raises(
            InputError, match=f"the prompt has {total} tokens, the context {context}"
        ):
            fit(total, context, max_new, overflow, first)
    else:
        assert fit(total, context, max_new, overflow, first).dropped > 0


@thorough
@given(st.integers(3, 90), st.integers(3, 40), wanted, st.sampled_from(CUTS), st.integers(0, 1))
def test_a_cut_prompt_leaves_the_room_that_was_promised(
    total: int, context: int, max_new: int | None, overflow: Overflow, first: int
) -> None:
    cut = fit(total, context, max_new, overflow, first)
    if not cut.dropped:
        return
    ids = cut.of(range(total))
    assert len(ids) == cut.total - cut.dropped == cut.head + cut.tail
    room = context // 2 if max_new is None else min(max_new, context // 2)
    assert context - len(ids) == max(room, 0 if max_new == 0 else 1)
    assert ids[-1] == total - 1
    assert not first or ids[0] == 0
    assert list(ids) == [*range(cut.head), *range(cut.head + cut.dropped, total)]
    if overflow == "truncate-middle":
        assert cut.head == max(first, len(ids) // 2)
