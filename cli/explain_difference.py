"""`explain --diff`: which of the words in which two prompts differ move the next token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from .. import UsageError
from .ablation_options import Ablation
from .answers import Prompt
from .explain_options import Told, WhichPrediction
from .explain_report import bar
from .explain_words import WIDTH, percent
from .prompt import argument_text
from .prompt_words import Spelling
from .text_table import Table, as_text, display_width, fitted, wrapped

if TYPE_CHECKING:
    from ..engine.lens.difference import Change, Difference, Moved
    from ..engine.lens.explanation import Guess
    from ..engine.lens.moves import Move, Odds
    from ..engine.session import ModelCard, Session

_SIDE, _WIDE = 10, 32
"""Columns for what a change takes away, and for what it puts there: in the table, and alone."""
_TOKEN = 12
_MOVED = 3
"""Tokens told of each change, likelier and less likely."""
_NOTE = (
    "alone: how far the first prompt's answer moves with this change alone in it, in nats (KL); "
    "undone: how far the second one's moves with this change alone taken back."
)


@dataclass(frozen=True)
class DifferenceOptions:
    """Another prompt to compare with."""

    panel: ClassVar[str] = "What if"

    diff: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Compare what comes next with what does after TEXT: which of the words that "
            "differ move it, and to what.",
            show_default=False,
        ),
    ] = None

    def check(self, which: WhichPrediction, told: Told) -> None:
        """Raise `UsageError` for what makes no sense together."""
        given = {"--at": which.at, "--tokens": which.tokens, "--html": told.html}
        for option, value in given.items():
            if self.diff is not None and value is not None:
                raise UsageError(
                    f"--diff and {option} exclude each other",
                    hint="--diff is about what comes next after two whole prompts",
                )

    def text(self, escape: bool) -> str:
        """The other prompt."""
        return argument_text(self.diff or "", "--diff", escape)


@dataclass(frozen=True)
class Compared:
    """Two prompts, their difference, and the model, which may lack something."""

    first: Prompt
    second: Prompt
    difference: Difference
    card: ModelCard
    spelling: Spelling
    ablation: Ablation


def compare_prompts(
    session: Session,
    first: Prompt,
    second: Prompt,
    watched: int | None,
    top: int,
    ablation: Ablation,
) -> Compared:
    """What the words in which two prompts differ do to what comes next; `watched` is told too.

    Raises `UsageError` where the model doesn't see some of a prompt.
    """
    from ..engine.lens.difference import compare

    if ablation.unseen:
        raise UsageError(
            "--diff doesn't go with --ablate of tokens or text",
            hint="leave these words out of the other prompt instead",
        )
    spelling = Spelling(session.tokenizer)
    one, other = (
        [tuple(prompt.ids[word.begin : word.end]) for word in spelling.words(prompt.ids)]
        for prompt in (first, second)
    )
    asked = () if watched is None else (watched,)
    found = compare(session.decoder, one, other, session.context, watched=asked, top=top)
    return Compared(first, second, found, session.card, spelling, ablation)


def difference_object(found: Compared) -> dict[str, Any]:
    """The object of --json."""
    told, difference = _Json(found), found.difference
    parts = [str(part) for part in found.ablation.parts]
    return {
        "model": asdict(found.card),
        **({"ablation": {"parts": parts, "unseen": []}} if parts else {}),
        "first": told.prompt(found.first, difference.first),
        "second": told.prompt(found.second, difference.second),
        "forth": told.move(difference.forth),
        "back": told.move(difference.back),
        "changes_found": difference.found,
        "changes": [told.moved(moved) for moved in difference.changes],
    }


class _Json:
    def __init__(self, found: Compared) -> None:
        self.found = found

    def token(self, id: int) -> dict[str, Any]:
        return {"id": id, "token": self.found.spelling.text(id)}

    def prompt(self, prompt: Prompt, best: Sequence[Guess]) -> dict[str, Any]:
        top = [
            {**self.token(guess.id), "probability": guess.probability, "logit": guess.logit}
            for guess in best
        ]
        return {"prompt": prompt.text, "prompt_token_ids": list(prompt.ids), "top": top}

    def move(self, move: Move) -> dict[str, Any]:
        return {
            "kl": move.kl,
            "gained": [self.odds(one) for one in move.gained],
            "lost": [self.odds(one) for one in move.lost],
            "watched": [self.odds(one) for one in move.watched],
        }

    def odds(self, odds: Odds) -> dict[str, Any]:
        sides = (("before", odds.before), ("after", odds.after))
        told = {n: {"probability": g.probability, "logit": g.logit} for n, g in sides}
        return {**self.token(odds.id), **told}

    def moved(self, moved: Moved) -> dict[str, Any]:
        sides = ((self.found.first, moved.change.before), (self.found.second, moved.change.after))
        before, after = (
            {"begin": places.start, "end": places.stop, "text": self.text(prompt, places)}
            for prompt, places in sides
        )
        alone, undone = self.move(moved.alone), self.move(moved.undone)
        return {"before": before, "after": after, "alone": alone, "undone": undone}

    def text(self, prompt: Prompt, places: range) -> str:
        data = b"".join(self.found.spelling.data(prompt.ids[place]) for place in places)
        return data.decode("utf-8", "replace")


def difference_report(found: Compared, colour: bool) -> str:
    """It for people, within 80 columns."""
    return _Report(found, colour).text()


class _Report:
    def __init__(self, found: Compared, colour: bool) -> None:
        self.found, self.colour, self.difference = found, colour, found.difference

    def text(self) -> str:
        parts = [self.heading()]
        if not self.difference.changes:
            return f"{parts[0]}\nBoth prompts are the same tokens: nothing differs.\n"
        parts += [self.table(), self.tokens()]
        return "\n".join(parts)

    def shown(self, id: int) -> str:
        return fitted(self.found.spelling.shown(id), _TOKEN)

    def heading(self) -> str:
        """Both prompts' ends, and what is likely after each."""
        difference, found = self.difference, self.found
        lines: list[str] = []
        sides = ((found.first, difference.first), (found.second, difference.second))
        for name, (prompt, best) in zip(("first", "second"), sides, strict=True):
            whole = found.spelling.shown(*prompt.ids)
            lines.append(f"{name:<8}{fitted(whole, WIDTH - 8, keep_end=True)}")
            likely = ", ".join(f"{self.shown(one.id)} {percent(one.probability)}" for one in best)
            lines += wrapped(likely, WIDTH, f"{'answer':<8}", " " * 8)
        if found.ablation:
            told = found.ablation.words(found.first.ids, found.spelling)
            lines += wrapped(told, WIDTH, f"{'without':<8}", " " * 8)
        return "\n".join(lines) + "\n"

    def table(self) -> str:
        """How far each change moves the answer, and how likely the answers are with it alone."""
        difference = self.difference
        watched = difference.forth.watched
        largest = max(
            [difference.forth.kl]
            + [move.kl for moved in difference.changes for move in (moved.alone, moved.undone)]
        )
        chances = [percent(odds.before.probability) for odds in watched]
        rows = [["(none)", "", "", "", "", *chances]]
        for moved in difference.changes:
            name = self.change(moved.change, _SIDE)
            rows.append(self.row(name, moved.alone, moved.undone, largest))
        if len(difference.changes) > 1:
            rows.append(self.row("(all)", difference.forth, difference.back, largest))
        heads = ["change", "alone", "", "undone", ""]
        heads += [fitted(self.shown(odds.id), 6 if len(watched) > 2 else 10) for odds in watched]
        notes = wrapped(_NOTE, WIDTH)
        if len(watched) > 1:
            notes += wrapped("The last columns: each token's chance with this change alone.", WIDTH)
        if difference.found > len(difference.changes):
            notes.append(f"Of {difference.found} changes, the nearest to each other are one here.")
        title = "Which change moves the answer"
        return as_text(Table(title, heads, rows, (0, 2, 4), notes, under=True), self.colour)[:-1]

    def row(self, name: str, alone: Move, undone: Move, largest: float) -> list[str]:
        cells = [name]
        for move in (alone, undone):
            cells += [f"{move.kl:.3f}", bar(move.kl, largest)]
        return cells + [percent(odds.after.probability) for odds in alone.watched]

    def change(self, change: Change, side: int) -> str:
        """`·red → ·blue`, each as wide as `side`; of what comes or goes, one side alone."""
        spelling, found = self.found.spelling, self.found
        before = spelling.shown(*found.first.ids[change.before.start : change.before.stop])
        after = spelling.shown(*found.second.ids[change.after.start : change.after.stop])
        if not change.after:
            return f"- {fitted(before, 2 * side)}"
        if not change.before:
            return f"+ {fitted(after, 2 * side)}"
        # A short side leaves its room to the other.
        before = fitted(before, 2 * side - min(side, display_width(after)))
        return f"{before} → {fitted(after, 2 * side - display_width(before))}"

    def tokens(self) -> str:
        """Which tokens each change alone makes likelier, and less likely."""
        title = "Which tokens each change alone moves"
        lines = [f"\x1b[1m{title}\x1b[0m" if self.colour else title]
        for moved in self.difference.changes:
            lines.append(self.change(moved.change, _WIDE))
            for name, odds in (("likelier", moved.alone.gained), ("less", moved.alone.lost)):
                told = ", ".join(
                    f"{self.shown(one.id)} {percent(one.before.probability)} → "
                    f"{percent(one.after.probability)}"
                    for one in odds[:_MOVED]
                )
                lines += wrapped(told or "none", WIDTH, f"  {name:<10}", " " * 12)
        return "\n".join(lines) + "\n"
