"""`lmtool explain --json`: everything that is known of each prediction, in plain names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .answers import Prompt
from .prompt_words import Spelling

if TYPE_CHECKING:
    from ..engine.lens.explanation import Explanation, Guess, LayerStory, Neuron, Raised, View
    from ..engine.session import ModelCard


@dataclass(frozen=True)
class Explained:
    """Predictions and the text that they are of: the prompt, and what was written behind it."""

    prompt: Prompt
    ids: tuple[int, ...]
    explanations: Sequence[Explanation]
    card: ModelCard
    spelling: Spelling

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
        "predictions": [told.prediction(one) for one in found.explanations],
    }


class _Told:
    def __init__(self, found: Explained) -> None:
        self.found = found

    def token(self, id: int) -> dict[str, Any]:
        return {"id": id, "token": self.found.spelling.text(id)}

    def prediction(self, one: Explanation) -> dict[str, Any]:
        actual = self.found.next(one)
        return {
            "position": one.position,
            "answer": self.guess(one.view.answer),
            "actual": None if actual is None else self.token(actual),
            "rank": one.view.rank,
            "top": [self.guess(guess) for guess in one.view.top],
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
