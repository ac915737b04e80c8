"""lmtool beside transformers and llama.cpp, in turns on this machine: tables on stdout.

    python benchmarks/side_by_side.py decode --model 1b --rounds 5
    python benchmarks/side_by_side.py decode --model 1b --quant int4
    python benchmarks/side_by_side.py start

decode: greedy tokens, one after the other; prefill: a prompt up to its first token; depth: decode
with little and with much in the context; batch: many requests of mixed lengths at once; default:
decode with the model that ships; start: whole processes, from nothing to a first token.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from contest import Contest, Entry, contest, fall_off, machine, seconds_of, tell, versus
from conversion import ConversionError, stored_kind
from models import Verbatim, add_options, checkpoint, gguf_file

CONTESTANTS = ("lmtool", "transformers", "llama.cpp")
QUANTS = {"int8": "Q8_0", "int4": "Q4_0"}
"""lmtool's name and llama.cpp's of what takes as much room."""

TRANSFORMERS = """\
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({path!r})
model = AutoModelForCausalLM.from_pretrained({path!r})
ids = tokenizer("Once", return_tensors="pt")
print(tokenizer.decode(model.generate(**ids, max_new_tokens=1, do_sample=False)[0]))
"""


def main() -> None:
    """Run the experiment and print its table."""
    options = parse()
    print(f"### {title(options)}\n")
    options.run(options)


def title(options: argparse.Namespace) -> str:
    """The experiment and its settings: `decode, model 1b, prompt 128, tokens 64, rounds 5`."""
    shown = ("model", "quant", "prompt", "depths", "tokens", "requests", "rounds")
    said: list[str] = []
    for name in shown:
        value = getattr(options, name, None)
        if value is not None:
            text = Path(value).name if name == "model" else value
            said.append(f"{name} {' and '.join(map(str, text)) if name == 'depths' else text}")
    return ", ".join([options.experiment, *said])


def run_decode(options: argparse.Namespace) -> None:
    """`decode` and `default`."""
    command = {"do": "decode", "prompt": options.prompt, "tokens": options.tokens}
    one_command(options, command, options.prompt + options.tokens)


def run_prefill(options: argparse.Namespace) -> None:
    """`prefill`."""
    command = {"do": "prefill", "prompt": options.prompt}
    one_command(options, command, options.prompt)


def run_batch(options: argparse.Namespace) -> None:
    """`batch`."""
    source = random.Random(0)
    lengths = [
        (source.randrange(16, 257), source.randrange(16, 129)) for _ in range(options.requests)
    ]
    row = max(prompt + count for prompt, count in lengths)
    one_command(options, {"do": "batch", "lengths": lengths}, row, options.requests)


def one_command(
    options: argparse.Namespace, command: dict[str, Any], context: int, rows: int = 1
) -> None:
    """A contest over one command, with `rows` texts of at most `context` tokens each."""
    with held(options, context, rows) as running:
        (results,) = running.run(options.rounds, command)
        if results:
            tokens = next(iter(results.values()))[0]["tokens"]
            print(versus(seconds_of(results), tokens))


def run_depth(options: argparse.Namespace) -> None:
    """`depth`."""
    commands = [
        {"do": "decode", "prompt": depth, "tokens": options.tokens} for depth in options.depths
    ]
    with held(options, max(options.depths) + options.tokens) as running:
        results = map(seconds_of, running.run(options.rounds, *commands))
        times = dict(zip(options.depths, results, strict=True))
        if all(times.values()):
            print(fall_off(times, options.tokens))


@contextmanager
def held(options: argparse.Namespace, context: int, rows: int = 1) -> Iterator[Contest]:
    """A contest of `rows` texts with at most `context` tokens each.

    Afterwards it prints on what it was held, with what, and who couldn't take part.
    """
    entries: list[Entry] = []
    failures: dict[str, str] = {}
    for engine in contestants(options):
        try:
            entries.append(enter(options, engine, context, rows))
        except (ConversionError, ImportError) as error:
            failures[engine] = str(error)
    with contest(entries, options.threads) as running:
        yield running
        print(f"\n{machine(options.threads)}; {', '.join(running.about())}.")
        for name, why in (failures | running.failures).items():
            print(f"\n{name} is not in it: {why}")


def enter(options: argparse.Namespace, engine: str, context: int, rows: int) -> Entry:
    """What a contestant loads. Raises `ConversionError`, `ImportError`."""
    source = checkpoint(options.model, options.folder, options.dtype)
    more: dict[str, Any] = json.loads(getattr(options, engine.replace(".", "_")))
    quant = options.quant
    if engine == "llama.cpp":
        kind = QUANTS[quant] if quant else stored_kind(source)
        room = -(-(context + 8) // 256) * 256  # llama.cpp counts in steps of 256
        more = {"n_ctx": room * rows, "n_seq_max": rows, **more}
        return Entry(f"{engine} {kind}", engine, gguf_file(source, kind, options.folder), more)
    if engine == "lmtool" and quant:
        return Entry(f"{engine} {quant}", engine, source, {"quant": quant, **more})
    return Entry(engine, engine, source, more)


def contestants(options: argparse.Namespace) -> tuple[str, ...]:
    """Who is to be compared: transformers has no such quants, and llama.cpp no padded batch."""
    if options.contestants:
        return tuple(options.contestants)
    if options.quant:
        return ("lmtool", "llama.cpp")
    return ("lmtool", "transformers") if options.experiment == "batch" else CONTESTANTS


def run_start(options: argparse.Namespace) -> None:
    """`start`: the processes take turns as the contestants do."""
    path = str(checkpoint(options.model, options.folder, options.dtype))
    script = TRANSFORMERS.format(path=path)
    lmtool = str(Path(sys.executable).with_name("lmtool"))
    commands = {
        "lmtool generate": [lmtool, "generate", "-m", path, "-n", "1", "--temp", "0", "Once"],
        "transformers, the shortest script": [sys.executable, "-c", script],
        "import torch": [sys.executable, "-c", "import torch"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(options.rounds + 1):
        tell(f"round {number} of {options.rounds}" if number else "a round to get warm")
        for name, command in commands.items():
            seconds = time_process(command)
            tell(f"  {name}: {seconds:.3f} s")
            if number:
                times[name].append(seconds)
    print(versus(times))
    packages = ", ".join(f"{name} {version(name)}" for name in ("lmtool", "torch", "transformers"))
    print(f"\n{machine(None)}; {packages}; files in the page cache.")


def time_process(command: list[str]) -> float:
    """Seconds from start to exit; it must succeed."""
    sleep(0.2)
    environ = {**os.environ, "HF_HUB_OFFLINE": "1"}
    began = perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    seconds = perf_counter() - began
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:4])} … fails: {done.stderr.strip()[-500:]}")
    return seconds


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=Verbatim)
    experiments = parser.add_subparsers(dest="experiment", required=True)

    def add(name: str, run: Any, model: str = "1b", rounds: int = 5, **numbers: Any) -> None:
        one = experiments.add_parser(name, formatter_class=Verbatim)
        one.set_defaults(run=run)
        one.add_argument("--model", default=model, help="a shape, default, or a checkpoint folder")
        one.add_argument("--rounds", type=int, default=rounds, help="that count")
        for number, value in numbers.items():
            count = len(value) if isinstance(value, tuple) else None
            one.add_argument(f"--{number}", type=int, nargs=count, default=value, help=HELP[number])
        add_options(one)
        if run is not run_start:
            add_contest_options(one)

    add("decode", run_decode, prompt=128, tokens=64)
    add("prefill", run_prefill, prompt=512)
    add("depth", run_depth, rounds=3, depths=(256, 8000), tokens=32)
    add("batch", run_batch, rounds=3, requests=32)
    add("default", run_decode, "default", prompt=64, tokens=256)
    add("start", run_start, "default")
    return parser.parse_args()


HELP = {
    "prompt": "tokens of it",
    "tokens": "to decode",
    "depths": "tokens in the context, near and far",
    "requests": "at once",
}


def add_contest_options(parser: argparse.ArgumentParser) -> None:
    """What every experiment has that is a contest."""
    parser.add_argument("--quant", choices=tuple(QUANTS), help="lmtool's and llama.cpp's weights")
    parser.add_argument(
        "--contestants", nargs="+", choices=CONTESTANTS, metavar="NAME",
        help=f"of {', '.join(CONTESTANTS)}: who takes part, in this order, if not all that "
        "are to be compared in this",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="each's")
    for name in CONTESTANTS:
        parser.add_argument(
            f"--{name.replace('.', '-')}", default="{}", metavar="JSON", help="load options for it"
        )


if __name__ == "__main__":
    main()
