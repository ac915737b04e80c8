"""Stop texts against a naive matcher that looks at the whole text at once."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lmtool.engine.stop import StopMatcher

thorough = settings(max_examples=300, deadline=None, derandomize=True)

# Two letters make overlaps and near misses the rule.
letters = st.text("ab", max_size=5)
stops = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=4)


def naive_cut(text: str, stops: Sequence[str], keep: bool) -> str | None:
    """What is shown of a text that stops, or None for one that doesn't."""
    for end in range(len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            longest = max(map(len, ending))
            return text[:end] if keep else text[: end - longest]
    return None


def may_become(tail: str, stops: Sequence[str]) -> bool:
    """Whether a stop text could start with `tail`."""
    return any(stop.startswith(tail) and stop != tail for stop in stops)


def run(pieces: Sequence[str], stops: Sequence[str], keep: bool = False) -> tuple[str, bool]:
    """All that is shown, and whether it stopped."""
    matcher, shown = StopMatcher(stops, keep), ""
    for piece in pieces:
        shown += matcher.push(piece)
        if matcher.stopped:
            return shown, True
    return shown + matcher.finish(), False


@thorough
@given(st.lists(letters, max_size=8), stops, st.booleans())
@example(["aa", "ab"], ["aab"], False)
@example(["a", "b"], ["abb", "b"], False)
def test_letter_by_letter_as_the_naive_matcher(
    pieces: list[str], stops: list[str], keep: bool
) -> None:
    """The stop text that is complete first ends the text; of those, the longest is cut off."""
    text = "".join(pieces)
    cut = naive_cut(text, stops, keep)
    wanted = (text, False) if cut is None else (cut, True)
    assert run(list(text), stops, keep) == wanted


@thorough
@given(st.lists(letters, max_size=8), stops, st.booleans())
def test_pieces_do_not_matter(pieces: list[str], stops: list[str], keep: bool) -> None:
    """The same text is shown however it is cut into tokens."""
    assert run(pieces, stops, keep) == run(list("".join(pieces)), stops, keep)


@thorough
@given(st.lists(letters, max_size=8), stops)
def test_nothing_leaks_and_nothing_is_held_back_longer_than_needed(
    pieces: list[str], stops: list[str]
) -> None:
    matcher, shown, come = StopMatcher(stops), "", ""
    for piece in pieces:
        shown += matcher.push(piece)
        come += piece
        if matcher.stopped:
            assert come.startswith(shown)
            assert not any(stop in shown for stop in stops)
            return
        held = come[len(shown) :]
        assert come == shown + held
        # All that is held could be the start of a stop text, and nothing before it could.
        assert not held or may_become(held, stops)
        longer = (come[begin:] for begin in range(len(shown)))
        assert not any(may_become(tail, stops) for tail in longer)


@thorough
@given(st.lists(letters, max_size=4), st.lists(letters, max_size=6), stops, st.booleans())
def test_unarmed_nothing_stops_nor_counts_later(
    before: list[str], after: list[str], stops: list[str], keep: bool
) -> None:
    matcher = StopMatcher(stops, keep)
    for piece in before:
        assert matcher.push(piece, armed=False) == piece
        assert not matcher.stopped
    shown = ""
    for piece in after:
        if not matcher.stopped:
            shown += matcher.push(piece)
    if not matcher.stopped:
        shown += matcher.finish()
    assert (shown, matcher.stopped) == run(after, stops, keep)


def test_what_was_held_comes_when_the_matcher_is_put_off() -> None:
    matcher = StopMatcher(["abc"])
    assert matcher.push("xab") == "x"
    assert matcher.push("c", armed=False) == "abc"
    assert not matcher.stopped
    assert matcher.finish() == ""


def test_no_stop_texts_hold_nothing_back() -> None:
    for none in ([], [""]):
        matcher = StopMatcher(none)
        assert matcher.push("abc") == "abc"
        assert matcher.push("") == ""
        assert (matcher.finish(), matcher.stopped) == ("", False)


def test_characters_beyond_the_basic_plane() -> None:
    assert run(["火の", "🦊", "🦊。"], ["🦊。"]) == ("火の🦊", True)


def test_many_stops_over_a_long_stream_take_a_step_a_character() -> None:
    """Each of these is nearly complete at every place: trying one by one would take for ever."""
    stops = ["a" * length + "b" for length in range(1, 1500)]
    matcher = StopMatcher(stops)
    shown = "".join(matcher.push("a" * 5) for _ in range(40_000))
    assert len(shown) == 200_000 - 1499
    assert matcher.push("b") == ""
    assert matcher.stopped
