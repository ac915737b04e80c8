"""Encoding corpora: `lmtool tokenize FILE -o ids.bin` beside tokenizers' encode_batch_fast.

    python benchmarks/encoding.py english.txt japanese.txt --tokenizer DIR --rounds 3

Each side is a process of its own that reads the same file, in turns, on the same cores; the times
are those of whole processes, from start to end. tokenizers gets the file's lines as its batch, some
megabytes at a time, which is how it is fastest, and its ids are written to a file as well. Then
lmtool's ids are compared with those that tokenizers gives the text in one piece. Above 1, lmtool is
faster. Processor time stands beside, which other work on the machine changes less.

`--train SIZE` first trains a tokenizer of that many ids, with GPT-2's pattern, on the files.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from array import array
from pathlib import Path
from statistics import median
from time import monotonic

LIBRARY = """
import sys
from array import array
from tokenizers import Tokenizer
text, tokenizer, output = sys.argv[1:]
tokenizer = Tokenizer.from_file(tokenizer)
tokenizer.encode_special_tokens = True
code = "H" if tokenizer.get_vocab_size() <= 1 << 16 else "I"
with open(text, encoding="utf-8", newline="") as lines, open(output, "wb") as ids:
    while batch := lines.readlines(1 << 22):
        for one in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            ids.write(array(code, one.ids).tobytes())
"""


def main() -> None:
    """Time both sides on each file, and print a row a file."""
    arguments = parse()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = arguments.tokenizer
        if arguments.train:
            folder = scratch / "tokenizer"
            command = [*lmtool(), "train-tokenizer", *map(str, arguments.texts), "-o", str(folder)]
            options = ["--vocab-size", str(arguments.train), "--pattern", "gpt2", "-q"]
            subprocess.run([*command, *options], check=True)
        print(f"load before: {os.getloadavg()[0]:.1f}", flush=True)
        for text in arguments.texts:
            contest(text, folder, scratch, arguments.rounds)


def contest(text: Path, folder: Path, scratch: Path, rounds: int) -> None:
    """Both sides on one file, in turns; the median of the ratios of each pair."""
    ours, theirs = scratch / "ours.bin", scratch / "theirs.bin"
    command = [*lmtool(), "tokenize", str(text), "-m", str(folder), "--bos", "off", "-q", "-o"]
    rival = [sys.executable, "-c", LIBRARY, str(text), str(folder / "tokenizer.json")]
    pairs = [(timed([*command, str(ours)]), timed([*rival, str(theirs)])) for _ in range(rounds)]
    size = text.stat().st_size / 1e6
    for place, what in enumerate(("time that passes", "processor time")):
        mine, other = (median(pair[side][place] for pair in pairs) for side in (0, 1))
        ratio = median(pair[1][place] / pair[0][place] for pair in pairs)
        print(
            f"{text.name}, {size:.0f} MB, {what}: lmtool {mine:.2f} s ({size / mine:.0f} MB/s), "
            f"tokenizers {other:.2f} s ({size / other:.1f} MB/s), {ratio:.2f} times as fast",
            flush=True,
        )
    same = whole_ids(text, folder) == ours.read_bytes()
    print(f"{text.name}: ids are {'those' if same else 'NOT those'} of the whole text", flush=True)


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds and processor seconds of a process."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), monotonic()
    subprocess.run(command, check=True)
    seconds, after = monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, used


def whole_ids(text: Path, folder: Path) -> bytes:
    """What tokenizers makes of the text in one piece."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    read = text.read_bytes().decode()
    (encoded,) = tokenizer.encode_batch_fast([read], add_special_tokens=False)
    return array("H" if tokenizer.get_vocab_size() <= 1 << 16 else "I", encoded.ids).tobytes()


def lmtool() -> list[str]:
    """The command, of the checkout or the installation that this Python has."""
    return [sys.executable, "-m", "lmtool"]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--tokenizer", type=Path, default=Path("models/default"))
    parser.add_argument("--train", type=int, help="train a tokenizer of so many ids first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
