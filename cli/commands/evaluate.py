"""`lmtool evaluate`: how well models foretell texts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from ..answers import as_json
from ..confidence import colours
from ..evaluate_options import EvaluateReport, Operands, WindowSettings, models_to_run
from ..evaluate_report import as_table
from ..evaluating import Result, each_heat, evaluate_texts, rereadable, warn_of_tokenizers
from ..heat_page import PAGE, draw_page
from ..heat_report import SHOWN, draw_heat
from ..model_options import ReadingModel
from ..opening import open_session
from ..option_groups import TalkOptions
from ..options import open_terminal
from ..sink import STDOUT, Sink, open_sink
from ..terminal import Terminal
from ..unfold import unfold

EPILOG = """Examples:

lmtool evaluate story.txt

lmtool evaluate story.txt --heat --html heat.html

lmtool evaluate ./small ./large valid-*.txt --doc-separator '<|endoftext|>'

cat text.txt | lmtool evaluate -m ./checkpoint --window 512 --stride 256 --json"""


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
    report.check()
    wanted = models_to_run(texts.models, model)
    with ExitStack() as open:
        sink = open.enter_context(open_sink(report.output, terminal))
        page = None if report.html is None else open.enter_context(open_sink(report.html, terminal))
        paths = open.enter_context(rereadable(texts.texts, len(wanted), terminal))
        room = max(1, PAGE // (len(wanted) * len(paths))) if page is not None else 0
        kept = max(room, SHOWN if report.heat else 0)
        results: list[Result] = []
        for settings in wanted:
            session = open_session(settings, terminal)
            window = windows.chosen(session.context)
            results.append(evaluate_texts(session, paths, texts, window, terminal, kept))
            del session  # before the next one takes its memory
        warn_of_tokenizers(results, terminal)
        _write(results, report, sink, terminal)
        if page is not None:
            lines = [line for result in results for line in result.lines()]
            for part in draw_page(lines, list(each_heat(results)), room):
                page.write(part)
    if report.html is not None and str(report.html) not in STDOUT:
        terminal.note(f"written: {report.html}")
    return 0


def _write(
    results: Sequence[Result], report: EvaluateReport, sink: Sink, terminal: Terminal
) -> None:
    """The figures, and where the loss sits if that was asked for."""
    if report.json:
        for result in results:
            sink.write(as_json(result.as_json()) + "\n")
        return
    lines = [line for result in results for line in result.lines()]
    sink.write(as_table(lines, with_model=len(results) > 1))
    if report.heat:
        colour = colours(terminal, report.output)
        for line, heat in each_heat(results):
            sink.write(draw_heat(line, heat, colour))
