"""Training a tokenizer: `lmtool train-tokenizer` beside the tokenizers library's BpeTrainer.

    python benchmarks/training.py english.txt --rounds 3
    python benchmarks/training.py japanese.txt --megabytes 100 --vary characters
    python benchmarks/training.py english.txt --megabytes 5000 --vary words --only lmtool

Each side is a process of its own that reads the same file on two cores, in turns; the times are
those of whole processes. Above 1, lmtool is faster. The peak is the proportional memory (PSS) of
the process and all its children, looked at up to twenty times a second; beside it stands the
largest resident memory that the system counted for any one of them, and the processor time of all,
which other work on the machine changes less than it changes the time that passes.

`--megabytes` makes a longer text of the one given, by copies that are not quite alike:

- `--vary words`: in each copy one fiftieth is written in other letters (vowels for vowels,
  consonants for consonants), so that new, rare words come in as a longer text has them: with
  `english.txt` of 36 MB and 65,000 distinct words, a million at 5 GB.
- `--vary characters`: in each copy every Chinese character is another one about as frequent. For
  Japanese, where a word is a clause between two marks, so most clauses are new in each copy.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic

LIBRARY = """
import sys
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from lmtool.tokenizer.recipe import PATTERNS
text, size, output = sys.argv[1], int(sys.argv[2]), sys.argv[3]
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
    pre_tokenizers.Split(Regex(PATTERNS["gpt4"]), behavior="isolated"),
    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
])
trainer = trainers.BpeTrainer(
    vocab_size=size, min_frequency=2, special_tokens=["<|endoftext|>"], show_progress=False,
    initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
)
tokenizer.train([text], trainer)
tokenizer.save(output)
"""
FIRST_CORES = 2


@dataclass
class Run:
    """What a side took: seconds, processor seconds, peak PSS of all, the largest resident one."""

    seconds: float
    processor: float
    pss: int
    resident: int


def main() -> None:
    """Make the text if asked to, let both sides train on it, print a table."""
    arguments = parse()
    scratch = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        path = arguments.text
        if arguments.megabytes:
            path = scratch / "text.txt"
            make_text(arguments.text, path, arguments.megabytes * 10**6, arguments.vary)
        print(f"{path.stat().st_size / 1e6:,.1f} MB, {arguments.vocab_size:,} ids", flush=True)
        contest(path, scratch, arguments)
    finally:
        shutil.rmtree(scratch)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("text", type=Path, help="a text file")
    parser.add_argument("--megabytes", type=int, default=0, help="make it about so long")
    parser.add_argument("--vary", choices=["words", "characters"], default="words")
    parser.add_argument("--vocab-size", type=int, default=32768)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["lmtool", "library"], default=None)
    parser.add_argument("--folder", type=Path, default=None, help="where a long text may lie")
    parser.add_argument("--max-memory", default=None, help="for lmtool")
    return parser.parse_args()


def contest(path: Path, scratch: Path, arguments: argparse.Namespace) -> None:
    """Let the sides take turns."""
    made = scratch / "made"
    ours = [sys.executable, "-m", "lmtool", "train-tokenizer", str(path), "-o", str(made), "-q"]
    ours += ["--vocab-size", str(arguments.vocab_size), "--threads", str(FIRST_CORES)]
    if arguments.max_memory:
        ours += ["--max-memory", arguments.max_memory]
    library = [sys.executable, "-c", LIBRARY, str(path), str(arguments.vocab_size)]
    library.append(str(scratch / "library.json"))
    sides = {"lmtool": ours, "library": library}
    if arguments.only:
        sides = {arguments.only: sides[arguments.only]}
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for turn in range(arguments.rounds):
        for name in list(sides) if turn % 2 == 0 else list(sides)[::-1]:
            run = measure(sides[name])
            runs[name].append(run)
            print(f"  {name:8} {tell(run)}", flush=True)
    for name, several in runs.items():
        best = Run(
            median(run.seconds for run in several),
            median(run.processor for run in several),
            max(run.pss for run in several),
            max(run.resident for run in several),
        )
        rate = path.stat().st_size / best.seconds / 1e6
        print(f"{name:8} {tell(best)}, {rate:.1f} MB/s")
    if len(sides) == 2:
        pairs = zip(runs["library"], runs["lmtool"], strict=True)
        ratios = sorted(theirs.seconds / ours.seconds for theirs, ours in pairs)
        print(f"times as fast: {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
        both = zip(runs["library"], runs["lmtool"], strict=True)
        less = sorted(theirs.processor / ours.processor for theirs, ours in both)
        print(f"by processor time: {median(less):.2f} ({less[0]:.2f} to {less[-1]:.2f})")


def tell(run: Run) -> str:
    """A run in words."""
    return (
        f"{run.seconds:7.2f} s, processor {run.processor:.2f} s, "
        f"peak {run.pss / 1e6:,.0f} MB, one {run.resident / 1e6:,.0f} MB"
    )


def measure(command: list[str]) -> Run:
    """Run a process on two cores and watch its memory."""
    cores = set(sorted(os.sched_getaffinity(0))[:FIRST_CORES])
    environ = os.environ | {"RAYON_NUM_THREADS": str(FIRST_CORES), "OMP_NUM_THREADS": "1"}
    began = monotonic()
    process = subprocess.Popen(
        command, env=environ, preexec_fn=lambda: os.sched_setaffinity(0, cores)
    )
    run = Run(0.0, 0.0, 0, 0)
    done = threading.Event()
    watcher = threading.Thread(target=watch, args=(process.pid, run, done))
    watcher.start()
    _, status, usage = os.wait4(process.pid, 0)
    code = process.returncode = os.waitstatus_to_exitcode(status)
    run.seconds = monotonic() - began
    run.processor = usage.ru_utime + usage.ru_stime
    done.set()
    watcher.join()
    if code:
        raise SystemExit(f"{command[0]} ended with {code}")
    return run


def watch(root: int, run: Run, done: threading.Event) -> None:
    """Look again and again how much a process and its descendants take."""
    while not done.is_set():
        began = monotonic()
        total = 0
        for pid in family(root):
            total += field(pid, "smaps_rollup", "Pss:")
            run.resident = max(run.resident, field(pid, "status", "VmHWM:"))
        run.pss = max(run.pss, total)
        # Large processes take long to look at, and it must not slow them down.
        done.wait(max(0.05, 30 * (monotonic() - began)))


def family(root: int) -> Iterator[int]:
    """A process and all its descendants."""
    yield root
    for task in Path(f"/proc/{root}/task").glob("*"):
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            yield from family(int(child))


def field(pid: int, file: str, name: str) -> int:
    """A figure in kB from /proc, in bytes; 0 once the process is gone."""
    try:
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def make_text(source: Path, path: Path, size: int, vary: str) -> None:
    """Write copies of `source` that aren't quite alike until there are `size` bytes."""
    base = source.read_text(encoding="utf-8")
    written, copy = 0, 0
    with path.open("wb") as file:
        while size - written > 4:
            text = base if copy == 0 else VARIED[vary](base, random.Random(copy))
            data = text.encode()[: size - written].decode(errors="ignore").encode()
            file.write(data)
            written += len(data)
            copy += 1


def other_words(base: str, chance: random.Random) -> str:
    """The text with one fiftieth in other letters."""
    table: dict[int, str] = {}
    for letters in ("aeiou", "bcdfghjklmnpqrstvwxyz"):
        mixed = chance.sample(letters, len(letters))
        table |= {ord(a): b for a, b in zip(letters, mixed, strict=True)}
        table |= {ord(a.upper()): b.upper() for a, b in zip(letters, mixed, strict=True)}
    size = len(base) // 50
    start = chance.randrange(len(base) - size)
    return base[:start] + base[start : start + size].translate(table) + base[start + size :]


def other_characters(base: str, chance: random.Random) -> str:
    """The text with each Chinese character replaced by one about as frequent."""
    found = Counter(re.findall(r"[\u4e00-\u9fff]", base))
    ranked = [letter for letter, _ in found.most_common()]
    table: dict[int, str] = {}
    for start in range(0, len(ranked), 16):
        near = ranked[start : start + 16]
        table |= {ord(a): b for a, b in zip(near, chance.sample(near, len(near)), strict=True)}
    return base.translate(table)


VARIED = {"words": other_words, "characters": other_characters}

if __name__ == "__main__":
    main()
