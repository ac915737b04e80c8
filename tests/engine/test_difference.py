"""What changed words do to the next token: made alone, taken back alone, and in all."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool import InputError
from lmtool.engine.cache.static import StaticCache
from lmtool.engine.lens.difference import CHANGES, Change, Word, align, compare, join_nearest
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.session import Session
from lmtool.engine.spec import ModelSpec
from lmtool.engine.step import Piece, Step
from reference.moves import assert_is_move
from reference.random_checkpoints import Case, random_ids, reference_logprobs
from reference.random_specs import VOCAB, RandomSource, models

CPU = torch.device("cpu")
ids = st.integers(0, VOCAB - 1)
prompts = st.lists(st.lists(ids, min_size=1, max_size=2).map(tuple), min_size=1, max_size=5)
few = st.sampled_from([(1,), (2,), (3, 4), (5,)])


def flat(words: Sequence[Word]) -> list[int]:
    return [id for word in words for id in word]


def logs_of(decoder: Decoder, text: Sequence[int]) -> torch.Tensor:
    cache = StaticCache(decoder.spec, 1, len(text), len(text), torch.float32, CPU)
    cache.reserve(0, len(text))
    return decoder(Step.of([Piece(0, 0, text, len(text))], CPU), cache)[0].double().log_softmax(-1)


@given(st.lists(few, max_size=12), st.lists(few, max_size=12), st.integers(1, 4))
def test_all_changes_together_make_the_second_prompt(
    first: list[Word], second: list[Word], most: int
) -> None:
    one, other = flat(first), flat(second)
    aligned = align(first, second)
    for changes in (aligned, join_nearest(aligned, most)):
        made, end = [], 0
        for change in changes:
            assert change.before or change.after
            made += one[end : change.before.start]
            assert len(made) == change.after.start
            made += other[change.after.start : change.after.stop]
            end = change.before.stop
        assert [*made, *one[end:]] == other
    assert len(join_nearest(aligned, most)) == min(len(aligned), most)


def test_nearest_neighbours_become_one() -> None:
    places = [0, 10, 13, 40, 42]
    changes = [Change(range(at, at + 1), range(at, at + 1)) for at in places]
    joined = join_nearest(changes, 3)
    assert [change.before for change in joined] == [range(1), range(10, 14), range(40, 43)]
    assert join_nearest(changes, 1) == [Change(range(43), range(43))]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(models(), st.integers(0, 2**31), prompts, prompts, ids)
def test_every_move_is_what_the_model_does(
    spec: ModelSpec, seed: int, first: list[Word], second: list[Word], asked: int
) -> None:
    decoder = Decoder(spec, RandomSource(seed))
    # A word at both ends that stays, so that no change leaves an empty prompt.
    first, second = ([(0,), *words, (1,)] for words in (first, second))
    one, other = flat(first), flat(second)
    found = compare(decoder, first, second, 100, watched=[asked])
    p, q = logs_of(decoder, one), logs_of(decoder, other)
    slack = 2e-4 * max(1.0, float(p.abs().max()), float(q.abs().max()))
    assert_is_move(found.forth, p, q, slack)
    assert_is_move(found.back, q, p, slack)
    assert found.found == len(found.changes)
    watched = list(dict.fromkeys([found.first[0].id, found.second[0].id, asked]))
    for moved in found.changes:
        before, after = moved.change.before, moved.change.after
        with_it = one[: before.start] + other[after.start : after.stop] + one[before.stop :]
        without = other[: after.start] + one[before.start : before.stop] + other[after.stop :]
        assert_is_move(moved.alone, p, logs_of(decoder, with_it), slack)
        assert_is_move(moved.undone, q, logs_of(decoder, without), slack)
        for move in (moved.alone, moved.undone):
            assert [odds.id for odds in move.watched] == watched
    for guesses, logs in ((found.first, p), (found.second, q)):
        best = logs.topk(5)
        assert [guess.probability for guess in guesses] == pytest.approx(
            best.values.exp().tolist(), abs=slack
        )


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Case("llama", "Llama").save(tmp_path_factory.mktemp("difference") / "llama")


def test_the_same_numbers_as_by_transformers(llama: Path) -> None:
    one = random_ids(40)
    other = [*one[:10], 7, *one[11:20], *one[22:30], 8, 9, *one[30:]]
    words = [[(id,) for id in text] for text in (one, other)]
    found = compare(Session.load(llama).decoder, *words, 100)
    changes = [moved.change for moved in found.changes]
    assert changes == [
        Change(range(10, 11), range(10, 11)),
        Change(range(20, 22), range(20, 20)),
        Change(range(30, 30), range(28, 30)),
    ]

    def logs(text: list[int]) -> torch.Tensor:
        return reference_logprobs(llama, text)[-1].double()

    assert_is_move(found.forth, logs(one), logs(other), 1e-4)
    alone = (
        [*one[:10], 7, *one[11:]],
        [*one[:20], *one[22:]],
        [*one[:30], 8, 9, *one[30:]],
    )
    for moved, text in zip(found.changes, alone, strict=True):
        assert_is_move(moved.alone, logs(one), logs(text), 1e-4)
    undone = [*other[:20], *one[20:22], *other[20:]]
    assert_is_move(found.changes[1].undone, logs(other), logs(undone), 1e-4)


def test_long_prompts_are_read_in_steps_and_many_changes_side_by_side(llama: Path) -> None:
    one = random_ids(500, seed=1)
    other = [(id + 1) % 200 if place % 10 == 5 else id for place, id in enumerate(one)]
    words = [[(id,) for id in text] for text in (one, other)]
    decoder = Session.load(llama).decoder
    found = compare(decoder, *words, 500)
    assert found.found == 50
    assert len(found.changes) == CHANGES
    assert sum(len(moved.change.before) > 1 for moved in found.changes) > 0
    p = logs_of(decoder, one)
    for moved in (found.changes[0], found.changes[20], found.changes[-1]):
        before, after = moved.change.before, moved.change.after
        text = one[: before.start] + other[after.start : after.stop] + one[before.stop :]
        assert_is_move(moved.alone, p, logs_of(decoder, text), 1e-4)


def test_one_change_is_all_there_is_and_none_is_nothing(llama: Path) -> None:
    decoder = Session.load(llama).decoder
    found = compare(decoder, [(1,), (2,)], [(1,), (3, 4)], 9)
    (moved,) = found.changes
    assert (moved.alone, moved.undone) == (found.forth, found.back)
    assert 0 < found.forth.kl < inf
    same = compare(decoder, [(1,), (2,)], [(1,), (2,)], 9)
    assert (same.changes, same.found) == ((), 0)
    assert same.forth.kl == pytest.approx(0, abs=1e-9)
    assert same.first == pytest.approx(same.second)


def test_a_change_alone_may_not_fit(llama: Path) -> None:
    first, second = [(1,), (2, 3), (4,)], [(1,), (4,), (5, 6)]
    compare(Session.load(llama).decoder, first, second, 6)
    with pytest.raises(InputError, match="a prompt with a single change has 6 tokens, the cont"):
        compare(Session.load(llama).decoder, first, second, 5)
