"""The words of a prompt, and how much of a prediction was gathered from each."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .prompt_words import Word
from .text_table import Table, as_text, display_width, fitted

if TYPE_CHECKING:
    from ..engine.lens.explanation import Explanation

WIDTH = 80
LISTED = 16
"""Words that a table has room for; of more, those that gave most."""
_ROWS = 4
"""Lines of the prompt that are shown: its last ones."""
_BAR = 20
_WORD = 24
_NOTE = (
    "brought: the word's share of all that attention carried here, in every layer. leads back: "
    "where it comes from in the end, since words have gathered from words before."
)
# Black letters on grounds from white to blue, so that it doesn't matter what the terminal's is.
_GROUNDS = ("231", "195", "159", "117", "75")


@dataclass(frozen=True)
class Share:
    """What a word gave: its shares of all rollout and of all that was brought, and to the logit."""

    word: Word
    rollout: float
    brought: float
    logit: float


def percent(probability: float) -> str:
    """A probability for people, never 0%: no token has that."""
    share = 100 * probability
    return f"{share:.1f}%" if share >= 0.05 else "<0.1%"


def shares_of(one: Explanation, words: Sequence[Word]) -> list[Share]:
    """The sums of each word's tokens."""
    whole = sum(origin.norm for origin in one.origins) or 1.0
    found: list[Share] = []
    for word in words:
        origins = one.origins[word.begin : word.end]
        found.append(
            Share(
                word,
                sum(origin.rollout for origin in origins),
                sum(origin.norm for origin in origins) / whole,
                sum(origin.logit for origin in origins),
            )
        )
    return found


def draw_prompt(words: Sequence[Word], one: Explanation, colour: bool) -> list[str]:
    """The end of the prompt in a few lines; the more was brought from a word, the bluer it is."""
    lines: list[list[Share]] = [[]]
    width, room = 0, WIDTH - 8
    for share in reversed(shares_of(one, words)):
        columns = display_width(fitted(share.word.shown, room))
        if lines[-1] and width + columns > room:
            if len(lines) == _ROWS:
                break
            lines.append([])
            width = 0
        lines[-1].append(share)
        width += columns
    most = max((share.brought for line in lines for share in line), default=0.0)
    drawn = [
        "".join(_painted(share, most, colour and len(words) > 1, room) for share in reversed(line))
        for line in reversed(lines)
    ]
    before = words.index(lines[-1][-1].word) if lines[-1] else 0
    told = [f"{'prompt' if not number else '':<8}{line}" for number, line in enumerate(drawn)]
    if before:
        told.insert(0, f"prompt  … {before:,} words before")
        told[1] = " " * 6 + told[1][6:]
    return told


def _painted(share: Share, most: float, colour: bool, room: int) -> str:
    text = fitted(share.word.shown, room)
    if not colour:
        return text
    step = round((len(_GROUNDS) - 1) * share.brought / most) if most else 0
    return f"\x1b[38;5;16;48;5;{_GROUNDS[step]}m{text}\x1b[0m"


def words_table(one: Explanation, words: Sequence[Word], answer: str, colour: bool) -> str:
    """The words that attention gathered the answer from, in their order."""
    shares = shares_of(one, words)
    most = max(share.brought for share in shares)
    strongest = sorted(shares, key=lambda share: -max(share.brought, share.rollout))
    kept = {share.word.begin for share in strongest[:LISTED]}
    rows = [
        [
            fitted(share.word.shown, _WORD),
            f"{100 * share.brought:.1f}%",
            "█" * round(_BAR * share.brought / most) if most else "",
            f"{100 * share.rollout:.1f}%",
            f"{share.logit:+.2f}",
        ]
        for share in shares
        if share.word.begin in kept
    ]
    others = [share for share in shares if share.word.begin not in kept]
    if others:
        rows.append(
            [
                f"{len(others):,} others",
                f"{100 * sum(share.brought for share in others):.1f}%",
                "",
                f"{100 * sum(share.rollout for share in others):.1f}%",
                f"{sum(share.logit for share in others):+.2f}",
            ]
        )
    title = f"Gathered: what attention brought from each word, and what that adds to {answer}"
    heads = ["word", "brought", "", "leads back", "adds"]
    notes = textwrap.wrap(_NOTE, WIDTH)
    return as_text(Table(title, heads, rows, (0, 2), notes, under=True), colour)[:-1]
