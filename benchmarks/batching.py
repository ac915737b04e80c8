"""Many rows of mixed lengths: lmtool's stream beside transformers in padded batches.

    python benchmarks/batching.py --model default --requests 256
    python benchmarks/batching.py --model 1b --sizes 8 16 --rounds 2

All of it is timed, from the first row's ids to the last row's last token. transformers takes the
rows in their order, so many at a time; of its `--sizes` the best counts. lmtool takes part twice:
as it is, and with texts the same to the bit.
"""

from __future__ import annotations

import argparse
import os
import random
from typing import Any

from contest import Entry, contest, machine, seconds_of, versus
from models import Verbatim, add_options, checkpoint


def main() -> None:
    """Run the contest and print its table."""
    options = parse()
    source = random.Random(0)
    lengths = [
        (source.randrange(16, 257), source.randrange(16, 129)) for _ in range(options.requests)
    ]
    path = checkpoint(options.model, options.folder, options.dtype)
    memory: dict[str, Any] = {"max_memory": options.max_memory} if options.max_memory else {}
    exact = {"deterministic": True, **memory}
    entries = [
        Entry("lmtool", "lmtool", path, {"stream": memory}),
        Entry("lmtool, deterministic", "lmtool", path, {"stream": exact}),
        *(
            Entry(f"transformers, {rows} rows", "transformers", path, {"rows": rows})
            for rows in options.sizes
        ),
    ]
    with contest(entries, options.threads) as running:
        (results,) = running.run(options.rounds, {"do": "batch", "lengths": lengths})
        print(f"### {options.requests} rows of mixed lengths, model {options.model}\n")
        if results:
            print(versus(seconds_of(results), sum(count for _, count in lengths)))
        print(f"\n{machine(options.threads)}; {', '.join(running.about())}.")
        for name, why in running.failures.items():
            print(f"\n{name} is not in it: {why}")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=Verbatim)
    parser.add_argument("--model", default="default", help="a shape, default, or a folder")
    parser.add_argument("--requests", type=int, default=256, help="rows")
    parser.add_argument("--sizes", type=int, nargs="+", default=(16, 32, 64), help="padded batches")
    parser.add_argument("--max-memory", type=int, help="bytes for lmtool's keys and values")
    parser.add_argument("--rounds", type=int, default=2, help="that count")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="each's")
    add_options(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
