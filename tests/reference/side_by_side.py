"""Requests for random stacks, and what texts are compared by."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from lmtool.engine.cache.paged import PagedCache
from lmtool.engine.cache.static import StaticCache
from lmtool.engine.loop import Emission, Loop
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.request import Request, Sampling, Stop, Timings
from lmtool.engine.spec import AttentionSpec, LayerSpec, MlpSpec, ModelSpec, NormSpec, RopeSpec
from lmtool.engine.step import Piece, Step
from reference.random_specs import LONGEST, VOCAB, RandomSource

CPU = torch.device("cpu")
NORM = NormSpec(1e-5)
PLAIN = AttentionSpec(heads=2, kv_heads=1, head_dim=4, rope=RopeSpec(4, 100.0))


def stack(*mixers: AttentionSpec, longest: int = 200) -> Decoder:
    feed = MlpSpec(width=12, activation="silu", gated=True)
    layers = tuple(LayerSpec(mixer, feed, NORM) for mixer in mixers)
    spec = ModelSpec(VOCAB, 8, layers, NORM, longest, tied=True)
    return Decoder(spec, RandomSource(3))


Texts = dict[tuple[int, int], list[Emission]]
"""What each request's samples say."""

rows_of_ids = st.lists(
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=LONGEST), min_size=1, max_size=3
)
"""Texts for the rows of a cache."""

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


def assert_as_alone(decoder: Decoder, asked: Sequence[Request], together: Loop, got: Texts) -> None:
    """What `together` said, and made of prompts, is what each request has by itself."""
    for place, request in enumerate(asked):
        alone = Loop(decoder, [request], LONGEST, Timings(), chunk=LONGEST)
        wanted = said(alone)
        for sample in range(request.samples):
            assert_same(got.get((place, sample), []), wanted.get((0, sample), []))
        scores = zip(together.prompts[place], alone.prompts[0], strict=True)
        for one, other in scores:
            assert (one.id, one.logprob is None) == (other.id, other.logprob is None)
            assert one.logprob == pytest.approx(other.logprob, abs=1e-3)


def feed(
    decoder: Decoder,
    cache: StaticCache | PagedCache,
    rows: Sequence[Sequence[int]],
    widths: Sequence[int],
) -> list[Tensor]:
    """Logits after each id of each row; all rows go forward by each width in turn.

    Blocks are taken as rows grow; a cache in rows has to have their room already.
    """
    paged = isinstance(cache, PagedCache)
    answers: list[list[Tensor]] = [[] for _ in rows]
    fed = [0] * len(rows)
    turn = 0
    while any(fed[row] < len(ids) for row, ids in enumerate(rows)):
        width, turn = widths[turn % len(widths)], turn + 1
        pieces = [
            Piece(row, fed[row], ids[fed[row] : fed[row] + width], len(ids), "all")
            for row, ids in enumerate(rows)
            if fed[row] < len(ids)
        ]
        for piece in pieces if paged else ():
            assert cache.reserve(piece.row, piece.begin + len(piece.ids), piece.begin)
        step = Step.of(pieces, CPU, cache.block)
        logits = decoder(step, cache).split([len(piece.ids) for piece in pieces])
        for piece, part in zip(pieces, logits, strict=True):
            answers[piece.row].append(part)
            fed[piece.row] += len(piece.ids)
    return [torch.cat(parts) for parts in answers]
