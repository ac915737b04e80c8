"""What `lmtool explain` tells people, within 80 columns: first the answer, then who brought it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .explain_ablated import ablation_table
from .explain_json import Explained
from .explain_words import draw_prompt, percent, words_table
from .text_table import Table, as_text, fitted, wrapped

if TYPE_CHECKING:
    from ..engine.lens.explanation import Explanation, View

WIDTH = 80
_TOKEN = 14
"""Columns that a token's text may take in a table."""
_BAR = 6
_HEADS = 6
_EXPERTS = 4
_LAYERS = (
    "place: the answer's among all tokens. attention, MLP: what the layer's two parts add to "
    "its logit, the number that its chance grows with."
)
_NEURONS = "makes likelier: what the neuron's answer speaks for, whatever comes of it."


def as_report(found: Explained, colour: bool) -> str:
    """Every prediction, one after another."""
    told = [_Report(found, one, colour).text() for one in found.explanations]
    if not told:
        return "nothing was written: there is nothing to explain\n"
    return f"{'─' * WIDTH}\n".join(told)


class _Report:
    """One prediction, section by section."""

    def __init__(self, found: Explained, one: Explanation, colour: bool) -> None:
        self.found, self.one, self.colour = found, one, colour
        self.words = found.spelling.words(found.ids[: one.position])
        self.answer = self.shown(one.answer)

    def text(self) -> str:
        parts = [
            self.heading(),
            self.ablated(),
            self.layers(),
            self.sum(),
            self.strongest(),
            self.experts(),
        ]
        parts.append(words_table(self.one, self.words, self.answer, self.colour))
        parts.append(self.neurons())
        return "\n".join(part for part in parts if part)

    def shown(self, id: int) -> str:
        """A token for a table: short enough."""
        return fitted(self.found.spelling.shown(id), _TOKEN)

    def bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self.colour else text

    def heading(self) -> str:
        """The prompt, the answer, what else was likely."""
        one, view = self.one, self.one.view
        lines = draw_prompt(self.words, one, self.colour)
        place = "" if view.rank == 1 else f", in place {view.rank:,}"
        lines.append(
            f"answer  {self.bold(self.answer)}  {percent(view.answer.probability)} likely{place}"
        )
        others = [guess for guess in view.top if guess.id != one.answer]
        if others:
            listed = ", ".join(
                f"{self.shown(guess.id)} {percent(guess.probability)}" for guess in others
            )
            lines.append(_hung("others" if view.rank == 1 else "rather", listed))
        actual = self.found.next(one)
        if actual is not None and actual != one.answer:
            lines.append(f"text    goes on with {self.shown(actual)}")
        return "\n".join(lines) + "\n"

    def ablated(self) -> str:
        """What the whole model says, where this one lacks something."""
        beside = self.found.contrast(self.one)
        return "" if beside is None else ablation_table(self.found, beside, self.colour)

    def layers(self) -> str:
        """The logit lens beside what each half of a layer added to the answer's logit."""
        one = self.one
        largest = max(
            [abs(part) for layer in one.layers for part in (layer.attention, layer.mlp)], default=0
        )
        rows = [["embed", *self.view(one.before), "", "", "", ""]]
        for number, layer in enumerate(one.layers):
            added = [
                cell
                for part in (layer.attention, layer.mlp)
                for cell in (f"{part:+.2f}", bar(part, largest))
            ]
            rows.append([str(number), *self.view(layer.view), *added])
        heads = ["after", "would say", "chance", "of answer", "place"]
        heads += ["attention", "", "MLP", ""]
        title = f"What each layer would answer, and what its two parts add to {self.answer}"
        notes = [self.leads(), *textwrap.wrap(_LAYERS, WIDTH)]
        table = Table(title, heads, rows, (0, 1, 6, 8), notes, under=True)
        return as_text(table, self.colour)[:-1]

    def view(self, view: View) -> list[str]:
        best = view.top[0]
        answer = percent(view.answer.probability)
        return [self.shown(best.id), percent(best.probability), answer, f"{view.rank:,}"]

    def leads(self) -> str:
        """Where the answer comes up first, and for good."""
        one = self.one
        first = one.first_height
        if first is None:
            return f"{self.answer} leads nowhere."
        where = f"after layer {first - 1}" if first else "at the embedding"
        said = f"{self.answer} leads first {where}"
        if one.leads_from is None:
            return f"{said}, and loses the lead again."
        if one.height_for_good != first:
            said += f", and for good from layer {one.leads_from} on"
        return f"{said}."

    def sum(self) -> str:
        """The answer's logit, part by part."""
        parts = self.one.parts
        told = [
            f"{parts.total:.2f} =",
            f"embedding {parts.embedding:+.2f}",
            f"attention {parts.attention:+.2f}",
            f"MLPs {parts.mlp:+.2f}",
        ]
        rest = (("biases", parts.constant), ("its cap", parts.cap), ("rounding", parts.rounding))
        told += [f"{name} {part:+.2f}" for name, part in rest if abs(part) >= 0.005]
        return _hung("logit", ", ".join(told).replace("=,", "="))

    def strongest(self) -> str:
        """The attention heads that did most."""
        heads = [
            (logit, f"{number}.{head}")
            for number, layer in enumerate(self.one.layers)
            for head, logit in enumerate(layer.heads)
        ]
        heads.sort(key=lambda pair: -abs(pair[0]))
        listed = ", ".join(f"{name} {logit:+.2f}" for logit, name in heads[:_HEADS])
        return _hung("heads", f"{listed} (layer.head)") + "\n"

    def experts(self) -> str:
        """Which experts each layer of a mixture chose, and what they added."""
        lines: list[str] = []
        for number, layer in enumerate(self.one.layers):
            if not layer.experts:
                continue
            listed = ", ".join(
                f"{'shared' if one.number is None else one.number} "
                f"{100 * one.weight:.0f}% {one.logit:+.2f}"
                for one in layer.experts[:_EXPERTS]
            )
            more = len(layer.experts) - _EXPERTS
            lines.append(fitted(f"{number:>5}  {listed}{f', {more} more' * (more > 0)}", WIDTH))
        if not lines:
            return ""
        title = "The experts that each layer chose: weight, and what they add"
        return "\n".join([self.bold(title), "layer", *lines, ""])

    def neurons(self) -> str:
        """The neurons that recalled the answer, or spoke against it."""
        found = self.one.neurons
        if not found:
            return ""
        rows = [
            [
                ".".join(str(one) for one in (n.layer, n.expert, n.number) if one is not None),
                f"{n.activation:+.2f}",
                f"{n.logit:+.2f}",
                bar(n.logit, max(abs(other.logit) for other in found)),
                self.raised([one.id for one in n.promotes]),
            ]
            for n in found
        ]
        heads = ["layer.neuron", "answers", "adds", "", "makes likelier"]
        title = f"Recalled: the MLP neurons that did most to {self.answer}"
        notes = textwrap.wrap(_NEURONS, WIDTH)
        return as_text(Table(title, heads, rows, (0, 3, 4), notes, under=True), self.colour)[:-1]

    def raised(self, ids: Sequence[int]) -> str:
        return fitted(" ".join(map(self.shown, ids)), 38)


def bar(value: float, largest: float) -> str:
    """How far `value` goes towards `largest`, which is never told apart by colour alone."""
    eighths = round(8 * _BAR * abs(value) / largest) if largest else 0
    whole, rest = divmod(eighths, 8)
    return "█" * whole + ("" if not rest else "▏▎▍▌▋▊▉"[rest - 1])


def _hung(name: str, text: str) -> str:
    """`text` beside its name, wrapped under itself."""
    return "\n".join(wrapped(text, WIDTH, f"{name:<8}", " " * 8))
