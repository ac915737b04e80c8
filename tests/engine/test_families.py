"""Every family against transformers, on random checkpoints that transformers itself saves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lmtool.engine.cache.static import StaticCache
from lmtool.engine.loop import Loop
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.request import Request, Timings
from lmtool.engine.step import Piece, Step
from lmtool.engine.weights.checkpoint import open_checkpoint
from lmtool.engine.weights.load import load_decoder
from reference.random_checkpoints import Case, random_ids, reference_greedy, reference_logprobs

CPU = torch.device("cpu")
PROMPT = 90
LONG = 600
"""Room for any text of these tests, and slack for any piece."""


def rope(kind: str, **fields: float) -> dict[str, object]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 1000.0, **fields}}


CASES = (
    Case("llama", "Llama"),
    Case("llama multi-head", "Llama", {"num_key_value_heads": 6}),
    Case("llama multi-query", "Llama", {"num_key_value_heads": 1, "rms_norm_eps": 1e-3}),
    Case("llama biases", "Llama", {"attention_bias": True, "mlp_bias": True}),
    Case("llama tied", "Llama", {"tie_word_embeddings": True, "hidden_act": "gelu"}),
    Case("llama head_dim", "Llama", {"head_dim": 20}),
    # Each scaled rope is tried past its original length as well as inside it.
    Case("llama linear", "Llama", rope("linear", factor=3.0)),
    Case("llama dynamic", "Llama", rope("dynamic", factor=3.0) | {"max_position_embeddings": 32}),
    Case(
        "llama llama3",
        "Llama",
        rope(
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=40,
        ),
    ),
    Case("llama yarn", "Llama", rope("yarn", factor=4.0, original_max_position_embeddings=40)),
    Case(
        "llama yarn mscale",
        "Llama",
        rope(
            "yarn",
            factor=4.0,
            original_max_position_embeddings=40,
            beta_fast=16.0,
            beta_slow=2.0,
            mscale=0.8,
            mscale_all_dim=0.5,
        ),
    ),
    Case("mistral", "Mistral", {"sliding_window": None}),
    Case("mistral window", "Mistral", {"sliding_window": 13, "head_dim": 12}),
    Case("qwen2", "Qwen2"),
    Case(
        "qwen2 window",
        "Qwen2",
        {
            "use_sliding_window": True,
            "sliding_window": 11,
            "max_window_layers": 1,
            "tie_word_embeddings": True,
        },
    ),
    Case("qwen3", "Qwen3", {"head_dim": 16}),
    Case(
        "qwen3 layer types",
        "Qwen3",
        {
            "head_dim": 16,
            "attention_bias": True,
            "use_sliding_window": True,
            "sliding_window": 9,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
)


@dataclass
class Loaded:
    folder: Path
    decoder: Decoder

    def cache(self, rows: int = 1, slack: int = LONG) -> StaticCache:
        return StaticCache(self.decoder.spec, rows, LONG, slack, self.decoder.embed.dtype, CPU)

    def logprobs(
        self,
        ids: list[int],
        widths: list[int],
        cache: StaticCache,
        begin: int = 0,
        extent: int | None = None,
    ) -> Tensor:
        """Log-probabilities after each id, fed from position `begin` in such widths, [T, V]."""
        logits: list[Tensor] = []
        fed = 0
        for width in widths:
            piece = Piece(
                0, begin + fed, ids[fed : fed + width], extent or len(ids), logits="all"
            )
            fed += width
            cache.reserve(0, begin + fed)
            logits.append(self.decoder(Step.of([piece], CPU), cache))
        return torch.cat(logits).log_softmax(-1)

    def greedy(self, ids: list[int], count: int, samples: int = 1) -> list[list[int]]:
        loop = Loop(self.decoder, Request(tuple(ids), count, samples=samples), LONG, Timings())
        out: list[list[int]] = [[] for _ in range(samples)]
        for emission in loop.run():
            out[emission.sequence.sample].append(emission.id)
        return out


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def loaded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Loaded]:
    folder = request.param.save(tmp_path_factory.mktemp("checkpoint"))
    yield Loaded(folder, load_decoder(open_checkpoint(folder), None, CPU)[0])


def test_logprobs_whole_in_pieces_and_token_by_token(loaded: Loaded) -> None:
    ids = random_ids(PROMPT)
    wanted = reference_logprobs(loaded.folder, ids)
    for widths in ([PROMPT], [17, 1, 40, 32], [1] * PROMPT):
        got = loaded.logprobs(ids, widths, loaded.cache())
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)


def test_greedy_tokens_alone_and_together(loaded: Loaded) -> None:
    ids = random_ids(PROMPT, seed=1)
    wanted = reference_greedy(loaded.folder, ids, 64)
    assert len(set(wanted)) > 8, "the reference repeats itself: it would hide a fault"
    assert loaded.greedy(ids, 64) == [wanted]
    assert loaded.greedy(ids, 64, samples=3) == [wanted] * 3


def test_short_rings_see_what_long_caches_see(loaded: Loaded) -> None:
    ids = random_ids(PROMPT, seed=2)
    widths = [8] * 11 + [2]
    wanted = loaded.logprobs(ids, widths, loaded.cache())
    got = loaded.logprobs(ids, widths, loaded.cache(slack=8))
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)


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


def test_bfloat16_stays_near_the_reference(loaded: Loaded) -> None:
    """bfloat16 keeps 8 bits: each of some 12 roundings on the way errs by up to 2^-9 of values
    that reach the logits with a spread near 5, so we allow the drift transformers itself has
    from float32 in bfloat16, and half as much again."""
    ids = random_ids(PROMPT, seed=5)
    exact = reference_logprobs(loaded.folder, ids)
    theirs = reference_logprobs(loaded.folder, ids, torch.bfloat16)
    decoder, _ = load_decoder(open_checkpoint(loaded.folder), torch.bfloat16, CPU)
    low = Loaded(loaded.folder, decoder)
    ours = low.logprobs(ids, [PROMPT], low.cache())
    assert (ours - exact).abs().mean() <= 1.5 * (theirs - exact).abs().mean()
