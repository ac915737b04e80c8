"""The logit lens: what the model's own head would answer to the stream at any height.

Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..device import to_host
from ..model.decoder import Decoder
from .explanation import Guess, View

LOGITS = 1 << 24
"""Logits held at a time, 64 MB of them."""


def views(decoder: Decoder, states: Tensor, answers: Sequence[int], top: int) -> Iterator[View]:
    """What the stack would answer at each of some states [n, M], and how likely its answer is."""
    step = max(1, LOGITS // decoder.spec.vocab)
    for begin in range(0, len(states), step):
        logits = decoder.logits(states[begin : begin + step])  # [r, V]
        wanted = torch.tensor(answers[begin : begin + step], device=logits.device)[:, None]
        norm = logits.logsumexp(-1, keepdim=True)
        own = logits.gather(1, wanted)
        ranks = (logits > own).sum(-1) + 1
        best, ids = logits.topk(min(top, logits.shape[-1]), dim=-1)
        told = (wanted, own, (own - norm).exp(), ids, best, (best - norm).exp())
        rows = zip(*(to_host(tensor) for tensor in told), to_host(ranks), strict=True)
        for (id,), (logit,), (chance,), row_ids, row_logits, chances, rank in rows:
            guesses = zip(row_ids, chances, row_logits, strict=True)
            yield View(tuple(Guess(*guess) for guess in guesses), Guess(id, chance, logit), rank)
