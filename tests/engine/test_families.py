"""Every family against transformers, on random checkpoints that transformers itself saves."""

from __future__ import annotations

import pytest
import torch

from lmtool.engine.lens.explain import explain
from lmtool.engine.runner import Replayed, replayable
from lmtool.engine.step import Piece, Step
from reference.cases import CASES
from reference.loaded import CPU, Loaded
from reference.random_checkpoints import is_greedy, random_ids, reference_greedy, reference_logprobs

PROMPT = 90
IDS = random_ids(PROMPT, seed=5)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = request.param.save(tmp_path_factory.mktemp("checkpoint"))
    return Loaded.open(folder)


@pytest.fixture(scope="module")
def wanted(loaded: Loaded) -> torch.Tensor:
    """transformers' log-probabilities of the prompt that most tests read, [T, V]."""
    return reference_logprobs(loaded.folder, IDS)


def test_logprobs_whole_in_pieces_and_token_by_token(loaded: Loaded, wanted: torch.Tensor) -> None:
    ids = IDS
    for widths in ([PROMPT], [17, 1, 40, 32], [1] * PROMPT):
        got = loaded.logprobs(ids, widths, loaded.cache())
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-5)


def test_recorded_steps_say_the_same(loaded: Loaded) -> None:
    if not replayable(loaded.decoder.spec):
        pytest.skip("runs as it is")
    ids, prompt = IDS, PROMPT - 12
    pieces = [Piece(0, 0, ids[:prompt], PROMPT)]
    pieces += [Piece(0, n, [ids[n]], PROMPT) for n in range(prompt, PROMPT)]
    answers: list[torch.Tensor] = []
    for run in (loaded.decoder, Replayed(loaded.decoder)):
        cache = loaded.cache()
        cache.reserve(0, PROMPT)
        logits = [run(Step.of([piece], CPU), cache) for piece in pieces]
        answers.append(torch.cat(logits).log_softmax(-1))
    torch.testing.assert_close(answers[1], answers[0], atol=1e-4, rtol=1e-5)


def test_greedy_tokens_alone_and_together(loaded: Loaded) -> None:
    # Where random weights repeat themselves they show little: another prompt may fare better.
    for seed in (1, 2, 3):
        ids = random_ids(PROMPT, seed)
        (found,) = loaded.greedy(ids, 64)
        if len(set(found)) > 8:
            break
    # Whether a text is greedy shows one pass over it. Some of transformers' ropes go by the length
    # of what they read, so that such a pass isn't what its own generation does.
    if not is_greedy(loaded.folder, ids, found):
        assert found == reference_greedy(loaded.folder, ids, 64)
    assert loaded.greedy(ids, 64, samples=3) == [found] * 3


def test_short_rings_see_what_long_caches_see(loaded: Loaded) -> None:
    ids = random_ids(PROMPT, seed=2)
    widths = [8] * 11 + [2]
    wanted = loaded.logprobs(ids, widths, loaded.cache())
    got = loaded.logprobs(ids, widths, loaded.cache(slack=8))
    torch.testing.assert_close(got, wanted, atol=3e-5, rtol=0)


def test_rows_do_not_see_each_other(loaded: Loaded) -> None:
    """Rows of different lengths decode together as each does alone."""
    texts = [random_ids(length, seed=length) for length in (5, 70, 31)]
    cache = loaded.cache(rows=3, slack=80)
    pieces = [Piece(row, 0, ids[:-1], len(ids)) for row, ids in enumerate(texts)]
    for piece in pieces:
        cache.reserve(piece.row, len(piece.ids) + 1)
    loaded.decoder(Step.of(pieces, CPU), cache)
    last = [Piece(row, len(ids) - 1, ids[-1:], len(ids)) for row, ids in enumerate(texts)]
    got = loaded.decoder(Step.of(last, CPU), cache).log_softmax(-1)
    for row, ids in enumerate(texts):
        alone = loaded.logprobs(ids, [len(ids)], loaded.cache())[-1]
        torch.testing.assert_close(got[row], alone, atol=1e-4, rtol=0)


def test_rewinding_and_decoding_again(loaded: Loaded) -> None:
    """Tokens written over after a rewind leave no trace."""
    kept, dropped, later = random_ids(60, seed=3), random_ids(15, seed=4), random_ids(20, seed=5)
    cache = loaded.cache(slack=20)
    loaded.logprobs(kept + dropped, [20, 20, 20, 15], cache, extent=80)
    got = loaded.logprobs(later, [20], cache, begin=60, extent=80)
    straight = loaded.logprobs(kept + later, [20] * 4, loaded.cache(slack=20), extent=80)
    torch.testing.assert_close(got, straight[60:], atol=1e-4, rtol=0)


def test_an_explanation_adds_up_to_the_reference(loaded: Loaded, wanted: torch.Tensor) -> None:
    ids = IDS
    top = wanted[-1].topk(5)
    (told,) = explain(loaded.decoder, ids, [PROMPT])
    chances = [guess.probability for guess in told.view.top]
    assert chances == pytest.approx(top.values.exp().tolist(), abs=1e-4)
    assert told.answer == top.indices[0]
    assert told.parts.total == pytest.approx(told.view.answer.logit, abs=1e-3)
    assert abs(told.parts.rounding) < 1e-3


def test_bfloat16_stays_near_the_reference(loaded: Loaded, wanted: torch.Tensor) -> None:
    """The drift from float32 is that of transformers in bfloat16, and half as much again at most.

    bfloat16 keeps 8 bits: each of some 12 roundings on the way errs by up to 2^-9 of values that
    reach the logits with a spread near 5. Of the positions the middling one counts: where two
    experts are near a tie, a rounding sends a token another way altogether.
    """
    ids = IDS
    theirs = reference_logprobs(loaded.folder, ids, torch.bfloat16)
    low = Loaded.open(loaded.folder, torch.bfloat16)
    ours = low.logprobs(ids, [PROMPT], low.cache())
    drifts = [(low - wanted).abs().mean(-1).median() for low in (ours, theirs)]
    assert drifts[0] <= 1.5 * drifts[1]
