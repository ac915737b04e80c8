"""The way back from the logits to the embedding: who added what, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..device import to_host
from ..model.block import Block
from ..model.decoder import Decoder
from .explanation import Expert, Explanation, LayerStory, Neuron, Origin, Parts, Raised, View
from .frozen import Frozen
from .gathering import Gathered, brought, gather, keys_of, mixed
from .reading import Reading
from .recalling import Recalled, recall
from .views import views
from .walk import Added, walk


@dataclass
class _Story:
    """What is known of one prediction; its layers come from the last to the first."""

    norm: Tensor  # [T], of what attention brought from each position
    brought: Tensor  # [T], what that added to the answer's logit
    attention: list[float] = field(default_factory=list[float])
    mlp: list[float] = field(default_factory=list[float])
    heads: list[tuple[float, ...]] = field(default_factory=list[tuple[float, ...]])
    experts: list[tuple[Expert, ...]] = field(default_factory=list[tuple[Expert, ...]])
    neurons: list[tuple[Neuron, Tensor]] = field(default_factory=list[tuple[Neuron, Tensor]])
    """The strongest so far, with what each added to what the last norm gives, [M]."""


class Unravelling:
    """A reading's predictions after some numbers of tokens, taken apart together.

    `direction` [n, M] measures the stream at the height that was come down to: its product with
    the stream is the answer's logit, but for `constant` [n]. Both are float64.
    """

    def __init__(
        self,
        decoder: Decoder,
        reading: Reading,
        positions: Sequence[int],
        answers: Sequence[int | None],
    ) -> None:
        self.decoder, self.reading, self.positions = decoder, reading, positions
        self.places = [position - 1 for position in positions]
        self.rows = [state[self.places] for state in reading.states]  # [n, M] each
        logits = decoder.logits(self.rows[-1])
        best: list[int] = to_host(logits.argmax(-1))
        self.answers = [b if a is None else a for a, b in zip(answers, best, strict=True)]
        self.total = logits[torch.arange(len(best)), self.answers].double()
        self.above: list[Frozen] = []
        self._begin()
        length = len(reading.states[0])
        zeros = torch.zeros(2, len(best), length, dtype=torch.float64, device=decoder.device)
        self.stories = [_Story(*pair) for pair in zip(*zeros, strict=True)]
        self.rollout = torch.zeros_like(zeros[0])
        self.rollout[torch.arange(len(best)), self.places] = 1.0

    def _begin(self) -> None:
        """Measure the stream after the last layer, and find what a cap makes of the logit."""
        decoder, scale = self.decoder, self.decoder.spec.logit_scale
        ids = torch.tensor(self.answers, device=decoder.device)
        direction = decoder.head_rows(ids).double() * scale
        self.constant = torch.zeros_like(self.total)
        if decoder.head_bias is not None:
            self.constant += decoder.head_bias[ids].double() * scale
        if decoder.narrow is not None:
            direction = direction @ decoder.narrow.matrix.dense().double()
        self.direction = direction
        if decoder.norm is not None:
            self._go_below(Frozen.at(decoder.norm, self.rows[-1]))
        uncapped = self._measured(self.rows[-1].double()) + self.constant
        capped = decoder.spec.logit_cap is not None
        self.cap = self.total - uncapped if capped else torch.zeros_like(uncapped)

    def _measured(self, x: Tensor) -> Tensor:
        return (x * self.direction).sum(-1)

    def _go_below(self, norm: Frozen) -> None:
        """Measure what goes into a norm of the stream instead of what comes out."""
        self.constant += norm.fixed(self.direction)
        self.direction = norm.back(self.direction)
        self.above.append(norm)

    def told(self, top: int, neurons: int) -> list[Explanation]:
        """Go all the way down and tell."""
        for number in reversed(range(len(self.decoder.blocks))):
            self._take_apart(number, neurons)
        embedding = self._measured(self.rows[0].double())
        heights = len(self.rows)
        states = torch.stack(self.rows, 1).flatten(0, 1)  # [n * (L + 1), M]
        repeated = [answer for answer in self.answers for _ in range(heights)]
        seen = list(views(self.decoder, states, repeated, top))
        return [
            self._told(row, seen[row * heights : (row + 1) * heights], float(embedding[row]), top)
            for row in range(len(self.places))
        ]

    def _take_apart(self, number: int, neurons: int) -> None:
        block, x = self.decoder.blocks[number], self.reading.states[number]
        gathered = gather(block, x, self.reading.chunks, self.places, self.rollout)
        self.rollout = gathered.rollout
        heads = torch.stack(
            [
                mixed(block.mixer, shares, keys_of(block.mixer, self.reading.shared, place + 1))
                for shares, place in zip(gathered.shares, self.places, strict=True)
            ]
        )
        for turn in reversed(walk(block, self.rows[number], heads)):
            if isinstance(turn, Frozen):
                self._go_below(turn)
            elif turn.place == "attention":
                self._attention(block, turn, heads, gathered)
            else:
                self._mlp(number, block, turn, neurons)

    def _attention(self, block: Block, added: Added, heads: Tensor, gathered: Gathered) -> None:
        mixer, inner = block.mixer, added.back(self.direction)
        by_width = inner.float() @ mixer.out.matrix.dense().float()  # [n, H * D]
        by_head = (by_width * heads).view(len(heads), mixer.spec.heads, -1).sum(-1)
        told: list[list[float]] = to_host(by_head)
        totals: list[float] = to_host(self._measured(added.term))
        for row, story in enumerate(self.stories):
            story.attention.append(totals[row])
            story.heads.append(tuple(told[row]))
            kv = keys_of(mixer, self.reading.shared, self.places[row] + 1)
            for begin, vectors in brought(mixer, gathered.shares[row], kv):
                parts = added.carried(vectors.double(), row)  # [N, M]
                end = begin + len(parts)
                story.norm[begin:end] += parts.square().sum(-1).sqrt()
                story.brought[begin:end] += parts @ self.direction[row]

    def _mlp(self, number: int, block: Block, added: Added, most: int) -> None:
        inner = added.back(self.direction)
        totals: list[float] = to_host(self._measured(added.term))
        for row, story in enumerate(self.stories):
            story.mlp.append(totals[row])
            recalled, experts = recall(block, added.fed[row], inner[row], most)
            story.experts.append(tuple(experts))
            for part in recalled:
                vectors = added.carried(part.vectors, row)
                for norm in reversed(self.above):
                    vectors = norm.row(row)(vectors)
                story.neurons += zip(_neurons(number, part), vectors, strict=True)
            story.neurons.sort(key=lambda pair: -abs(pair[0].logit))
            del story.neurons[most:]

    def _told(self, row: int, seen: list[View], embedding: float, top: int) -> Explanation:
        story, position = self.stories[row], self.positions[row]
        down = zip(
            *(reversed(part) for part in (story.attention, story.mlp, story.heads, story.experts)),
            strict=True,
        )
        layers = tuple(LayerStory(view, *part) for view, part in zip(seen[1:], down, strict=True))
        attention, mlp = sum(story.attention), sum(story.mlp)
        constant, cap, total = (float(x[row]) for x in (self.constant, self.cap, self.total))
        rounding = total - (embedding + attention + mlp + constant + cap)
        origins = (self.rollout[row], story.norm, story.brought)
        columns = (to_host(column[:position]) for column in origins)
        return Explanation(
            position,
            self.answers[row],
            seen[0],
            layers,
            Parts(embedding, attention, mlp, constant, cap, rounding, total),
            tuple(Origin(*numbers) for numbers in zip(*columns, strict=True)),
            self._promoting(story, top),
        )

    def _promoting(self, story: _Story, top: int) -> tuple[Neuron, ...]:
        """The strongest neurons, each with the tokens whose logits its answer raised most."""
        if not story.neurons:
            return ()
        decoder = self.decoder
        vectors = torch.stack([vector for _, vector in story.neurons]).to(decoder.dtype)
        if decoder.narrow is not None:
            vectors = decoder.narrow(vectors)
        raised = decoder.head(vectors).float() * decoder.spec.logit_scale  # [K, V]
        logits, ids = (to_host(part) for part in raised.topk(min(top, raised.shape[-1]), dim=-1))
        return tuple(
            replace(neuron, promotes=tuple(map(Raised, ids[k], logits[k])))
            for k, (neuron, _) in enumerate(story.neurons)
        )


def _neurons(layer: int, part: Recalled) -> list[Neuron]:
    columns = (to_host(column) for column in (part.numbers, part.activations, part.logits))
    return [Neuron(layer, part.expert, *numbers) for numbers in zip(*columns, strict=True)]
