"""`lmtool compare`: tokenizers side by side on a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from json import dumps
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from ... import LmtoolError, ModelError, UsageError
from ..completion import complete_model
from ..corpus_options import Errors, ErrorsHow, TextField, tell_faults
from ..options import Color, ColorWhen, Debug, Quiet, Verbose, open_terminal
from ..progress import StatusLine, megabytes
from ..sink import open_sink
from ..terminal import Terminal
from ..token_options import Offline, SpecialAs, SpecialOption, open_tokenizer

if TYPE_CHECKING:
    from ...tokenizer.tokenizer import Tokenizer
    from ..comparison_report import Report

EPILOG = """What stands before `--` are tokenizers, what stands behind it are files.

Examples:

lmtool compare default ./mine -- *.txt

lmtool compare ./mine ./other --by language --svg bars.svg -- udhr/

git diff | lmtool compare default org/model --json"""

_FILES = "lmtool.files"


class CompareCommand(TyperCommand):
    """What stands behind `--` are files, as if each had -f before it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line. Raises `UsageError` for `--` with nothing behind it."""
        if "--" in args:
            at = args.index("--")
            files = args[at + 1 :]
            ctx.meta[_FILES] = True
            if not files and not ctx.resilient_parsing:
                raise UsageError(
                    "no files behind `--`", hint="name some, or leave `--` out to read stdin"
                )
            args = [*args[:at], *(f"--file={file}" for file in files)]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What stands in the first line of the help page."""
        return ["[OPTIONS]", "TOKENIZER...", "[-- FILE...]"]


COMMAND_CLASS = CompareCommand


class By(str, Enum):
    """What the text is parted by."""

    file = "file"
    folder = "folder"
    language = "language"
    script = "script"


class Format(str, Enum):
    """How the result is written."""

    text = "text"
    json = "json"
    csv = "csv"
    markdown = "markdown"


def _complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    return [] if ctx.meta.get(_FILES) else complete_model(incomplete)


