"""`lmtool evaluate`: how well models foretell texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from ... import UsageError
from ..answers import as_json
from ..confidence import colours
from ..evaluate_options import Operands, WindowSettings, models_to_run
from ..evaluate_report import as_table
from ..evaluating import Result, each_heat, evaluate_texts, rereadable, warn_of_tokenizers
from ..heat_report import SHOWN, draw_heat
from ..model_options import ReadingModel
from ..opening import open_session
from ..option_groups import TalkOptions
from ..options import open_terminal
from ..sink import open_sink
from ..unfold import unfold

EPILOG = """Examples:

lmtool evaluate story.txt

lmtool evaluate story.txt --heat

lmtool evaluate ./small ./large valid-*.txt --doc-separator '<|endoftext|>'

cat text.txt | lmtool evaluate -m ./checkpoint --window 512 --stride 256 --json"""


@dataclass(frozen=True)
class EvaluateReport:
    """Where the figures go."""

    panel: ClassVar[str] = "Output"

    json: Annotated[
        bool,
        typer.Option("--json", help="One JSON object a line, a model each.", show_default=False),
    ] = False
    output: Annotated[
        Path | None,
        typer.Option(
            *("-o", "--output"), metavar="FILE", help="Write to a file.", show_default=False
        ),
    ] = None
    heat: Annotated[
        bool,
        typer.Option(
            "--heat",
            help="Show the text itself as well, each token as hot as it was dear, and the dearest "
            "words.",
            show_default=False,
        ),
    ] = False

    def kept(self) -> int:
        """How many tokens of each text are kept for what is shown of it. Raises `UsageError`."""
        if self.heat and self.json:
            raise UsageError("--heat and --json exclude each other", hint="`score --json` gives "
                             "the log-probability of each token of a line")  # fmt: skip
        return SHOWN if self.heat else 0


@unfold
def evaluate(
    texts: Operands,
    windows: WindowSettings,
    report: EvaluateReport,
    model: ReadingModel,
    talk: TalkOptions,
) -> int:
    """Measure how well models foretell texts: loss, perplexity, bits per byte.

    The text goes through in overlapping windows, so its length doesn't matter. Errors are standard
    errors; models with different tokenizers are comparable by bits per byte alone.
    """
    terminal = open_terminal(talk.quiet, talk.verbose, talk.color)
    wanted = models_to_run(texts.models, model)
    kept = report.kept()
    with rereadable(texts.texts, len(wanted), terminal) as paths:
        results: list[Result] = []
        for settings in wanted:
            session = open_session(settings, terminal)
            window = windows.chosen(session.context)
            results.append(evaluate_texts(session, paths, texts, window, terminal, kept))
            del session  # before the next one takes its memory
    warn_of_tokenizers(results, terminal)
    with open_sink(report.output, terminal) as sink:
        if report.json:
            for result in results:
                sink.write(as_json(result.as_json()) + "\n")
        else:
            lines = [line for result in results for line in result.lines()]
            sink.write(as_table(lines, with_model=len(results) > 1))
        if report.heat:
            colour = colours(terminal, report.output)
            for line, heat in each_heat(results):
                sink.write(draw_heat(line, heat, colour))
    return 0
