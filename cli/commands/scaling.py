"""`lmtool scaling`: how loss falls with size over a family of models."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from ... import UsageError
from ..answers import as_json
from ..evaluate_options import Operands, WindowSettings
from ..model_options import ReadingModel
from ..option_groups import TalkOptions
from ..options import open_terminal
from ..scaling_fitting import study_of_csv, study_of_models
from ..scaling_options import LawSettings, ScalingReport
from ..scaling_points import write_points
from ..scaling_study import DOUBTS, Study
from ..sink import Sink, open_sink
from ..terminal import Terminal
from ..unfold import unfold

EPILOG = """Examples:

lmtool scaling ./family/* valid.txt --svg law.svg

lmtool scaling ./family/* valid.txt --predict 50M --json

lmtool scaling --csv runs.csv --predict 70B:1.4T"""


@unfold
def scaling(
    texts: Operands,
    law: LawSettings,
    windows: WindowSettings,
    report: ScalingReport,
    model: ReadingModel,
    talk: TalkOptions,
) -> int:
    """Fit the law of size to a family of models: L = E + A / N^alpha, with intervals.

    Each model's loss on the text is measured, the law is fitted and drawn, and each size is left
    out once to see how well the others foretell it. Takes 4 sizes or more.
    """
    terminal = open_terminal(talk.quiet, talk.verbose, talk.color)
    report.check()
    if law.csv is not None:
        _refuse_models(texts, model)
    with ExitStack() as open:
        sinks = [
            None if path is None and number else open.enter_context(open_sink(path, terminal))
            for number, path in enumerate((report.output, report.svg, report.points))
        ]
        if law.csv is not None:
            study = study_of_csv(law.csv, law, terminal)
        else:
            study = study_of_models(texts, law, windows, model, terminal)
        _write(study, report, sinks, terminal)
    return 0


def _write(
    study: Study, report: ScalingReport, sinks: Sequence[Sink | None], terminal: Terminal
) -> None:
    result, svg, points = sinks
    for doubt in study.doubts if report.json else ():
        terminal.warn(DOUBTS[doubt])
    if result is not None and report.json:
        result.write(as_json(study.as_json()) + "\n")
    elif result is not None:
        from ..scaling_report import as_report

        plain = report.output is not None or terminal.stdout is None
        painted = not plain and terminal.stdout is not None and terminal.paints(terminal.stdout)
        result.write(as_report(study, colour=painted))
    if svg is not None:
        from ..scaling_figure import draw_figure

        svg.write(draw_figure(study.picture()))
    if points is not None:
        for line in write_points(study.points):
            points.write(line)


def _refuse_models(texts: Operands, model: ReadingModel) -> None:
    named = [*(texts.operands or ()), *map(str, texts.file or ())]
    if model.model.source == "command line":
        named.append(model.model.value)
    if named:
        raise UsageError(
            f"--csv has the points already: `{named[0]}` isn't measured", hint="leave one out"
        )
