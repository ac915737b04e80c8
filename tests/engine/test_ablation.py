"""Models without some of their parts, as if weights were zero; as transformers with hooks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from lmtool import UsageError
from lmtool.engine.ablation import without
from lmtool.engine.cache.static import StaticCache
from lmtool.engine.knockout import Part, PartKind, Pick, every, find_parts
from lmtool.engine.lens.explain import explain
from lmtool.engine.loop import Loop
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.request import Request, Sampling, Timings
from lmtool.engine.runner import Replayed, replayable
from lmtool.engine.spec import (
    ExpertsSpec,
    LatentSpec,
    LayerSpec,
    MlpSpec,
    ModelSpec,
    RouterSpec,
)
from lmtool.engine.speculate import Guessing, LookupDrafter, Way
from lmtool.engine.step import Piece, Step
from reference.cases import CASES
from reference.loaded import Loaded
from reference.naive_decoder import NaiveDecoder, Vector
from reference.random_checkpoints import load, random_ids
from reference.random_specs import LONGEST, VOCAB, RandomSource, models
from reference.side_by_side import NORM, PLAIN, assert_same, said, stack

CPU = torch.device("cpu")
thorough = settings(max_examples=40, deadline=None, derandomize=True)
texts = st.lists(st.integers(0, VOCAB - 1), min_size=2, max_size=LONGEST)


def all_parts(spec: ModelSpec) -> list[Part]:
    kinds: list[PartKind] = ["layer", "attention", "mlp", "head"]
    found = [part for kind in kinds for part in every(kind, spec)]
    for number, layer in enumerate(spec.layers):
        here: tuple[Pick, ...] = (range(number, number + 1), "*")
        if isinstance(layer.feed, ExpertsSpec):
            found += find_parts("expert", here, spec)
            found += find_parts("neuron", (*here, "*"), spec)
        else:
            found += find_parts("neuron", here, spec)
    return found


@st.composite
def knocked_out(draw: DrawFn) -> tuple[ModelSpec, list[Part]]:
    spec = draw(models())
    return spec, draw(st.lists(st.sampled_from(all_parts(spec)), max_size=4))


def zeroed(spec: ModelSpec, weights: dict[str, Vector], parts: Sequence[Part]) -> dict[str, Vector]:
    """The same weights, zero where a part is gone."""
    changed = {name: weight.copy() for name, weight in weights.items()}

    def silence(prefix: str) -> None:
        for name in changed:
            projection = name.endswith(("out.weight", "out.bias", "down.weight", "down.bias"))
            if name.startswith(prefix + ".") and projection:
                changed[name][:] = 0

    for part in parts:
        layer = f"layers.{part.layer}"
        if part.kind in ("layer", "attention"):
            silence(f"{layer}.mixer")
        if part.kind in ("layer", "mlp"):
            silence(f"{layer}.feed")
        expert = "" if part.expert is None else f".experts.{part.expert}"
        feed = f"{layer}.feed" + (".shared" if part.expert == "shared" else expert)
        if part.kind == "expert":
            silence(feed)
        elif part.kind == "neuron":
            changed[f"{feed}.down.weight"][:, part.number] = 0
        elif part.kind == "head":
            assert part.number is not None
            mixer = spec.layers[part.layer].mixer
            width = mixer.value_dim if isinstance(mixer, LatentSpec) else mixer.head_dim
            place = part.number * width
            changed[f"{layer}.mixer.out.weight"][:, place : place + width] = 0
    return changed


def in_pieces(decoder: Decoder, ids: Sequence[int], widths: Sequence[int]) -> torch.Tensor:
    cache = StaticCache(decoder.spec, 1, LONGEST, LONGEST, torch.float32, CPU)
    logits: list[torch.Tensor] = []
    begin = 0
    for width in widths:
        piece = Piece(0, begin, ids[begin : begin + width], len(ids), "all")
        begin += len(piece.ids)
        if piece.ids:
            cache.reserve(0, begin)
            logits.append(decoder(Step.of([piece], CPU), cache))
    return torch.cat(logits)


@thorough
@given(
    knocked_out(),
    st.integers(0, 2**31),
    texts,
    st.lists(st.integers(0, LONGEST), max_size=3, unique=True),
    st.integers(1, LONGEST),
)
def test_parts_are_gone_and_places_unseen(
    drawn: tuple[ModelSpec, list[Part]],
    seed: int,
    ids: list[int],
    unseen: list[int],
    width: int,
) -> None:
    spec, parts = drawn
    source = RandomSource(seed)
    whole = Decoder(spec, source)
    weights = {name: weight.double().numpy() for name, weight in source.made.items()}
    wanted = NaiveDecoder(spec, zeroed(spec, weights, parts), unseen).logits(ids)
    lacking = without(whole, parts, [range(one, one + 1) for one in unseen])
    seen = [place for place in range(len(ids)) if place not in unseen]
    got = in_pieces(lacking, ids, [width] * len(ids))
    assert got.isfinite().all()
    slack = 2e-4 * max(1.0, float(np.abs(wanted).max()))
    assert np.abs(got.numpy() - wanted)[seen].max(initial=0.0) <= slack
    untouched = NaiveDecoder(spec, weights).logits(ids)
    slack = 2e-4 * max(1.0, float(np.abs(untouched).max()))
    assert np.abs(in_pieces(whole, ids, [LONGEST]).numpy() - untouched).max() <= slack


@thorough
@given(knocked_out(), st.integers(0, 2**31), texts, st.integers(0, LONGEST - 2))
def test_what_is_gone_explains_nothing(
    drawn: tuple[ModelSpec, list[Part]], seed: int, ids: list[int], hidden: int
) -> None:
    spec, parts = drawn
    hidden = min(hidden, len(ids) - 2)
    decoder = without(Decoder(spec, RandomSource(seed)), parts, [range(hidden, hidden + 1)])
    (told,) = explain(decoder, ids, [len(ids)])
    logits = in_pieces(decoder, ids, [LONGEST])[-1]
    slack = 2e-4 * max(1.0, float(logits.abs().max()))
    assert told.parts.total == pytest.approx(float(logits.max()), abs=slack)
    sizes = [abs(layer.attention) + abs(layer.mlp) for layer in told.layers]
    assert abs(told.parts.rounding) <= 1e-5 * max(1.0, abs(told.parts.total), *sizes)
    assert told.origins[hidden].logit == 0
    assert told.origins[hidden].norm == 0
    for part in parts:
        story = told.layers[part.layer]
        if part.kind == "head" and part.number is not None:
            assert story.heads[part.number] == 0
        if part.kind in ("attention", "layer"):
            assert set(story.heads) == {0}
    for neuron in told.neurons:
        gone = Part("neuron", neuron.layer, neuron.number, neuron.expert)  # type: ignore[arg-type]
        assert gone not in parts or neuron.logit == 0


requests = st.builds(
    Request,
    ids=st.lists(st.integers(0, VOCAB - 1), min_size=3, max_size=LONGEST - 6).map(tuple),
    max_new=st.sampled_from((3, 9)),
    sampling=st.builds(Sampling, temperature=st.sampled_from((0.0, 1.2)), seed=st.integers(0, 9)),
    samples=st.integers(1, 3),
    logprobs=st.just(VOCAB),
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(knocked_out(), st.integers(0, 2**31), requests, st.integers(0, 1), st.integers(1, 7))
def test_texts_of_samples_pieces_and_guesses_are_those_of_one_text_alone(
    drawn: tuple[ModelSpec, list[Part]], seed: int, request: Request, begin: int, chunk: int
) -> None:
    spec, parts = drawn
    decoder = without(Decoder(spec, RandomSource(seed)), parts, [range(begin, begin + 2)])
    guessing = Guessing((Way(LookupDrafter, 4),))
    alone = said(Loop(decoder, [request], LONGEST, Timings(), chunk=LONGEST))
    for loop in (
        Loop(decoder, [request], LONGEST, Timings(), rows=2, chunk=chunk),
        Loop(decoder, [request], LONGEST, Timings(), guessing=guessing),
    ):
        got = said(loop)
        for key, emissions in alone.items():
            assert_same(got[key], emissions)


def test_cached_in_fewer_bytes_and_replayed() -> None:
    """What reads keys in other ways finds the same places unseen."""
    decoder = without(stack(PLAIN, PLAIN), [Part("head", 0, 1)], [range(2, 5)])
    assert replayable(decoder.spec)
    request = Request(tuple(range(9)), 12, logprobs=VOCAB)
    plain = said(Loop(decoder, [request], 40, Timings()))[0, 0]
    replayed = said(Loop(Replayed(decoder), [request], 40, Timings()))[0, 0]
    assert_same(replayed, plain)
    packed = said(Loop(decoder, [request], 40, Timings(), kv_dtype=torch.int8))[0, 0]
    shown = said(Loop(stack(PLAIN, PLAIN), [request], 40, Timings()))[0, 0]
    first = [emissions[0].logprob for emissions in (packed, plain, shown)]
    assert first[0] == pytest.approx(first[1], abs=0.05)
    assert first[1] != pytest.approx(first[2], abs=1e-3)


Find = Callable[[Any], Any]
"""A part of a transformers layer."""
MIXERS: dict[str, tuple[Find, Find]] = {
    "llama biases": (lambda y: y.self_attn.o_proj, lambda y: y.mlp),
    "mistral window": (lambda y: y.self_attn.o_proj, lambda y: y.mlp),
    "gemma2": (lambda y: y.self_attn.o_proj, lambda y: y.mlp),
    "cohere": (lambda y: y.self_attn.o_proj, lambda y: y.mlp),
    "mixtral": (lambda y: y.self_attn.o_proj, lambda y: y.mlp),
    "deepseek_v3": (lambda y: y.self_attn.o_proj, lambda y: y.mlp),
    "gpt_oss": (lambda y: y.self_attn.o_proj, lambda y: y.mlp),
    "gpt2": (lambda y: y.attn.c_proj, lambda y: y.mlp),
    "gpt_neox": (lambda y: y.attention.dense, lambda y: y.mlp),
}
"""Of each kind of stack one: what attention is projected back by, and the MLP."""


@pytest.fixture(scope="module", params=MIXERS)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    case = next(case for case in CASES if case.name == request.param)
    folder = case.save(tmp_path_factory.mktemp("checkpoint"))
    return Loaded.open(folder), load(folder), MIXERS[case.name]


def layers_of(model: Any) -> Any:
    inner = getattr(model, model.base_model_prefix)
    return inner.layers if hasattr(inner, "layers") else inner.h


def nothing(module: Any, given: Any, answer: Any) -> Any:
    """A hook: the module answers zero."""
    del module, given
    return tuple(map(torch.zeros_like, answer)) if isinstance(answer, tuple) else answer * 0


def test_as_transformers_with_hooks(loaded: Any) -> None:
    own, model, (out, mlp) = loaded
    ids, layers = random_ids(40), layers_of(model)
    spec = own.decoder.spec.layers[1].mixer
    width = spec.value_dim if isinstance(spec, LatentSpec) else spec.head_dim

    def muted(module: Any, given: Any) -> Any:
        (x,) = given
        x = x.clone()
        x[..., 3 * width : 4 * width] = 0
        return (x,)

    def reference(**options: Any) -> torch.Tensor:
        with torch.inference_mode():
            logits = model(torch.tensor([ids]), use_cache=False, **options).logits[0]
        return logits.float().log_softmax(-1)

    def same(parts: list[Part], wanted: torch.Tensor, unseen: range = range(0)) -> None:
        lacking = Loaded(own.folder, without(own.decoder, parts, [unseen]))
        for widths in ([40], [17, 1, 22]):
            got = lacking.logprobs(ids, widths, own.cache())
            rows = [row for row in range(40) if row not in unseen]
            torch.testing.assert_close(got[rows], wanted[rows], atol=1e-4, rtol=1e-5)

    plain = reference()
    for parts, make in (
        ([Part("head", 1, 3)], lambda: out(layers[1]).register_forward_pre_hook(muted)),
        ([Part("attention", 2)], lambda: out(layers[2]).register_forward_hook(nothing)),
        ([Part("mlp", 0)], lambda: mlp(layers[0]).register_forward_hook(nothing)),
    ):
        handle = make()
        wanted = reference()
        handle.remove()
        assert (wanted - plain).abs().max() > 0.01
        same(parts, wanted)
    mask = torch.ones(1, 40, dtype=torch.int64)
    mask[0, 5:9] = 0
    wanted = reference(attention_mask=mask, position_ids=torch.arange(40)[None])
    assert (wanted - plain)[9:].abs().max() > 0.01
    same([], wanted, range(5, 9))


MIXED = next(case for case in CASES if case.name == "deepseek_v3")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """One layer with an MLP, two with twelve experts and a shared one."""
    return Loaded.open(MIXED.save(tmp_path_factory.mktemp("mixed"))).decoder.spec


def test_parts_by_number(mixed: ModelSpec) -> None:
    def found(kind: PartKind, *picks: Pick) -> list[str]:
        return [str(part) for part in find_parts(kind, picks, mixed)]

    assert found("mlp", range(1, 3)) == ["mlp:1", "mlp:2"]
    assert found("head", "*", range(5, 6)) == ["head:0.5", "head:1.5", "head:2.5"]
    assert len(found("expert", "*", "*")) == 2 * 13
    assert found("expert", range(1, 2), "shared") == ["expert:1.shared"]
    assert found("neuron", range(1), range(3, 5)) == ["neuron:0.3", "neuron:0.4"]
    assert found("neuron", "*", "shared", range(79, 80)) == [
        "neuron:1.shared.79",
        "neuron:2.shared.79",
    ]
    assert len(every("neuron", mixed)) == 80


@pytest.mark.parametrize(
    ("kind", "picks", "message"),
    [
        ("layer", [range(9, 10)], "layer 9: the model has 3, numbered 0 to 2"),
        ("mlp", [range(1, 6)], "layer 3: the model has 3, numbered 0 to 2"),
        ("head", [range(1), range(6, 7)], "head 6: layer 0 has 6, numbered 0 to 5"),
        ("expert", [range(1), "*"], "layer 0 has no experts"),
        ("expert", [range(2), range(1)], "layer 0 has no experts"),
        ("expert", [range(1, 2), range(12, 13)], "expert 12: layer 1 has 12, numbered 0 to 11"),
        ("neuron", [range(1, 2), range(3)], "layer 1 is a mixture of experts"),
        ("neuron", [range(1), range(80, 81)], "neuron 80: layer 0 has 80, numbered 0 to 79"),
        ("neuron", [range(1, 2), "shared", range(80, 81)], "neuron 80: expert shared of layer 1"),
        ("head", ["shared", "*"], "`shared` is an expert, not a layer"),
    ],
)
def test_parts_that_are_not_there(
    mixed: ModelSpec, kind: PartKind, picks: list[Pick], message: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        find_parts(kind, picks, mixed)


def test_no_layer_has_such_parts() -> None:
    spec = stack(PLAIN).spec
    with pytest.raises(UsageError, match="the model has no experts"):
        every("expert", spec)
    with pytest.raises(UsageError, match="layer 0 has no shared expert"):
        find_parts("neuron", ["*", "shared", "*"], replace(spec, layers=(MIXTURE,)))


MIXTURE = LayerSpec(PLAIN, ExpertsSpec(2, 1, MlpSpec(3), RouterSpec()), NORM)
