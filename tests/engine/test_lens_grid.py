"""The grid of the logit lens tells of each token what an explanation there tells of the layers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool.engine.lens import reading
from lmtool.engine.lens.explain import explain
from lmtool.engine.lens.grid import lens_grid
from lmtool.engine.lens.reading import read
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.spec import DynamicScaling, LongScaling, ModelSpec
from reference.random_specs import LONGEST, VOCAB, RandomSource, models

thorough = settings(max_examples=40, deadline=None, derandomize=True)
texts = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=LONGEST)


@thorough
@given(models(), st.integers(0, 2**31), texts, st.data())
def test_each_column_is_what_an_explanation_sees_there(
    spec: ModelSpec, seed: int, ids: list[int], data: st.DataObject
) -> None:
    decoder = Decoder(spec, RandomSource(seed))
    first = data.draw(st.integers(0, len(ids) - 1))
    columns = lens_grid(decoder, ids, first, top=3)
    assert [column.place for column in columns] == list(range(first, len(ids)))
    assert [column.following for column in columns[:-1]] == ids[first + 1 :]
    assert columns[-1].views[-1].rank == 1
    scalings = [rope.scaling for rope in spec.ropes()]
    if any(isinstance(scaling, DynamicScaling | LongScaling) for scaling in scalings):
        columns = columns[-1:]  # a shorter text turns otherwise
    for column in columns:
        (told,) = explain(decoder, ids, [column.place + 1], [column.following], top=3)
        wanted = (told.before, *(layer.view for layer in told.layers))
        for view, other in zip(column.views, wanted, strict=True):
            assert view.answer.id == column.following
            assert len(view.top) == 3
            slack = 1e-3 * max(1.0, *(abs(guess.logit) for guess in other.top))
            logits = [guess.logit for guess in view.top]
            assert logits == pytest.approx([guess.logit for guess in other.top], abs=slack)
            assert view.answer.logit == pytest.approx(other.answer.logit, abs=slack)
            assert view.answer.probability == pytest.approx(other.answer.probability, abs=1e-3)


@thorough
@given(models(), st.integers(0, 2**31), texts, st.data())
def test_a_text_is_read_in_chunks_and_only_what_is_shown_is_kept(
    spec: ModelSpec, seed: int, ids: list[int], data: st.DataObject
) -> None:
    decoder = Decoder(spec, RandomSource(seed))
    first = data.draw(st.integers(0, len(ids) - 1))
    whole = read(decoder, ids).states
    with pytest.MonkeyPatch.context() as scope:
        scope.setattr(reading, "CHUNK", data.draw(st.integers(1, 7)))
        kept = read(decoder, ids, first).states
    for state, part in zip(whole, kept, strict=True):
        slack = 1e-4 * max(1.0, float(state.abs().max()))
        torch.testing.assert_close(part, state[first:], rtol=1e-4, atol=slack)
