"""The lower half of `lmtool explain --html`: an answer's logit as a sum, and what was recalled."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from .explain_grid import percent, token
from .explain_json import Explained

if TYPE_CHECKING:
    from ..engine.lens.explanation import Expert, Explanation, LayerStory, Neuron
    from ..engine.lens.moves import Odds


def draw_sum(found: Explained, one: Explanation) -> str:
    """What each part of the model added to the answer's logit, as bars, down to the sum."""
    parts = one.parts
    rest = [
        ("biases", parts.constant, "what the last norms and the head add whatever the text"),
        ("cap", parts.cap, "what squashing the score took away"),
        ("rounding", parts.rounding, "what the parts don't add up to"),
    ]
    shown = [row for row in rest if row[1] or row[0] == "rounding"]
    sizes = [abs(part) for layer in one.layers for part in (layer.attention, layer.mlp)]
    sizes += [abs(parts.embedding), *(abs(part) for _, part, _ in shown)]
    rows = list(_rows(one, max(sizes) or 1.0))
    so_far = parts.embedding + parts.attention + parts.mlp
    for name, part, told in shown:
        so_far += part
        bars = f'<td colspan="2">{bar(part, max(sizes) or 1.0)}</td>'
        rows.append(f'<tr><th scope="row" title="{told}">{name}</th>{bars}{_number(so_far)}</tr>')
    return _SUM.format(
        answer=token(found, one.answer),
        total=number(parts.total),
        attention=signed(parts.attention),
        mlp=signed(parts.mlp),
        rows="\n".join(rows),
    )


def _rows(one: Explanation, largest: float) -> Iterator[str]:
    """The embedding, then each layer's two parts, with the sum so far."""
    so_far = one.parts.embedding
    bars = f'<td colspan="2">{bar(one.parts.embedding, largest)}</td>'
    name = '<th scope="row" title="the last token alone, before any layer">embedding</th>'
    yield f"<tr>{name}{bars}{_number(so_far)}</tr>"
    for height, layer in enumerate(one.layers):
        so_far += layer.attention + layer.mlp
        pair = "".join(f"<td>{bar(x, largest)}</td>" for x in (layer.attention, layer.mlp))
        name = f"layer {height}{_chosen(layer)}"
        row = f'<tr data-layer="{height}" tabindex="0">'
        yield f'{row}<th scope="row">{name}</th>{pair}{_number(so_far)}</tr>'


def _chosen(layer: LayerStory) -> str:
    """Which experts a mixture's layer chose."""
    if not layer.experts:
        return ""
    names = " ".join(str(expert_name(expert)) for expert in layer.experts)
    return f"<small>experts {names}</small>"


def expert_name(expert: Expert) -> int | str:
    """An expert's number; the shared one has none."""
    return "shared" if expert.number is None else expert.number


def bar(value: float, largest: float) -> str:
    """A bar from the middle to the right for what speaks for the answer, to the left against."""
    side = "down" if value < 0 else "up"
    share = min(1.0, abs(value) / largest)
    return f'<span class="bar {side}" style="--v:{share:.3g}">{signed(value)}</span>'


def signed(value: float) -> str:
    """What something adds to a logit, with a real minus sign."""
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def number(value: float) -> str:
    """A logit, with a real minus sign."""
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _number(value: float) -> str:
    return f'<td class="n">{number(value)}</td>'


def draw_what_if(found: Explained, one: Explanation) -> str:
    """What the whole model says beside this one that lacks something; nothing where it is whole."""
    beside = found.contrast(one)
    if beside is None:
        return ""
    rows = "\n".join(map(partial(_moved, found), beside.move.watched))
    without = escape(found.ablation.words(found.ids, found.spelling))
    return _WHAT_IF.format(without=without, kl=f"{beside.move.kl:.3f}", rows=rows)


def _moved(found: Explained, odds: Odds) -> str:
    before, after = odds.before.probability, odds.after.probability
    return (
        f'<tr><th scope="row">{token(found, odds.id)}</th><td class="n">{percent(before)}</td>'
        f'<td class="n">{percent(after)}</td><td>{bar(100 * (after - before), 100)}</td></tr>'
    )


def draw_neurons(found: Explained, one: Explanation) -> str:
    """The neurons that did most, and what else they promote; nothing where none is told of."""
    if not one.neurons:
        return ""
    largest = max(abs(neuron.logit) for neuron in one.neurons) or 1.0
    rows = "\n".join(_neuron(found, neuron, largest) for neuron in one.neurons)
    return _NEURONS.format(answer=token(found, one.answer), rows=rows)


def _neuron(found: Explained, neuron: Neuron, largest: float) -> str:
    promotes = " ".join(token(found, raised.id) for raised in neuron.promotes)
    expert = "" if neuron.expert is None else f"expert {neuron.expert}, "
    name = f"layer {neuron.layer}, {expert}neuron {neuron.number:,}"
    return (
        f'<tr><th scope="row">{name}</th>{_number(neuron.activation)}'
        f"<td>{bar(neuron.logit, largest)}</td><td>{promotes}</td></tr>"
    )


def told_layers(one: Explanation) -> list[list[Any]]:
    """For the script: each layer's attention, MLP, heads and experts."""
    return [
        [
            round(layer.attention, 4),
            round(layer.mlp, 4),
            [round(head, 4) for head in layer.heads],
            [[expert_name(e), round(e.weight, 3), round(e.logit, 4)] for e in layer.experts],
        ]
        for layer in one.layers
    ]


_WHAT_IF = """<section>
<h2>What if: without {without}</h2>
<p>All that this page shows is of the model without that. Its answer is {kl} nats away from that \
of the whole model (KL divergence: 0 would be the same).</p>
<div class="wide"><table class="neurons"><thead><tr><td></td><th scope="col">whole model</th>\
<th scope="col">without</th><th scope="col">change in points</th></tr></thead>
<tbody>
{rows}
</tbody></table></div>
</section>
"""
_SUM = """<section>
<h2>Which parts of the model said {answer}?</h2>
<p>The model gives each token that it knows a score, the <em>logit</em>; the highest comes next. \
That of {answer} is <strong>{total}</strong>, and it is a sum: what the embedding of the last \
token gave, and what each layer added, by what its attention gathered ({attention} in all) and \
what its MLP remembered ({mlp} in all). Bars to the <span class="up">right</span> speak for \
{answer}, those to the <span class="down">left</span> against it.</p>
<div class="wide"><table class="sum"><thead><tr><td></td><th scope="col">attention</th>\
<th scope="col">MLP</th><th scope="col">so far</th></tr></thead>
<tbody>
{rows}
</tbody></table></div>
</section>
"""
_NEURONS = """<section>
<h2>Recalled: what was remembered?</h2>
<p>An MLP is made of neurons. Each answers to something in the text, strongly or not, and what it \
answers makes some tokens likelier: a memory. These did most to {answer}.</p>
<div class="wide"><table class="neurons"><thead><tr><td></td><th scope="col">answers</th>\
<th scope="col">adds to {answer}</th><th scope="col">makes likelier</th></tr></thead>
<tbody>
{rows}
</tbody></table></div>
</section>
"""
