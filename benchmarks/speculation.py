"""Guessing ahead: how much faster where guesses come true, how much slower where they don't.

    python benchmarks/speculation.py --model default
    python benchmarks/speculation.py --model 1b

Each text is made with and without guesses in turns; it must be the same. `told right` and `told
wrong` are guesses told beforehand: the most that there is to win, and the most to lose. For random
shapes `copying` is a model whose layers see 8 tokens back: what follows depends on so few of the
last tokens that a text goes on as it did when they last stood there.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from contest import machine, spread, table, tell
from lmtool.engine.request import Request, Sampling, Stop
from lmtool.engine.session import Session
from lmtool.engine.speculate import Guessing, Way
from models import Verbatim, add_options, checkpoint

WINDOW = 8
LOOKUP = 8


@dataclass
class Told:
    """Guesses a text that is known."""

    text: Sequence[int]

    def propose(self, sequence: object, count: int) -> Sequence[int]:
        """What comes next in it."""
        begin = len(sequence.generated)
        return self.text[begin : begin + count]


@dataclass(frozen=True)
class Case:
    """A text to be made, and how guesses for it are turned on."""

    name: str
    session: Session
    request: Request
    guess: Callable[[], None]


def main() -> None:
    """Print the table of a model."""
    options = parse()
    cases = default_cases if options.model == "default" else random_cases
    print(f"### speculation, model {options.model}, rounds {options.rounds}\n")
    head = ["", "tokens/s without", "with", f"times as fast: median of {options.rounds} pairs"]
    head += ["lowest to highest", "guessed", "right"]
    asked = (case for case in cases(options) if options.only in case.name)
    print(table(head, [row_of(case, options.rounds) for case in asked]))
    print(f"\n{machine(options.threads)}.")


def row_of(case: Case, rounds: int) -> list[str]:
    """A case's row, after a round to get warm."""
    tell(case.name)
    ratios: list[float] = []
    rates: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        case.session.speculate()
        text, plain = timed(case)
        case.guess()
        again, guessing = timed(case)
        assert text == again, f"{case.name}: guesses change the text"
        if number:
            ratios.append(plain.decode_s / guessing.decode_s)
            for rate, timings in zip(rates, (plain, guessing), strict=True):
                rate.append(len(text) / timings.decode_s)
            tell(f"  {ratios[-1]:.3f}")
    speeds = [f"{median(rate):,.1f}" for rate in rates]
    return [case.name, *speeds, *spread(ratios), str(guessing.guessed), str(guessing.right)]


def timed(case: Case) -> tuple[list[int], object]:
    """The text and its timings."""
    generation = case.session.generate(case.request)
    return [token.id for token in generation], generation.timings


def told(session: Session, request: Request) -> list[Case]:
    """The most to win and to lose with a text."""
    session.speculate()
    text = [token.id for token in session.generate(request)]
    wrong = [(id + 1) % session.spec.vocab for id in text]

    def tell_it(guess: Sequence[int]) -> None:
        session.speculate(lookup=LOOKUP)  # for the price and all that goes with it
        known = session.guessing
        session.guessing = Guessing((Way(lambda: Told(guess), LOOKUP),), known.price, known.apart)

    pairs = (("told right", text), ("told wrong", wrong))
    return [Case(name, session, request, partial(tell_it, guess)) for name, guess in pairs]


def default_cases(options: argparse.Namespace) -> list[Case]:
    """Cases of the model that ships: prose."""
    session = Session.load(checkpoint("default", options.folder), threads=options.threads)

    def request(text: str, sampling: Sampling) -> Request:
        assert session.tokenizer is not None
        return Request(tuple(session.tokenizer.encode(text)), options.tokens, sampling, Stop())

    greedy, hot = Sampling(), Sampling(temperature=0.8, seed=1)
    texts = {
        "greedy, goes in circles": request("The old lighthouse", greedy),
        "greedy, a tale told twice": request(TALE * 2 + TALE[: len(TALE) // 3], greedy),
        "sampled prose": request("The old lighthouse", hot),
    }
    lookup = partial(session.speculate, LOOKUP)
    cases = [Case(f"lookup: {name}", session, one, lookup) for name, one in texts.items()]
    return [*cases, *told(session, texts["sampled prose"])]


TALE = (
    "A small fox lived in a forest. The fox had a red scarf. One day the fox met an owl. "
    '"Where do you go?" asked the owl. "I go to the river," said the fox. They went to the river '
    "together and saw a boat. The boat was blue and old, and in it sat a frog with a drum. "
)


def random_cases(options: argparse.Namespace) -> Iterator[Case]:
    """Cases of a random shape."""
    source = random.Random(0)
    folder = checkpoint(options.model, options.folder, options.dtype)
    session = Session.load(folder, threads=options.threads)
    draft = Session.load(checkpoint("draft", options.folder, options.dtype))
    prompt = tuple(source.randrange(session.spec.vocab) for _ in range(128))
    request = Request(prompt, options.tokens, Sampling(), Stop())
    lookup = partial(session.speculate, LOOKUP)
    yield Case("lookup: random text", session, request, lookup)
    if draft.spec.vocab == session.spec.vocab:
        ask = partial(session.speculate, draft=draft)
        yield Case("a draft model that is never right", session, request, ask)
    yield from told(session, request)
    if options.only in "lookup: copying":
        del session, lookup
        yield copying(folder, options)


def copying(folder: Path, options: argparse.Namespace) -> Case:
    """The same weights with narrow windows, in float32, where a copy is one to the last digit."""
    narrow = folder.with_name(f"{folder.name}-window-{WINDOW}")
    narrow.mkdir(exist_ok=True)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {"architectures": ["MistralForCausalLM"], "model_type": "mistral"}
    config["sliding_window"] = WINDOW
    (narrow / "config.json").write_text(json.dumps(config), "utf-8")
    if not (narrow / "model.safetensors").exists():
        (narrow / "model.safetensors").symlink_to(folder / "model.safetensors")
    session = Session.load(narrow, dtype="float32", threads=options.threads)
    seen = session.spec.layers
    begin = tuple(random.Random(1).randrange(session.spec.vocab) for _ in range(len(seen) * WINDOW))
    first = session.generate(Request(begin, options.tokens, Sampling(), Stop()))
    passage = tuple(token.id for token in first)
    request = Request((*begin, *passage, *begin), options.tokens, Sampling(), Stop())
    return Case("lookup: copying", session, request, partial(session.speculate, LOOKUP))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=Verbatim)
    parser.add_argument("--model", default="default", help="default, or a shape")
    parser.add_argument("--rounds", type=int, default=5, help="that count")
    parser.add_argument("--tokens", type=int, default=200, help="of each text")
    parser.add_argument("--threads", type=int, default=None, help="torch's")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases with this in their name")
    add_options(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
