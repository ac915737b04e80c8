"""What explaining a prediction costs: its time beside a plain prefill's, and the memory it takes.

    python benchmarks/explaining.py                 # the default model and a deep random one
    python benchmarks/explaining.py --model ./checkpoint --lengths 128 1024

Prefill and explanation take turns in one process; each is the best of several rounds. Memory is
what the process took at its peak beyond what a prefill alone had taken.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Callable
from time import perf_counter

import torch

from lmtool.engine.cache.static import StaticCache
from lmtool.engine.lens.explain import explain
from lmtool.engine.loop import CHUNK
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.session import Session
from lmtool.engine.step import Piece, Step
from models import Verbatim, add_options, checkpoint


def main() -> None:
    """Print a row for each model and length of prompt."""
    options = _parse()
    torch.set_num_threads(options.threads)
    print("model       tokens  prefill s  explain s  times   peak over prefill's, MB")
    for name in options.model:
        session = Session.load(checkpoint(name, options.folder, options.dtype))
        for length in options.lengths:
            if length <= session.context:
                _measure(name, session.decoder, length, options.rounds)


def _measure(name: str, decoder: Decoder, length: int, rounds: int) -> None:
    ids = torch.randint(1, decoder.spec.vocab, (length,)).tolist()
    prefill = explaining = float("inf")
    _seconds(lambda: _prefill(decoder, ids))
    plain = _peak()
    for _ in range(rounds):
        prefill = min(prefill, _seconds(lambda: _prefill(decoder, ids)))
        explaining = min(explaining, _seconds(lambda: explain(decoder, ids, [length])))
    more = (_peak() - plain) / 1e6
    print(
        f"{name:<12}{length:6}  {prefill:9.3f}  {explaining:9.3f}  {explaining / prefill:5.2f}  "
        f"{more:24.1f}",
        flush=True,
    )


def _prefill(decoder: Decoder, ids: list[int]) -> None:
    """As generation reads a prompt: in chunks, the head at the last token alone."""
    cache = StaticCache(decoder.spec, 1, len(ids), CHUNK, decoder.dtype, decoder.device)
    with torch.inference_mode():
        for begin in range(0, len(ids), CHUNK):
            chunk = ids[begin : begin + CHUNK]
            cache.reserve(0, begin + len(chunk))
            decoder(Step.of([Piece(0, begin, chunk, len(ids))], decoder.device), cache)


def _seconds(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def _peak() -> int:
    """The most memory that this process has taken so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=Verbatim)
    parser.add_argument("--model", nargs="+", default=["default", "deep"])
    add_options(parser)
    parser.set_defaults(dtype="float32")
    parser.add_argument("--lengths", nargs="+", type=int, default=[32, 128, 512, 2048])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
