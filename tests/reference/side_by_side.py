"""Requests for random stacks, and what texts are compared by."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import strategies as st

from lmtool.engine.loop import Emission, Loop
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.request import Request, Sampling, Stop
from lmtool.engine.spec import AttentionSpec, LayerSpec, MlpSpec, ModelSpec, NormSpec, RopeSpec
from reference.random_specs import LONGEST, VOCAB, RandomSource

NORM = NormSpec(1e-5)
PLAIN = AttentionSpec(heads=2, kv_heads=1, head_dim=4, rope=RopeSpec(4, 100.0))


def stack(*mixers: AttentionSpec, longest: int = 200) -> Decoder:
    feed = MlpSpec(width=12, activation="silu", gated=True)
    layers = tuple(LayerSpec(mixer, feed, NORM) for mixer in mixers)
    spec = ModelSpec(VOCAB, 8, layers, NORM, longest, tied=True)
    return Decoder(spec, RandomSource(3))


Texts = dict[tuple[int, int], list[Emission]]
"""What each request's samples say."""

requests = st.builds(
    Request,
    ids=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=LONGEST - 1).map(tuple),
    max_new=st.sampled_from((0, 1, 3, 9, None)),
    sampling=st.builds(
        Sampling,
        temperature=st.sampled_from((0.0, 0.8, 1.5)),
        top_k=st.sampled_from((0, 5)),
        repetition=st.sampled_from((1.0, 1.3)),
        repeat_last=st.sampled_from((-1, 4)),
        typical=st.sampled_from((1.0, 0.8)),
        top_nsigma=st.sampled_from((0.0, 1.5)),
        xtc_probability=st.sampled_from((0.0, 0.5)),
        presence=st.sampled_from((0.0, 0.5)),
        frequency=st.sampled_from((0.0, 0.2)),
        no_repeat_ngram=st.sampled_from((0, 2)),
        dry_multiplier=st.sampled_from((0.0, 1.0)),
        logit_bias=st.sampled_from(((), ((1, 2.0), (2, -math.inf)))),
        seed=st.integers(0, 99),
    ),
    stop=st.builds(
        Stop, eos=st.frozensets(st.integers(0, VOCAB), max_size=2), min_tokens=st.integers(0, 4)
    ),
    samples=st.integers(1, 4),
    logprobs=st.just(VOCAB),
    prompt_logprobs=st.booleans(),
)


def said(loop: Loop) -> Texts:
    texts: Texts = {}
    for emission in loop.run():
        texts.setdefault((emission.sequence.number, emission.sequence.sample), []).append(emission)
    return texts


def ids_of(emissions: Sequence[Emission]) -> list[int]:
    return [emission.id for emission in emissions]


def assert_same(got: Sequence[Emission], wanted: Sequence[Emission]) -> None:
    """Equal ids and log-probabilities, or a parting of ways between all but equal tokens."""
    for one, other in zip(got, wanted, strict=False):
        own = {candidate.id: candidate.logprob for candidate in other.top}
        assert one.logprob == pytest.approx(own[one.id], abs=1e-3)
        if one.id != other.id:
            assert own[one.id] == pytest.approx(own[other.id], abs=1e-3)
            return
    assert len(got) == len(wanted)
