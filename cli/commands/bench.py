"""`lmtool bench`: how fast a model reads and writes here, beside what the machine could do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ... import OutOfMemoryError
from ..bench_options import HeldSettings, PointSettings, ReportOptions, varying
from ..bench_report import (
    ReportWriter,
    Row,
    ceiling_in_words,
    columns,
    machine_in_words,
    model_in_words,
    open_report,
)
from ..exits import Exit
from ..model_options import ModelSettings, WhichModel
from ..opening import open_session
from ..option_groups import TalkOptions
from ..options import open_terminal
from ..progress import StatusLine
from ..signals import arrived
from ..sink import Sink, open_sink
from ..terminal import ClosedPipeError, StdoutError, Terminal
from ..unfold import unfold

if TYPE_CHECKING:
    from ...engine.bench import Point, Subject

EPILOG = """Numbers may be lists and ranges: 512, or 1,2,4, or 0-8192+2048, or 128-1024*2. Every
combination is measured.

Examples:

lmtool bench

lmtool bench -m ./checkpoint -p 0 -n 64 -d 0-8192+2048 --json

lmtool bench -m ./checkpoint -t 1,2,4 -b 1-16*2 --format csv -o speed.csv"""


@unfold
def bench(
    model: WhichModel,
    held: HeldSettings,
    points: PointSettings,
    report: ReportOptions,
    talk: TalkOptions,
) -> int:
    """Measure how fast a model reads prompts and writes tokens on this machine.

    Rates stand beside what the machine could do: memory's bandwidth and a large product's rate,
    measured in the same run.
    """
    terminal = open_terminal(talk.quiet, talk.verbose, talk.color)
    format = report.chosen()
    points.refuse_nothing()
    with open_sink(report.output, terminal) as sink:
        return _Job(held, points, report, format, sink, terminal).run(list(held.each(model)))


@dataclass
class _Job:
    """Opens each form of the model, measures its points, and writes rows as they come."""

    held: HeldSettings
    settings: PointSettings
    report: ReportOptions
    format: str
    sink: Sink
    terminal: Terminal
    writer: ReportWriter | None = None
    code: Exit = Exit.DONE
    status: StatusLine = field(init=False)

    def __post_init__(self) -> None:
        self.status = StatusLine(self.terminal)

    def run(self, forms: Sequence[ModelSettings]) -> int:
        """The exit code, once all is measured; what is measured is written whatever comes."""
        try:
            for form in forms:
                try:
                    self._measure(form)
                except OutOfMemoryError as error:
                    self._lacks_memory(error)
        except (ClosedPipeError, StdoutError):
            raise
        except BaseException:
            arrived()
            self._end()
            raise
        self._end()
        return self.code

    def _measure(self, form: ModelSettings) -> None:
        """Every point of one form of the model."""
        self.status.show(f"loading {form.model.value}")
        session = open_session(form, self.terminal)
        from ...engine.bench import Subject, check_room, run

        points = self.settings.points(session.context)
        check_room(points, session.context)
        subject = Subject.of(session)
        self._begin(subject, points)
        seed, repeats = self.settings.seed.value, self.settings.repeats.value
        places = iter(range(1, len(points) + 1))

        def watch(point: Point, repeat: int) -> None:
            nonlocal place
            place = next(places) if repeat == 0 else place
            what = f"repeat {repeat} of {repeats}" if repeat else "getting warm"
            self.status.show(f"point {place} of {len(points)}, {what}: {point}")

        place, ceiling = 0, None
        for result in run(session, points, repeats, seed, watch):
            self.status.clear()
            assert self.writer is not None
            self.writer.add(Row(subject, result, seed))
            if result.error is not None:
                self._lacks_memory(result.error)
            ceiling = result.ceiling or ceiling
        if ceiling is not None:
            self.terminal.note(f"100% is {ceiling_in_words(ceiling)}")

    def _begin(self, subject: Subject, points: Sequence[Point]) -> None:
        """Say what is measured, and begin the report if it isn't yet."""
        self.status.clear()
        self.terminal.note(model_in_words(subject))
        if self.writer is not None:
            return
        self.terminal.note(machine_in_words(subject))
        changing = varying(self.held, self.settings)
        terminal, to_file = self.terminal, self.report.output is not None
        bold = not to_file and terminal.stdout is not None and terminal.paints(terminal.stdout)
        table = columns(changing, points)
        about = f"{model_in_words(subject)}; {machine_in_words(subject)}"
        self.writer = open_report(self.format, self.sink, table, about, bold)
        self.writer.begin()

    def _lacks_memory(self, error: OutOfMemoryError) -> None:
        """Say so, and go on with what may need less."""
        self.status.clear()
        self.terminal.error(error.message, error.hint)
        self.code = Exit.MEMORY

    def _end(self) -> None:
        self.status.clear()
        if self.writer is not None:
            self.writer.end()
