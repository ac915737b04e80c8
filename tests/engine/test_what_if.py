"""A model that lacks something beside the whole one: both say what they say alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool.engine.ablation import without
from lmtool.engine.cache.static import StaticCache
from lmtool.engine.knockout import every
from lmtool.engine.lens.what_if import contrast
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.spec import ModelSpec
from lmtool.engine.step import Piece, Step
from reference.moves import assert_is_move
from reference.random_specs import VOCAB, RandomSource, models

CPU = torch.device("cpu")
texts = st.lists(st.integers(0, VOCAB - 1), min_size=3, max_size=12)


def logs_of(decoder: Decoder, text: list[int]) -> torch.Tensor:
    cache = StaticCache(decoder.spec, 1, len(text), len(text), torch.float32, CPU)
    cache.reserve(0, len(text))
    return decoder(Step.of([Piece(0, 0, text, len(text))], CPU), cache)[0].double().log_softmax(-1)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(models(), st.integers(0, 2**31), texts, st.integers(0, VOCAB - 1), st.data())
def test_both_say_what_they_say_alone(
    spec: ModelSpec, seed: int, ids: list[int], answer: int, data: st.DataObject
) -> None:
    whole = Decoder(spec, RandomSource(seed))
    heads = every("head", spec)
    lacking = without(whole, [data.draw(st.sampled_from(heads))], [range(1, 2)])
    positions = [len(ids), 1, len(ids) - 1]
    found = contrast(whole, lacking, ids, positions, [answer, 0, answer], top=3)
    for position, explained, told in zip(positions, [answer, 0, answer], found, strict=True):
        if position == 2:
            continue  # its last token isn't seen, so that what follows means nothing
        p, q = logs_of(whole, ids[:position]), logs_of(lacking, ids[:position])
        slack = 2e-4 * max(1.0, float(p.abs().max()), float(q.abs().max()))
        assert told.whole.answer.id == explained
        assert told.whole.answer.probability == pytest.approx(float(p[explained].exp()), abs=slack)
        assert_is_move(told.move, p, q, slack, top=3)
        watched = [odds.id for odds in told.move.watched]
        assert watched[0] == explained
        assert len(watched) == len(set(watched)) <= 7
        assert {guess.id for guess in told.whole.top} <= set(watched)
