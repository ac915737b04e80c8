"""`explain --ablate`: the model that lacks something beside the whole one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .ablation_options import Ablation
from .explain_json import Explained
from .explain_words import percent
from .text_table import Table, as_text, fitted, wrapped

if TYPE_CHECKING:
    from ..engine.lens.what_if import Contrast
    from ..engine.model.decoder import Decoder

WIDTH = 80
_TOKEN = 20
_NOTE = (
    "change: from the whole model to the one without, of the chance in points and of the logit. "
    "All in all the answer moves by {:.3f} nats (KL)."
)


def beside_the_whole(
    found: Explained, gone: Ablation, whole: Decoder, lacking: Decoder, top: int
) -> Explained:
    """Predictions of a model that lacks something, each beside what the whole one says."""
    from ..engine.lens.what_if import contrast

    positions = [one.position for one in found.explanations]
    answers = [one.answer for one in found.explanations]
    contrasts = contrast(whole, lacking, found.ids, positions, answers, top)
    return replace(found, ablation=gone, contrasts=contrasts)


def ablation_table(found: Explained, beside: Contrast, colour: bool) -> str:
    """The explained token and the likeliest ones, in both models."""
    rows = [
        [
            fitted(found.spelling.shown(odds.id), _TOKEN),
            percent(odds.before.probability),
            f"{odds.before.logit:.2f}",
            percent(odds.after.probability),
            f"{odds.after.logit:.2f}",
            f"{100 * (odds.after.probability - odds.before.probability):+.1f}",
            f"{odds.after.logit - odds.before.logit:+.2f}",
        ]
        for odds in beside.move.watched
    ]
    heads = ["token", "whole model", "logit", "without", "logit", "change", "logit"]
    without = found.ablation.words(found.ids, found.spelling)
    title = "\n".join(wrapped(f"What if: without {without}", WIDTH))
    notes = wrapped(_NOTE.format(beside.move.kl), WIDTH)
    return as_text(Table(title, heads, rows, 1, notes, under=True), colour)[:-1]