def compare(
    tokenizers: Annotated[
        list[str],
        typer.Argument(
            metavar="TOKENIZER",
            autocompletion=_complete,
            help="Checkpoint folders, tokenizers' files, repository ids, `default`.",
        ),
    ],
    file: Annotated[
        list[Path] | None,
        typer.Option(
            *("-f", "--file"),
            help="Text, or a folder of it: as behind `--`. Default: stdin.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        By, typer.Option(help="Part the text by file, folder, language (by name) or script.")
    ] = By.file,
    format: Annotated[
        Format, typer.Option("--format", help="How to write it: text, json, csv or markdown.")
    ] = Format.text,
    json: Annotated[
        bool, typer.Option("--json", help="The same as --format json.", show_default=False)
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write to a file, whole or not at all."),
    ] = None,
    svg: Annotated[
        Path | None,
        typer.Option("--svg", metavar="FILE", help="Draw bytes a token as bars into an SVG file."),
    ] = None,
    sample_bytes: Annotated[
        int | None,
        typer.Option(min=1, help="Take about this many bytes, spread over all of the text."),
    ] = None,
    errors: Errors = ErrorsHow.strict,
    text_field: TextField = "text",
    special: SpecialOption = SpecialAs.text,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = ColorWhen.auto,
    debug: Debug = False,
) -> None:
    """Set tokenizers side by side on text: size, cost, words, vocabularies, what comes back."""
    terminal = open_terminal(quiet, verbose, color)
    if json and format not in (Format.text, Format.json):
        raise UsageError(f"--json and --format {format.value} exclude each other")
    if svg is not None:
        _check_target(svg)
    asked = _Asked(file or [], by, special, errors, sample_bytes, text_field)
    paths = asked.paths()
    opened = [_open(name, offline, terminal, bool(file)) for name in tokenizers]
    report = _report(terminal, opened, tokenizers, paths, asked)
    bold = output is None and terminal.stdout is not None and terminal.paints(terminal.stdout)
    with open_sink(output, terminal) as sink:
        sink.write(_written(report, Format.json if json else format, bold))
    if svg is not None:
        from ...tokenizer.files import replacing

        with replacing(svg) as stream:
            stream.write(report.chart().encode())
        terminal.note(f"written: {svg}")


@dataclass(frozen=True)
class _Asked:
    """What the options say of the text."""

    files: Sequence[Path]
    by: By
    special: SpecialAs
    errors: ErrorsHow
    sample_bytes: int | None
    text_field: str

    def paths(self) -> tuple[Path, ...]:
        """The files. Raises `InputError` for what isn't there, `UsageError` for stdin twice."""
        from ...tokenizer.corpus import STDIN, find_files

        paths = find_files(self.files or [STDIN])
        if paths.count(STDIN) > 1:
            raise UsageError("stdin can be read only once: `-` is named twice")
        return paths


def _check_target(path: Path) -> None:
    """Say now what would go wrong after minutes of work."""
    if path.is_dir():
        raise LmtoolError(f"cannot write `{path}`: it is a folder")
    if not path.resolve().parent.is_dir():
        raise LmtoolError(f"cannot write `{path}`: no such folder: `{path.parent}`")


def _open(name: str, offline: bool, terminal: Terminal, has_files: bool) -> Tokenizer:
    """A tokenizer by name. What fails may be a text that lacks its `--`, and the error says so."""
    try:
        return open_tokenizer(name, offline, terminal)
    except ModelError as error:
        if not has_files and Path(name).is_file() and Path(name).suffix != ".json":
            hint = f"if it is text, put it behind `--`: `lmtool compare TOKENIZER -- {name}`"
            raise ModelError(error.message, hint) from error
        raise


def _report(
    terminal: Terminal,
    opened: Sequence[Tokenizer],
    sources: Sequence[str],
    paths: Sequence[Path],
    asked: _Asked,
) -> Report:
    """Read the text, and count."""
    from ...tokenizer.comparison import compare as compare_tokenizers
    from ...tokenizer.corpus import STDIN
    from ...tokenizer.grouping import added_up, grouped
    from ..comparison_report import Report, distinct_names
    from ..sources import say_if_typing

    if STDIN in paths:
        say_if_typing(terminal, "text")
    status = StatusLine(terminal)
    try:
        comparison = compare_tokenizers(
            opened,
            paths,
            special=asked.special.value,
            errors=asked.errors.value,
            text_field=asked.text_field,
            sample_bytes=asked.sample_bytes,
            on_read=_progress(status, paths),
        )
    finally:
        status.clear()
    tell_faults(terminal, comparison.files, asked.errors)
    if not any(cell.bytes for cell in comparison.cells):
        terminal.warn("there is no text to compare on")
    groups = grouped(comparison.cells, comparison.paths, asked.by.value, len(opened))
    total = added_up("total", comparison.cells, len(opened))
    names = distinct_names(sources)
    return Report(comparison, names, sources, asked.by.value, groups, total)


def _progress(status: StatusLine, paths: Sequence[Path]) -> Callable[[int], None]:
    """Shows how much has been read, a few times a second."""
    files = [path for path in paths if path.is_file()]
    size = sum(path.stat().st_size for path in files) if len(files) == len(paths) else None
    total = "" if size is None else f" of {megabytes(size)}"
    read, shown = 0, monotonic()

    def show(count: int) -> None:
        nonlocal read, shown
        read += count
        if monotonic() - shown > 0.2:
            shown = monotonic()
            status.show(f"read: {megabytes(read)}{total}")

    return show


def _written(report: Report, format: Format, bold: bool) -> str:
    from ..comparison_tables import write_markdown, write_text

    if format is Format.json:
        return dumps(report.json(), ensure_ascii=False) + "\n"
    if format is Format.csv:
        return report.csv()
    return write_markdown(report) if format is Format.markdown else write_text(report, bold)
