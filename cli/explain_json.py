"""`lmtool explain --json`: everything that is known of each prediction, in plain names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from .ablation_options import Ablation
from .answers import Prompt
from .prompt_words import Spelling

if TYPE_CHECKING:
    from ..engine.lens.explanation import Explanation, Guess, LayerStory, Neuron, Raised, View
    from ..engine.lens.moves import Odds
    from ..engine.lens.what_if import Contrast
    from ..engine.session import ModelCard


@dataclass(frozen=True)
class Explained:
    """Predictions and the text that they are of: the prompt, and what was written behind it.

    `ablation` is what the model does without; if anything, `contrasts` has a contrast with the
    whole model for each prediction.
    """

    prompt: Prompt
    ids: tuple[int, ...]
    explanations: Sequence[Explanation]
    card: ModelCard
    spelling: Spelling
    ablation: Ablation = field(default_factory=Ablation)
    contrasts: Sequence[Contrast] = ()

    def contrast(self, explanation: Explanation) -> Contrast | None:
        """What the whole model says there; None where this is the whole model."""
        pairs = zip(self.explanations, self.contrasts, strict=False)
        return next((contrast for one, contrast in pairs if one is explanation), None)

    def text(self, places: range) -> str:
        """What the tokens at some places say together."""
        data = b"".join(self.spelling.data(self.ids[place]) for place in places)
        return data.decode("utf-8", "replace")

    def next(self, explanation: Explanation) -> int | None:
        """The token that the text goes on with there; None at its end."""
        at = explanation.position
        return self.ids[at] if at < len(self.ids) else None


def as_object(found: Explained) -> dict[str, Any]:
    """The object of --json."""
    told = _Told(found)
    return {
        "model": asdict(found.card),
        "prompt": found.prompt.text,
        "prompt_token_ids": list(found.prompt.ids),
        "tokens": [told.token(id) for id in found.ids],
        **({"ablation": told.ablation(found.ablation)} if found.ablation else {}),
        "predictions": [told.prediction(one) for one in found.explanations],
    }


class _Told:
    def __init__(self, found: Explained) -> None:
        self.found = found

    def token(self, id: int) -> dict[str, Any]:
        return {"id": id, "token": self.found.spelling.text(id)}

    def prediction(self, one: Explanation) -> dict[str, Any]:
        actual, contrast = self.found.next(one), self.found.contrast(one)
        return {
            "position": one.position,
            "answer": self.guess(one.view.answer),
            "actual": None if actual is None else self.token(actual),
            "rank": one.view.rank,
            "top": [self.guess(guess) for guess in one.view.top],
            **({} if contrast is None else {"whole": self.whole(contrast)}),
            "first_leads": one.first_leads,
            "leads_from": one.leads_from,
            "logit": asdict(one.parts),
            "embedding": self.view(one.before),
            "layers": [self.layer(number, layer) for number, layer in enumerate(one.layers)],
            "origins": [
                {"place": place, **self.token(id), **asdict(origin)}
                for place, (id, origin) in enumerate(
                    zip(self.found.ids[: one.position], one.origins, strict=True)
                )
            ],
            "neurons": [self.neuron(neuron) for neuron in one.neurons],
        }

    def ablation(self, ablation: Ablation) -> dict[str, Any]:
        unseen = (
            {"first": places.start, "last": places.stop - 1, "text": self.found.text(places)}
            for places in ablation.unseen
        )
        return {"parts": [str(part) for part in ablation.parts], "unseen": list(unseen)}

    def whole(self, contrast: Contrast) -> dict[str, Any]:
        """What the whole model would say, and what becomes of it."""
        move = contrast.move
        return {
            **self.view(contrast.whole),
            "kl": move.kl,
            "moved": [self.odds(one) for one in move.watched],
        }

    def odds(self, odds: Odds) -> dict[str, Any]:
        sides = (("whole", odds.before), ("without", odds.after))
        told = {n: {"probability": g.probability, "logit": g.logit} for n, g in sides}
        return {**self.token(odds.id), **told}

    def guess(self, guess: Guess) -> dict[str, Any]:
        return {
            **self.token(guess.id),
            "probability": guess.probability,
            "logit": guess.logit,
        }

    def view(self, view: View) -> dict[str, Any]:
        return {
            "top": [self.guess(guess) for guess in view.top],
            "answer": self.guess(view.answer),
            "rank": view.rank,
        }

    def layer(self, number: int, layer: LayerStory) -> dict[str, Any]:
        told = {"layer": number, **self.view(layer.view)}
        told |= {"attention": layer.attention, "mlp": layer.mlp, "heads": list(layer.heads)}
        if layer.experts:
            told["experts"] = [
                {
                    "expert": "shared" if expert.number is None else expert.number,
                    "weight": expert.weight,
                    "logit": expert.logit,
                }
                for expert in layer.experts
            ]
        return told

    def neuron(self, neuron: Neuron) -> dict[str, Any]:
        return {
            "layer": neuron.layer,
            **({} if neuron.expert is None else {"expert": neuron.expert}),
            "neuron": neuron.number,
            "activation": neuron.activation,
            "logit": neuron.logit,
            "promotes": [self.raised(one) for one in neuron.promotes],
        }

    def raised(self, one: Raised) -> dict[str, Any]:
        return {**self.token(one.id), "logit": one.logit}
