"""Explanations against transformers' own models, hooked: every number told, family by family."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lmtool.engine.lens.explain import explain
from lmtool.engine.lens.explanation import Explanation
from reference.cases import CASES
from reference.hooked import Hooked, Wires
from reference.loaded import Loaded
from reference.random_checkpoints import random_ids

PRE = (("attention", "self_attn.o_proj"), ("mlp", "mlp"))
POST = (("attention", "post_attention_layernorm"), ("mlp", "post_feedforward_layernorm"))
OPT = Wires(
    (("attention", "self_attn.out_proj"), ("mlp", "fc2")),
    out="self_attn.out_proj",
    down="fc2",
    values=lambda x, config: x.view(len(x), config.num_attention_heads, -1),
    layers="model.decoder.layers",
    norm="model.decoder.final_layer_norm",
)
BLOOM = Wires(
    (("attention", "self_attention.dense"), ("mlp", "mlp.dense_4h_to_h")),
    out="self_attention.dense",
    down="mlp.dense_4h_to_h",
    value="self_attention.query_key_value",
    values=lambda x, config: x.view(len(x), config.num_attention_heads, 3, -1)[:, :, 2],
    layers="transformer.h",
    norm="transformer.ln_f",
)
MIXTURE = Wires(PRE, down=None)
FAMILIES = {
    "llama biases": Wires(PRE),
    "granite": Wires(
        PRE,
        scale=lambda config: 1 / config.logits_scaling,
        residual=lambda config: config.residual_multiplier,
    ),
    "qwen3 layer types": Wires(PRE),
    "gemma2 caps": Wires(POST),
    "gemma3": Wires(POST),
    "olmo2": Wires(POST),
    "gpt2": Wires(
        (("attention", "attn.c_proj"), ("mlp", "mlp")),
        out="attn.c_proj",
        down="mlp.c_proj",
        value="attn.c_attn",
        values=lambda x, config: x.chunk(3, -1)[2].view(len(x), config.n_head, -1),
        layers="transformer.h",
        norm="transformer.ln_f",
    ),
    "opt": OPT,
    "opt 350m": replace(
        OPT,
        turns=(
            OPT.turns[0],
            ("norm", "self_attn_layer_norm"),
            OPT.turns[1],
            ("norm", "final_layer_norm"),
        ),
        norm=None,
        narrow="model.decoder.project_out",
    ),
    "bloom": BLOOM,
    "bloom normed residuals": replace(
        BLOOM,
        turns=(
            ("norm", "input_layernorm"),
            BLOOM.turns[0],
            ("norm", "post_attention_layernorm"),
            BLOOM.turns[1],
        ),
    ),
    "falcon": replace(
        BLOOM,
        values=lambda x, config: x.view(len(x), config.num_attention_heads + 2, -1)[:, -1:],
    ),
    "gpt_neox": replace(
        BLOOM,
        turns=(("attention", "attention.dense"), BLOOM.turns[1]),
        out="attention.dense",
        value="attention.query_key_value",
        layers="gpt_neox.layers",
        norm="gpt_neox.final_layer_norm",
    ),
    "cohere": Wires(PRE, scale=lambda config: config.logit_scale),
    "phi3 longrope outgrown": Wires(
        PRE,
        value="self_attn.qkv_proj",
        values=lambda x, config: x[:, -config.num_key_value_heads * 8 :].view(len(x), -1, 8),
    ),
    "mixtral": MIXTURE,
    "qwen2_moe": MIXTURE,
    "gpt_oss": MIXTURE,
    "deepseek_v3": Wires(
        PRE,
        down=None,
        value="self_attn.kv_b_proj",
        values=lambda x, config: x.view(len(x), config.num_attention_heads, -1)[
            :, :, config.qk_nope_head_dim :
        ],
    ),
}
"""By the names of their cases."""
LENGTH = 45
"""Longer than every window, and than the first length of the rope that is outgrown."""
PLACES = [LENGTH - 1, 6, 30]


@dataclass
class Both:
    """A checkpoint's explanations, and transformers to compare with."""

    decoder: Any
    hooked: Hooked
    told: list[Explanation]


@pytest.fixture(scope="module", params=FAMILIES)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    case = next(case for case in CASES if case.name == request.param)
    folder = case.save(tmp_path_factory.mktemp("lens"))
    ids, decoder = random_ids(LENGTH, seed=3), Loaded.open(folder).decoder
    outgrown = request.param == "phi3 longrope outgrown"
    places = PLACES[:1] if outgrown else PLACES  # where shorter texts turn in another way
    told = explain(decoder, ids, [p + 1 for p in places], neurons=10_000)
    return Both(decoder, Hooked(folder, FAMILIES[request.param], ids), told)


