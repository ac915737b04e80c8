"""Random stacks against the naive decoder: whole, in pieces, and several rows in one step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lmtool.engine.cache.paged import PagedCache
from lmtool.engine.cache.static import StaticCache
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.spec import ModelSpec
from lmtool.engine.step import Piece, Step
from reference.naive_decoder import NaiveDecoder
from reference.random_specs import LONGEST, VOCAB, RandomSource, models

CPU = torch.device("cpu")

# Derandomized: a stranger's run tests the same stacks as ours, and none fails by bad luck.
thorough = settings(max_examples=60, deadline=None, derandomize=True)


texts = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=LONGEST)
seeds = st.integers(0, 2**31)


def built(spec: ModelSpec, seed: int) -> tuple[Decoder, NaiveDecoder]:
    source = RandomSource(seed)
    decoder = Decoder(spec, source)
    return decoder, NaiveDecoder(spec, {name: w.numpy() for name, w in source.made.items()})


def cache_for(decoder: Decoder, rows: int, slack: int = LONGEST) -> StaticCache:
    return StaticCache(decoder.spec, rows, LONGEST, slack, torch.float32, CPU)


def feed(decoder: Decoder, cache: StaticCache, pieces: Sequence[Piece]) -> Tensor:
    for piece in pieces:
        cache.reserve(piece.row, piece.begin + len(piece.ids))
    return decoder(Step.of(pieces, CPU), cache)


def assert_near(got: Tensor, wanted: np.ndarray) -> None:
    """float32 carries 7 digits; a small norm's input can cost three of them on the way."""
    assert got.shape == wanted.shape
    slack = 2e-4 * max(1.0, float(np.abs(wanted).max()))
    assert np.abs(got.numpy() - wanted).max() <= slack


@thorough
@given(models(), seeds, texts)
def test_a_whole_text(spec: ModelSpec, seed: int, ids: list[int]) -> None:
    decoder, naive = built(spec, seed)
    got = feed(decoder, cache_for(decoder, 1), [Piece(0, 0, ids, len(ids), "all")])
    assert_near(got, naive.logits(ids))


@thorough
@given(models(), seeds, st.lists(texts, min_size=1, max_size=4), st.data())
def test_rows_fed_in_any_pieces_side_by_side(
    spec: ModelSpec, seed: int, rows: list[list[int]], data: st.DataObject
) -> None:
    """Each step brings any of the rows any number of tokens forward, rings as short as allowed."""
    decoder, naive = built(spec, seed)
    widest = data.draw(st.integers(1, 6))
    cache = cache_for(decoder, len(rows), slack=widest)
    fed = [0] * len(rows)
    answers: list[list[Tensor]] = [[] for _ in rows]
    while waiting := [row for row, ids in enumerate(rows) if fed[row] < len(ids)]:
        turns = data.draw(st.lists(st.sampled_from(waiting), min_size=1, unique=True))
        pieces: list[Piece] = []
        for row in turns:
            width = min(data.draw(st.integers(1, widest)), len(rows[row]) - fed[row])
            ids = rows[row][fed[row] : fed[row] + width]
            pieces.append(Piece(row, fed[row], ids, len(rows[row]), "all"))
            fed[row] += width
        for piece, logits in zip(
            pieces,
            feed(decoder, cache, pieces).split([len(piece.ids) for piece in pieces]),
            strict=True,
        ):
            answers[piece.row].append(logits)
    for row, ids in enumerate(rows):
        assert_near(torch.cat(answers[row]), naive.logits(ids))


@thorough
@given(models(), seeds, texts, texts, st.integers(1, LONGEST - 1))
def test_a_forked_row_goes_its_own_way(
    spec: ModelSpec, seed: int, one: list[int], two: list[int], shared: int
) -> None:
    decoder, naive = built(spec, seed)
    cache = cache_for(decoder, 3)
    begin = one[:shared]
    two = [*begin, *two][:LONGEST]
    feed(decoder, cache, [Piece(0, 0, begin, len(begin))])
    cache.fork(0, 2, len(begin))
    for row, ids in ((0, one), (2, two)):
        for position in range(len(begin), len(ids)):
            piece = Piece(row, position, ids[position : position + 1], position + 1)
            got = feed(decoder, cache, [piece])
            # Each token knew the text up to itself: what a length-aware rope went by.
            reach = [max(p + 1, len(begin)) for p in range(position + 1)]
            assert_near(got, naive.logits(ids[: position + 1], reach)[-1:])


@thorough
@given(models(), seeds, texts)
def test_only_the_wanted_logits_come(spec: ModelSpec, seed: int, ids: list[int]) -> None:
    decoder, naive = built(spec, seed)
    cache = cache_for(decoder, 3)
    pieces = [Piece(0, 0, ids, len(ids), "none"), Piece(1, 0, ids, len(ids), "last")]
    assert_near(feed(decoder, cache, pieces), naive.logits(ids)[-1:])
    nothing = feed(decoder, cache, [Piece(2, 0, ids, len(ids), "none")])
    assert nothing.shape == (0, VOCAB)


@thorough
@given(models(), seeds, st.permutations(range(5)), st.booleans())
def test_the_last_layer_goes_on_with_the_wanted_tokens_alone(
    spec: ModelSpec, seed: int, order: list[int], paged: bool
) -> None:
    """Beside single tokens: prompts of which the last token, none, and all are wanted."""
    decoder, _ = built(spec, seed)
    ids = tuple(range(1, 6))
    pieces = [
        Piece(0, 4, ids[4:], 4),
        Piece(1, 2, ids[2:], 5),
        Piece(2, 0, ids[:4], 5, "none"),
        Piece(3, 1, ids[1:4], 5, "all"),
        Piece(4, 3, ids[3:4], 3),
    ]
    step = Step.of([pieces[place] for place in order], CPU, paged)

    def fed() -> PagedCache | StaticCache:
        blocks = PagedCache(spec, 10, torch.float32, CPU, block=4)
        cache = blocks if paged else cache_for(decoder, 5)
        for piece in pieces:
            cache.reserve(piece.row, piece.begin + len(piece.ids))
            if piece.begin:
                before = Piece(piece.row, 0, ids[: piece.begin], 5, "none")
                decoder(Step.of([before], CPU, paged), cache)
        return cache

    with torch.inference_mode():
        wanted = decoder.hidden(step, fed())[step.wanted]
        got = decoder.hidden_wanted(step, fed())
    assert_near(got, wanted.numpy())
