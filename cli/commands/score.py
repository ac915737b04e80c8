"""`lmtool score`: how likely a line is, or which of several choices."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from ... import InputError, UsageError
from ..answers import as_json
from ..evaluate_options import Bos, Special
from ..evaluating import tokenizer_of
from ..model_options import ReadingModel
from ..opening import open_session
from ..option_groups import TalkOptions
from ..options import open_terminal
from ..sink import Sink, open_sink
from ..sources import Source
from ..token_options import BosWhen, SpecialAs
from ..unfold import unfold

if TYPE_CHECKING:
    from ...engine.score import Passage
    from ...engine.session import Session
    from ...tokenizer.tokenizer import Tokenizer

EPILOG = """A line of output is the log-probability in nats, a tab, how many tokens it is the sum
of, a tab, and the line. A line without a token that another stands before has `-` for it.

Examples:

lmtool score < sentences.txt | sort -g | tail -n 1

lmtool score -p "The fox jumped over the" --choice " dog" --choice " moon"
"""


@dataclass(frozen=True)
class ScoreOptions:
    """What to score."""

    panel: ClassVar[str] = "Texts"

    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Files of lines. Default: stdin."),
    ] = None
    prompt: Annotated[
        str | None,
        typer.Option(
            *("-p", "--prompt"),
            metavar="TEXT",
            help="What stands before every line or choice, and is not scored.",
            show_default=False,
        ),
    ] = None
    choice: Annotated[
        list[str] | None,
        typer.Option(
            *("--choice", "--choices"),
            metavar="TEXT",
            help="Rank these as continuations of the prompt, the likeliest first (repeatable).",
            show_default=False,
        ),
    ] = None
    bos: Bos = BosWhen.auto
    special: Special = SpecialAs.text
    json: Annotated[
        bool, typer.Option("--json", help="A JSON object a line.", show_default=False)
    ] = False
    output: Annotated[
        Path | None,
        typer.Option(
            *("-o", "--output"), metavar="FILE", help="Write to a file.", show_default=False
        ),
    ] = None


@unfold
def score(options: ScoreOptions, model: ReadingModel, talk: TalkOptions) -> int:
    """Print how likely each line of text is to a model, or rank choices for a prompt.

    Every line is foretold by itself, or behind the prompt: the more tokens, the less likely.
    """
    terminal = open_terminal(talk.quiet, talk.verbose, talk.color)
    if options.choice and options.files:
        raise UsageError("--choice and files exclude each other", hint="give one of them")
    lines: Iterator[str] = iter(options.choice or ())
    if not options.choice:
        lines = Source(terminal, options.files).lines()
    session = open_session(model, terminal)
    found = _scored(session, lines, options)
    with open_sink(options.output, terminal) as sink:
        if options.choice:
            _rank(list(found), options, sink)
        else:
            for one in found:
                sink.write(one.as_json() if options.json else one.as_line())
    return 0


@dataclass(frozen=True)
class Scored:
    """A line and the losses of its tokens, in nats."""

    text: str
    losses: list[float]

    @property
    def logprob(self) -> float | None:
        """The logarithm of its probability; None if it has no token to foretell."""
        return -math.fsum(self.losses) if self.losses else None

    def as_line(self) -> str:
        """Log-probability, tokens and text between tabs."""
        shown = "-" if self.logprob is None else f"{self.logprob:.4f}"
        return f"{shown}\t{len(self.losses)}\t{self.text}\n"

    def as_json(self, **more: float) -> str:
        """A JSON object with the log-probability of each token."""
        mean = None if self.logprob is None else self.logprob / len(self.losses)
        found = {
            "text": self.text,
            "logprob": self.logprob,
            "tokens": len(self.losses),
            "logprob_per_token": mean,
            "token_logprobs": [-loss for loss in self.losses],
        }
        return as_json(found | more) + "\n"


def _scored(session: Session, lines: Iterator[str], options: ScoreOptions) -> Iterator[Scored]:
    """The lines with their losses, in order, as many run together as make a step."""
    from ...engine.score import losses

    tokenizer = tokenizer_of(session)
    before = options.prompt or ""
    if options.choice and not before and not tokenizer.put_bos([], options.bos.value):
        raise InputError("choices need a prompt to follow", hint="-p gives it")
    waiting: deque[str] = deque()

    def passages() -> Iterator[Passage]:
        for number, line in enumerate(lines, 1):
            waiting.append(line)
            passage = _passage(tokenizer, before, line, options)
            if len(passage.ids) > session.context:
                raise InputError(
                    f"line {number} has {len(passage.ids):,} tokens, and the context "
                    f"{session.context:,}",
                    hint="-c makes it longer, if the model can do it; `lmtool evaluate` takes "
                    "texts of any length",
                )
            yield passage

    for values in losses(session, passages()):
        yield Scored(waiting.popleft(), values)


def _passage(tokenizer: Tokenizer, before: str, line: str, options: ScoreOptions) -> Passage:
    """The ids of a line behind the prompt; those are scored that the prompt alone doesn't have."""
    from ...engine.score import Passage

    bos, special = options.bos.value, options.special.value
    prompt = tokenizer.encode(before, bos=bos, special=special)
    ids = tokenizer.encode(before + line, bos=bos, special=special) if before or line else prompt
    same = 0
    for ours, its in zip(prompt, ids, strict=False):
        if ours != its:
            break
        same += 1
    return Passage(ids, max(1, same))


def _rank(found: list[Scored], options: ScoreOptions, sink: Sink) -> None:
    """The likeliest first, with its share of the probability of all choices."""
    best = max((one.logprob for one in found if one.logprob is not None), default=0.0)
    weights = {
        id(one): 0.0 if one.logprob is None else math.exp(one.logprob - best) for one in found
    }
    total = sum(weights.values()) or 1.0
    for one in sorted(found, key=lambda one: -weights[id(one)]):
        share = weights[id(one)] / total
        if options.json:
            sink.write(one.as_json(share=share))
        else:
            shown = "-" if one.logprob is None else f"{one.logprob:.4f}"
            sink.write(f"{share:.4f}\t{shown}\t{len(one.losses)}\t{one.text}\n")
