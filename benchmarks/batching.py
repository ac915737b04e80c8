"""Many rows of mixed lengths: lmtool's stream beside padded batches and llama.cpp's slots.

    python benchmarks/batching.py --model default --requests 256
    python benchmarks/batching.py --model 1b --sizes 8 16 --rounds 2

All of it is timed, from the first row's ids to the last row's last token. transformers takes the
rows in their order, so many at a time; of its `--sizes` the best counts. llama.cpp decodes so many
in parallel, the next one in a row's place as soon as it ends; of its `--slots` the best counts,
with a cache for each row or one for all. lmtool takes part twice: as it is, and with texts the same
to the bit.
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contest import Entry, contest, machine, seconds_of, versus
from conversion import ConversionError
from models import Verbatim, add_options, checkpoint, gguf_file

WARM = 8
"""Rows of the round that doesn't count."""


def main() -> None:
    """Run the contest and print its table."""
    options = parse()
    source = random.Random(0)
    lengths = [
        (source.randrange(16, 257), source.randrange(16, 129)) for _ in range(options.requests)
    ]
    path = checkpoint(options.model, options.folder, options.dtype)
    failures: dict[str, str] = {}
    entries = [*of_lmtool(options, path), *of_transformers(options, path)]
    try:
        entries += of_llama(options, path, max(map(sum, lengths)))
    except (ConversionError, ImportError) as error:
        failures["llama.cpp"] = str(error)
    few, all_of_them = ({"do": "batch", "lengths": some} for some in (lengths[:WARM], lengths))
    with contest(entries, options.threads) as running:
        _, results = running.run(options.rounds, few, all_of_them)
        print(f"### {options.requests} rows of mixed lengths, model {options.model}\n")
        if results:
            print(versus(seconds_of(results), sum(count for _, count in lengths)))
        print(f"\n{machine(options.threads)}; {', '.join(running.about())}.")
        for name, why in (failures | running.failures).items():
            print(f"\n{name} is not in it: {why}")


def of_lmtool(options: argparse.Namespace, path: Path) -> Iterator[Entry]:
    """lmtool as it is, and exact."""
    memory: dict[str, Any] = {"max_memory": options.max_memory} if options.max_memory else {}
    yield Entry("lmtool", "lmtool", path, {"stream": memory})
    exact = {"deterministic": True, **memory}
    yield Entry("lmtool, deterministic", "lmtool", path, {"stream": exact})


def of_transformers(options: argparse.Namespace, path: Path) -> Iterator[Entry]:
    """transformers with every number of rows."""
    for rows in options.sizes:
        yield Entry(f"transformers, {rows} rows", "transformers", path, {"rows": rows})


def of_llama(options: argparse.Namespace, path: Path, longest: int) -> Iterator[Entry]:
    """llama.cpp with every number of slots, for rows of up to `longest` tokens.

    Raises `ConversionError`, `ImportError`.
    """
    room = -(-(longest + 8) // 256) * 256  # llama.cpp counts in steps of 256
    for slots in options.slots:
        file = gguf_file(path, None, options.folder)
        more = {"n_ctx": room * slots, "n_seq_max": slots}
        yield Entry(f"llama.cpp, {slots} slots", "llama.cpp", file, more)
        name = f"llama.cpp, {slots} slots, one cache"
        yield Entry(name, "llama.cpp", file, {**more, "kv_unified": True})


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=Verbatim)
    parser.add_argument("--model", default="default", help="a shape, default, or a folder")
    parser.add_argument("--requests", type=int, default=256, help="rows")
    parser.add_argument("--sizes", type=int, nargs="*", default=(16, 32, 64), help="padded batches")
    parser.add_argument("--slots", type=int, nargs="*", default=(8, 16, 32), help="of llama.cpp")
    parser.add_argument("--max-memory", type=int, help="bytes for lmtool's keys and values")
    parser.add_argument("--rounds", type=int, default=2, help="that count")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="each's")
    add_options(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
