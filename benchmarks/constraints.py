"""What it costs to hold a text to a grammar, beside what a step of the model takes.

    python benchmarks/constraints.py                         # a 128,000-word vocabulary
    python benchmarks/constraints.py --text corpus.txt --tokens 300

A text is written under each grammar by random weights. Then the same text is gone through again
without a model, and each part of the work is timed: the mask, what applying it to the logits takes,
going on by the chosen token. The step is timed in the same process, free and held in turns.
The vocabulary is a byte-level BPE learned from --text, by default from Python's own library.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lmtool.engine.request import Grammar, Request, Sampling, Stop
from lmtool.engine.sampling import mask
from lmtool.engine.session import Session
from models import FOLDER, SHAPES, Verbatim, checkpoint

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "email": {"type": "string", "format": "email"},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}},
    },
    "required": ["name", "age", "email", "tags"],
}
GRAMMARS: dict[str, tuple[str, str]] = {
    "JSON, a list of persons": ("json_schema", json.dumps({"type": "array", "items": PERSON})),
    "JSON, anything": ("json_schema", '{"type": "object"}'),
    "regex, words": ("regex", r"([A-Z][a-z]+( [a-z]+)*[.!?] )+"),
    "regex, numbers": ("regex", r"([0-9]{1,3},)+[0-9]{3}"),
    "Lark, sums": ("lark", 'start: e\ne: t (/[+*-]/ t)*\nt: /[0-9]+/ | "(" e ")"'),
}


def main() -> None:
    """Measure and print a table in Markdown."""
    options = parse()
    torch.set_num_threads(options.threads)
    folder = with_vocabulary(checkpoint(options.model, options.folder), options)
    session = Session.load(folder, device="cpu", threads=options.threads)
    began = perf_counter()
    session.generate(request(session, "regex", "a", 1))
    print(f"vocabulary of {session.tokenizer.vocab_size:,} ids made ready: "
          f"{perf_counter() - began:.2f} s, once a model\n")  # fmt: skip
    print("| grammar | compile | mask, median | mask, mean | apply | go on | a token | of a step |"
          "\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    for name, (kind, source) in GRAMMARS.items():
        print(f"| {name} | {row(session, kind, source, options.tokens)} |", flush=True)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=Verbatim)
    parser.add_argument("--model", default="vocab128k", choices=tuple(SHAPES), help="its shape")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="keeps what is made")
    parser.add_argument("--text", type=Path, nargs="*", help="files to learn the vocabulary from")
    parser.add_argument("--tokens", type=int, default=200, help="of each text")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def with_vocabulary(source: Path, options: argparse.Namespace) -> Path:
    """The model's folder again, beside it, with a vocabulary of the model's size."""
    size = SHAPES[options.model].vocab
    target = source.with_name(f"{source.name}-worded")
    target.mkdir(exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        if not (target / name).exists():
            (target / name).symlink_to(source / name)
    if not (target / "tokenizer.json").exists():
        library = Path(sysconfig.get_path("stdlib"))
        files = options.text or sorted(library.rglob("*.py"))
        learned(files, size).save(str(target / "tokenizer.json"))
        (target / "tokenizer_config.json").write_text('{"eos_token": "<|endoftext|>"}')
    return target


def learned(files: Sequence[Path], size: int) -> Tokenizer:
    """A byte-level BPE of just `size` ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=1,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = (path.read_text("utf-8", "replace") for path in files if path.is_file())
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != size:
        raise SystemExit(f"only {tokenizer.get_vocab_size():,} words: name more with --text")
    return tokenizer


def request(session, kind: str | None, source: str, count: int):
    """A text of `count` tokens at temperature 1, under a grammar unless `kind` is None."""
    grammar = Grammar(kind, source, kind) if kind else None
    ids = tuple(session.tokenizer.encode("def main():"))
    return Request(ids, count, Sampling(1.0, seed=3), Stop(session.eos), grammar=grammar)


def row(session, kind: str, source: str, count: int) -> str:
    """The cells of one grammar."""
    held = request(session, kind, source, count)
    free = replace(held, grammar=None, stop=replace(held.stop, eos=frozenset()))
    steps: list[float] = []
    ids: list[int] = []
    for _ in range(3):  # in turns, since the machine's pace changes
        steps.append(step_of(session, free)[0])
        ids = step_of(session, held)[1]
    compiling, masks, applied, going = replayed(session, held, ids)
    token = statistics.mean(masks) + statistics.mean(applied) + statistics.mean(going)
    step = statistics.median(steps)
    cells = [
        f"{compiling * 1e3:.1f} ms",
        *(f"{cost * 1e6:.0f} µs" for cost in (statistics.median(masks), statistics.mean(masks))),
        *(f"{statistics.mean(cost) * 1e6:.0f} µs" for cost in (applied, going)),
        f"{token * 1e6:.0f} µs ({len(ids)} tokens)",
        f"{token / step:.1%} of {step * 1e3:.1f} ms",
    ]
    return " | ".join(cells)


def step_of(session, request) -> tuple[float, list[int]]:
    """Seconds that a token took once the first was out, and the tokens."""
    generation = session.generate(request)
    ids = [token.id for token in generation]
    return generation.timings.decode_s / len(ids), ids


def replayed(session, request, ids: Sequence[int]):
    """Seconds to compile, and a list each of those to get a mask, apply it and go on."""
    began = perf_counter()
    constraint = session._constraint(request)
    compiling = perf_counter() - began
    logits = torch.randn(1, session.spec.vocab)
    parts: tuple[list[float], ...] = ([], [], [])
    for id in ids:
        clock = [perf_counter()]
        bits = constraint.mask()
        clock.append(perf_counter())
        mask.only(logits, [bits])
        clock.append(perf_counter())
        if id not in request.stop.eos:
            constraint.take(id)
        clock.append(perf_counter())
        for part, (before, after) in zip(parts, pairwise(clock)):  # noqa: B905
            part.append(after - before)
    return compiling, *parts


if __name__ == "__main__":
    sys.exit(main())
