"""`lmtool batch`: a file of rows in, an answer a row out, to be gone on with after anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ... import UsageError
from ..batch.asking import read_template
from ..batch.job import Files
from ..batch.options import (
    AnswerSettings,
    BatchEffort,
    BatchPrompt,
    BatchSampling,
    BatchStops,
    ClusterOptions,
    ResultOptions,
    RowOptions,
)
from ..batch.order import Order
from ..batch.row_settings import RowSettings
from ..batch.rows import Input
from ..batch.work import fulfil
from ..chat_options import ChatPromptOptions
from ..constraint_options import ConstraintSettings
from ..exits import Exit
from ..model_options import GuessSettings, ModelSettings
from ..opening import open_draft, open_session
from ..option_groups import TalkOptions
from ..options import open_terminal
from ..unfold import unfold

if TYPE_CHECKING:
    from ...engine.session import Session

EPILOG = """Examples:

lmtool batch questions.jsonl -o answers.jsonl

lmtool batch reviews.csv -o out.jsonl --template 'Sum up: {{ review }}' --chat -n 60

A row is an object with a `prompt` or `messages`. Fields that are named as settings (seed, temp,
max_tokens, stop, json_schema) are this row's settings; all others are carried along. A bad row is
an error row, and the exit code 6. Whatever stops it, the same command goes on."""


@unfold
def batch(
    rows: RowOptions,
    result: ResultOptions,
    answer: AnswerSettings,
    prompt: BatchPrompt,
    chat: ChatPromptOptions,
    model: ModelSettings,
    sampling: BatchSampling,
    stops: BatchStops,
    constraints: ConstraintSettings,
    guess: GuessSettings,
    effort: BatchEffort,
    cluster: ClusterOptions,
    talk: TalkOptions,
) -> int:
    """Answer a file of prompts, a JSON object a row, and go on after whatever stopped it."""
    terminal = open_terminal(talk.quiet, talk.verbose, talk.color)
    if result.output is None:
        raise UsageError("no file for the answers", hint="-o names it")
    chat.check(prompt)
    settings = RowSettings(sampling, stops, constraints, prompt, chat, answer)
    stops.texts(prompt.escape)
    settings.grammar()
    cluster.check()
    _ = effort.memory  # what is no size is told before anything is opened
    template = rows.template.value
    order = Order(
        source=Input.of(rows.input, rows.input_format.value),
        files=Files(result.output, result.timings),
        settings=settings,
        template=None if template is None else read_template(template, prompt.escape),
        by_rows=not rows.no_row_settings.value,
        ordered=not result.unordered,
        fresh=result.fresh,
        retry_errors=result.retry_errors,
        effort=effort,
        model=model,
        guess=guess,
        cluster=cluster,
    )

    def opened() -> Session:
        session = open_session(model, terminal)
        open_draft(session, model, guess, terminal)
        return session

    counts = fulfil(order, opened, terminal)
    return Exit.FAILED_ROWS if counts.failed else Exit.DONE
