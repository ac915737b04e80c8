"""What is told of one prediction, as plain numbers: no tensors, no text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guess:
    """A token, how likely it is, and its logit."""

    id: int
    probability: float
    logit: float


@dataclass(frozen=True, slots=True)
class View:
    """What the stack would answer at some height: the logit lens (nostalgebraist 2020).

    That is the model's own last norm and head, applied to the residual stream there. `top` are the
    likeliest tokens; `answer` is the explained token, and `rank` its place, 1 being the likeliest.
    """

    top: tuple[Guess, ...]
    answer: Guess
    rank: int


@dataclass(frozen=True, slots=True)
class Expert:
    """An expert that the router chose, its weight, and what it added to the answer's logit.

    `number` is None for the shared expert, which every token passes.
    """

    number: int | None
    weight: float
    logit: float


@dataclass(frozen=True, slots=True)
class LayerStory:
    """One layer's part in a prediction.

    `view` is what the stack would answer after it. `attention` and `mlp` are what its two parts
    added to the answer's logit, `heads` what each attention head of it did.
    """

    view: View
    attention: float
    mlp: float
    heads: tuple[float, ...]
    experts: tuple[Expert, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """How much a position of the prompt was gathered from.

    `rollout`: the share of the prediction's attention that leads back to it, with residuals
    (Abnar & Zuidema 2020, arXiv:2005.00928). `norm`: how long the vectors are that attention
    brought straight from it, summed over layers (Kobayashi et al. 2020, arXiv:2004.10102).
    `logit`: what these vectors added to the answer's logit.
    """

    rollout: float
    norm: float
    logit: float


@dataclass(frozen=True, slots=True)
class Raised:
    """A token, and by how much something raised its logit."""

    id: int
    logit: float


@dataclass(frozen=True, slots=True)
class Neuron:
    """A neuron of an MLP: how it answered, what that added to the answer's logit.

    `promotes` are the tokens whose logits its answer raised most. `expert` is None outside
    mixtures, and "shared" for the expert that every token passes.
    """

    layer: int
    expert: int | str | None
    number: int
    activation: float
    logit: float
    promotes: tuple[Raised, ...] = ()


@dataclass(frozen=True, slots=True)
class Parts:
    """The answer's logit as a sum (direct logit attribution; Elhage et al. 2021).

    `embedding` is the part of the token's own embedding, `constant` that of biases of norms and
    head, `cap` what squashing the logit took away, and `rounding` what the parts don't add up to.
    """

    embedding: float
    attention: float
    mlp: float
    constant: float
    cap: float
    rounding: float
    total: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """One prediction: the token after the first `position` ones, or another one that was asked for.

    `before` is the view on the embedding; `first_leads` is the first layer after which the answer
    is the likeliest, `leads_from` the one from which it stays so; None where it never is.
    """

    position: int
    answer: int
    before: View
    layers: tuple[LayerStory, ...]
    parts: Parts
    origins: tuple[Origin, ...]
    neurons: tuple[Neuron, ...]

    @property
    def view(self) -> View:
        """What the model answers."""
        return self.layers[-1].view if self.layers else self.before

    @property
    def first_leads(self) -> int | None:
        """See above."""
        ranks = [layer.view.rank for layer in self.layers]
        return next((number for number, rank in enumerate(ranks) if rank == 1), None)

    @property
    def leads_from(self) -> int | None:
        """See above."""
        return _for_good([layer.view.rank for layer in self.layers])

    @property
    def first_height(self) -> int | None:
        """Where the answer is the likeliest first: 0 at the embedding, N + 1 after layer N."""
        if self.before.rank == 1:
            return 0
        return None if self.first_leads is None else self.first_leads + 1

    @property
    def height_for_good(self) -> int | None:
        """From which height it stays so, counted alike."""
        return _for_good([self.before.rank, *(layer.view.rank for layer in self.layers)])


def _for_good(ranks: Sequence[int]) -> int | None:
    """The place from which all ranks are 1; None if the last isn't."""
    since: int | None = None
    for place, rank in enumerate(ranks):
        if rank > 1:
            since = None
        elif since is None:
            since = place
    return since