def same(told: Any, wanted: Tensor, slack: float = 1e-3) -> None:
    """To 1e-3 of a logit."""
    assert told == pytest.approx(wanted.tolist(), abs=slack)


def test_the_lens_is_the_models_own_head(both: Both) -> None:
    for one in both.told:
        views = [one.before, *(layer.view for layer in one.layers)]
        assert one.answer == int(both.hooked.logits[one.position - 1].argmax())
        for view, state in zip(views, both.hooked.states(), strict=True):
            logits = both.hooked.lens(state[one.position - 1 : one.position])[0]
            chances = logits.softmax(-1)
            best = logits.topk(len(view.top)).indices.tolist()
            assert [guess.id for guess in view.top] == best
            same([guess.logit for guess in view.top], logits[best])
            same([guess.probability for guess in view.top], chances[best], 1e-5)
            assert view.answer.id == one.answer
            assert view.rank == 1 + int((logits > logits[one.answer]).sum())
            same(view.answer.probability, chances[one.answer], 1e-5)


def test_what_layers_and_heads_add_to_the_logit(both: Both) -> None:
    for one in both.told:
        answer, place = one.answer, one.position - 1
        for number, layer in enumerate(one.layers):
            for kind, told in (("attention", layer.attention), ("mlp", layer.mlp)):
                same(told, both.hooked.attribution(number, kind, place)[answer])
            norms = both.hooked.above(number, "attention", place)
            heads = both.hooked.on_logits(both.hooked.heads(number, place), norms)
            same(layer.heads, heads[:, answer])


def test_the_parts_are_the_whole_logit(both: Both) -> None:
    for one in both.told:
        parts, logits = one.parts, both.hooked.logits[one.position - 1]
        same(parts.total, logits[one.answer])
        told = (parts.embedding, parts.attention, parts.mlp, parts.constant, parts.cap)
        same(sum(told), logits[one.answer])
        same(parts.attention, torch.tensor([x.attention for x in one.layers]).sum())


def test_where_attention_gathered_from(both: Both) -> None:
    for one in both.told:
        answer, place, hooked = one.answer, one.position - 1, both.hooked
        same([x.rollout for x in one.origins], hooked.rollout(place)[: one.position], 1e-5)
        norm = torch.zeros(len(hooked.logits))
        logit = norm.clone()
        for number in range(len(one.layers)):
            parts = hooked.origins(number, place)
            norm += parts.norm(dim=-1)
            logit += hooked.on_logits(parts, hooked.above(number, "attention", place))[:, answer]
        same([x.norm for x in one.origins], norm[: one.position])
        same([x.logit for x in one.origins], logit[: one.position])


def test_which_neurons_recalled_it(both: Both) -> None:
    if both.hooked.wires.down is None:
        return  # below, by experts
    for one in both.told:
        place, strongest = one.position - 1, [abs(neuron.logit) for neuron in one.neurons]
        assert strongest == sorted(strongest, reverse=True)
        for number in range(len(one.layers)):
            active, parts = both.hooked.neurons(number, place)
            norms = both.hooked.above(number, "mlp", place)
            raised = both.hooked.on_logits(parts, norms)
            mine = {x.number: x for x in one.neurons if x.layer == number}
            assert sorted(mine) == list(range(len(active)))
            same([mine[k].activation for k in range(len(active))], active)
            same([mine[k].logit for k in range(len(active))], raised[:, one.answer])
            for neuron in [x for x in one.neurons if x.layer == number][:3]:
                best = raised[neuron.number].topk(len(neuron.promotes))
                same([x.logit for x in neuron.promotes], best.values)
                same([float(raised[neuron.number, x.id]) for x in neuron.promotes], best.values)


def test_which_experts_were_chosen(both: Both) -> None:
    for one in both.told:
        for layer, module in zip(one.layers, both.hooked.layers, strict=True):
            experts = getattr(module.mlp, "experts", None) if hasattr(module, "mlp") else None
            routed = [x for x in layer.experts if x.number is not None]
            if experts is None:
                assert layer.experts == ()
                continue
            _, chosen, weights = both.hooked.seen[experts][0]
            place = one.position - 1
            wanted = dict(zip(chosen[place].tolist(), weights[place].tolist(), strict=True))
            assert {x.number: x.weight for x in routed} == pytest.approx(wanted, abs=1e-5)
            assert sum(x.logit for x in layer.experts) == pytest.approx(layer.mlp, abs=1e-3)
