"""Explanations add up, whatever the stack: its wiring, its mixers, its mixtures, its norms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool.engine.cache.static import StaticCache
from lmtool.engine.lens.explain import explain
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.spec import (
    AttentionSpec,
    ExpertsSpec,
    Feed,
    LayerSpec,
    Mixer,
    MlpSpec,
    ModelSpec,
)
from lmtool.engine.step import Piece, Step
from reference.random_specs import LONGEST, VOCAB, RandomSource, models

CPU = torch.device("cpu")
thorough = settings(max_examples=50, deadline=None, derandomize=True)
texts = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=LONGEST)
seeds = st.integers(0, 2**31)


def logits_of(decoder: Decoder, ids: Sequence[int]) -> torch.Tensor:
    cache = StaticCache(decoder.spec, 1, LONGEST, LONGEST, torch.float32, CPU)
    cache.reserve(0, len(ids))
    return decoder(Step.of([Piece(0, 0, ids, len(ids))], CPU), cache)[0].double()


def unbiased(spec: ModelSpec) -> ModelSpec:
    """The same without a bias behind attention or MLP: then their parts are all there is."""

    def mlp(spec: MlpSpec) -> MlpSpec:
        return replace(spec, down_bias=False)

    def mixer(spec: Mixer) -> Mixer:
        return (
            replace(spec, out_bias=False)
            if isinstance(spec, AttentionSpec)
            else replace(spec, bias=False)
        )

    def feed(spec: Feed) -> Feed:
        if isinstance(spec, MlpSpec):
            return mlp(spec)
        shared = None if spec.shared is None else mlp(spec.shared)
        return replace(spec, expert=mlp(spec.expert), shared=shared)

    def layer(spec: LayerSpec) -> LayerSpec:
        norm = replace(spec.norm, bias=False)
        return replace(spec, norm=norm, mixer=mixer(spec.mixer), feed=feed(spec.feed))

    return replace(spec, layers=tuple(layer(one) for one in spec.layers))


@thorough
@given(models(), seeds, texts, st.integers(0, VOCAB - 1))
def test_the_parts_add_up_to_the_logit(
    spec: ModelSpec, seed: int, ids: list[int], answer: int
) -> None:
    decoder = Decoder(spec, RandomSource(seed))
    wanted = logits_of(decoder, ids)
    slack = 2e-4 * max(1.0, float(wanted.abs().max()))
    likeliest, asked = explain(decoder, ids, [len(ids)] * 2, [None, answer])
    assert likeliest.answer == int(wanted.argmax())
    assert likeliest.view.rank == 1
    assert asked.answer == answer
    for told in (likeliest, asked):
        parts, logit = told.parts, float(wanted[told.answer])
        assert parts.total == pytest.approx(logit, abs=slack)
        sizes = [abs(layer.attention) + abs(layer.mlp) for layer in told.layers]
        assert abs(parts.rounding) <= 1e-5 * max(1.0, abs(logit), abs(parts.constant), *sizes)
        assert told.view.answer.logit == pytest.approx(logit, abs=slack)
        assert parts.attention == pytest.approx(sum(layer.attention for layer in told.layers))


@thorough
@given(models().map(unbiased), seeds, texts)
def test_heads_origins_and_neurons_add_up_to_their_parts(
    spec: ModelSpec, seed: int, ids: list[int]
) -> None:
    decoder = Decoder(spec, RandomSource(seed))
    (told,) = explain(decoder, ids, [len(ids)], neurons=10_000)

    def near(numbers: Sequence[float], wanted: float) -> None:
        size = math.fsum(map(abs, numbers))
        assert math.fsum(numbers) == pytest.approx(wanted, abs=1e-4 * max(1.0, size))

    assert len(told.origins) == len(ids)
    near([origin.logit for origin in told.origins], told.parts.attention)
    for number, layer in enumerate(told.layers):
        near(layer.heads, layer.attention)
        near([neuron.logit for neuron in told.neurons if neuron.layer == number], layer.mlp)
        if isinstance(spec.layers[number].feed, ExpertsSpec):
            near([expert.logit for expert in layer.experts], layer.mlp)
        else:
            assert layer.experts == ()
    rollout = math.fsum(origin.rollout for origin in told.origins)
    sinks = any(isinstance(y.mixer, AttentionSpec) and y.mixer.sinks for y in spec.layers)
    assert rollout <= 1 + 1e-6 if sinks else rollout == pytest.approx(1.0)


@thorough
@given(models(), seeds, texts, st.data())
def test_several_predictions_of_one_text_are_each_as_if_alone(
    spec: ModelSpec, seed: int, ids: list[int], data: st.DataObject
) -> None:
    decoder = Decoder(spec, RandomSource(seed))
    places = st.lists(st.integers(1, len(ids)), min_size=1, max_size=3)
    positions = data.draw(places)
    for position, told in zip(positions, explain(decoder, ids, positions), strict=True):
        (alone,) = explain(decoder, ids[:position], [position], [told.answer])
        slack = 1e-3 * max(1.0, abs(alone.parts.total))
        assert told.position == alone.position
        assert told.parts.attention == pytest.approx(alone.parts.attention, abs=slack)
        assert told.parts.mlp == pytest.approx(alone.parts.mlp, abs=slack)
        for one, other in zip(told.origins, alone.origins, strict=True):
            assert one.rollout == pytest.approx(other.rollout, abs=1e-4)
            assert one.norm == pytest.approx(other.norm, rel=1e-2, abs=1e-3)
