"""The one generation loop: ids in, ids out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from .. import ModelError
from .cache.static import StaticCache
from .device import to_host
from .model.decoder import Decoder
from .request import Candidate, PromptToken, Request, Timings
from .sampling.sampler import Draw, choose
from .sequence import Sequence
from .step import Piece, Step

CHUNK = 512
"""Prompt tokens fed in one step: enough to keep the cores busy, little enough to bound memory."""

ROWS = 16
"""Samples decoded together; more of them come in groups."""


@dataclass(frozen=True, slots=True)
class Emission:
    """One id that a sequence has just taken, with the model's own log-probabilities if asked."""

    sequence: Sequence
    id: int
    logprob: float | None
    top: tuple[Candidate, ...]


class Loop:
    """Runs a request's samples: prefill once, then decode all of them step by step.

    `prompt` fills during prefill if the request asks for its prompt's log-probabilities.
    """

    def __init__(self, decoder: Decoder, request: Request, context: int, timings: Timings) -> None:
        self.prompt: list[PromptToken] = []
        self._decoder = decoder
        self._device = decoder.device
        self._turning_points = decoder.spec.turning_points()
        self._request = request
        self._context = context
        self._timings = timings

    def run(self) -> Iterator[Emission]:
        """Every id of every sample, interleaved, as soon as it is chosen.

        Whoever iterates may set a sequence's `finish` to end it early.
        Raises `ModelError` if the logits turn out not to be numbers.
        """
        samples = self._request.samples if self._request.max_new != 0 else 1  # all alike: none
        for first in range(0, samples, ROWS):
            count = min(ROWS, samples - first)
            yield from self._run_group(
                [Sequence(self._request, first + row, row) for row in range(count)]
            )

    def _run_group(self, sequences: list[Sequence]) -> Iterator[Emission]:
        cache = StaticCache(
            self._decoder.spec,
            len(sequences),
            self._context,
            CHUNK,
            self._decoder.dtype,
            self._device,
        )
        began = perf_counter()
        logits = self._prefill(sequences[0], cache)
        for sequence in sequences[1:]:
            cache.fork(0, sequence.row, sequences[0].cached)
            sequence.cached = sequences[0].cached
        self._timings.prefill_s += perf_counter() - began
        self._timings.prompt_tokens += len(self._request.ids)
        running = [] if self._request.max_new == 0 else sequences
        logits = logits.expand(len(running), -1)
        while running:
            began = perf_counter()
            emissions = self._choose(logits, running)
            self._timings.decoded_tokens += len(emissions)
            self._timings.decode_s += perf_counter() - began
            yield from emissions
            running = [sequence for sequence in running if sequence.finish is None]
            if running:
                began = perf_counter()
                logits = self._decode(running, cache)
                self._timings.decode_s += perf_counter() - began

    def _prefill(self, sequence: Sequence, cache: StaticCache) -> Tensor:
        """Feed the prompt in chunks; the logits after its last token, [1, V]."""
        ids = self._request.ids
        score = self._request.prompt_logprobs and not self.prompt  # once for all groups
        logits = torch.empty(0)
        for begin in range(0, len(ids), CHUNK):
            chunk = ids[begin : begin + CHUNK]
            sequence.cached = begin + len(chunk)
            cache.reserve(sequence.row, sequence.cached)
            wanted = "last" if sequence.cached == len(ids) else "none"
            if score:
                wanted = "all"
            piece = Piece(sequence.row, begin, chunk, len(ids), wanted)
            logits = self._run([piece], cache)
            if score:
                self._score_prompt(begin, logits)
        return logits[-1:]

    def _decode(self, running: list[Sequence], cache: StaticCache) -> Tensor:
        """One token further in every running sequence: logits [R, V]."""
        pieces: list[Piece] = []
        for sequence in running:
            cache.reserve(sequence.row, sequence.length)
            if sequence.length in self._turning_points:
                self._refill(sequence, cache)
            pieces.append(Piece(sequence.row, sequence.cached, sequence.pending, sequence.length))
            sequence.cached = sequence.length
        return self._run(pieces, cache)

    def _refill(self, sequence: Sequence, cache: StaticCache) -> None:
        """Compute all but the last token anew, now that the text is known to be longer."""
        ids = (*self._request.ids, *sequence.generated)[:-1]
        for begin in range(0, len(ids), CHUNK):
            piece = Piece(sequence.row, begin, ids[begin : begin + CHUNK], sequence.length, "none")
            self._run([piece], cache)

    def _run(self, pieces: list[Piece], cache: StaticCache) -> Tensor:
        """The wanted logits of one step, and they are numbers."""
        logits = self._decoder(Step.of(pieces, self._device), cache)
        if not bool(logits.sum().isfinite()):
            raise ModelError(
                "the model's logits are not numbers (NaN or infinite): its weights are damaged, "
                "or too large for its dtype",
                hint="try --dtype float32; if that doesn't help, download the weights again",
            )
        return logits

    def _choose(self, logits: Tensor, running: list[Sequence]) -> list[Emission]:
        draws = [Draw(s.request.sampling, s.sample, s.length, s.recent()) for s in running]
        ids = choose(_without_early_stops(logits, running), draws)
        reports = self._report(logits, ids)
        emissions: list[Emission] = []
        for sequence, id, (logprob, top) in zip(running, ids, reports, strict=True):
            sequence.accept(id, self._context)
            emissions.append(Emission(sequence, id, logprob, top))
        return emissions

    def _report(
        self, logits: Tensor, ids: list[int]
    ) -> list[tuple[float | None, tuple[Candidate, ...]]]:
        """Log-probability of each row's id and of its likeliest alternatives."""
        count = self._request.logprobs
        if count is None:
            return [(None, ())] * len(ids)
        logprobs = torch.log_softmax(logits, dim=-1)
        places = torch.tensor(ids, dtype=torch.int64, device=logits.device)
        chosen = logprobs.gather(-1, places[:, None])
        best = logprobs.topk(min(count, logits.shape[-1]), dim=-1)
        tops = [
            tuple(map(Candidate, *row))
            for row in zip(to_host(best.indices), to_host(best.values), strict=True)
        ]
        return list(zip(to_host(chosen.squeeze(-1)), tops, strict=True))

    def _score_prompt(self, begin: int, logits: Tensor) -> None:
        """Log-probabilities of the prompt's tokens after `begin`, from their predecessors."""
        ids = self._request.ids
        if begin == 0:
            self.prompt.append(PromptToken(ids[0], None))
        following = list(ids[begin + 1 : begin + 1 + len(logits)])
        reports = self._report(logits[: len(following)], following)
        for id, (logprob, top) in zip(following, reports, strict=True):
            self.prompt.append(PromptToken(id, logprob, top))


def _without_early_stops(logits: Tensor, running: list[Sequence]) -> Tensor:
    """Logits in which no row may end before its `min_tokens`."""
    vocab = logits.shape[-1]
    # Configs name ends that are no tokens of theirs: -1, or an id past the vocabulary.
    barred = {
        row: sorted(id for id in s.request.stop.eos | s.request.stop.ids if 0 <= id < vocab)
        for row, s in enumerate(running)
        if len(s.generated) < s.request.stop.min_tokens
    }
    if not any(barred.values()):
        return logits
    logits = logits.clone()
    for row, ids in barred.items():
        logits[row, ids] = float("-inf")
    return logits
