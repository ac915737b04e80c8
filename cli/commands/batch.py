"""`lmtool batch`: a file of rows in, an answer a row out, to be gone on with after anything."""

from __future__ import annotations

from datetime import datetime

from ... import UsageError
from ..batch.asking import Asking, read_template
from ..batch.job import Counts, Files, Job, describe
from ..batch.log import open_log
from ..batch.options import (
    AnswerSettings,
    BatchPrompt,
    BatchSampling,
    BatchStops,
    ResultOptions,
    RowOptions,
)
from ..batch.row_settings import RowSettings
from ..batch.rows import Input
from ..batch.running import Running
from ..batch.talk import tell_done
from ..chat_options import ChatPromptOptions
from ..constraint_options import ConstraintSettings
from ..exits import Exit
from ..generation_talk import tell_caveats
from ..model_options import GuessSettings, ModelSettings
from ..opening import open_draft, open_session
from ..option_groups import TalkOptions
from ..options import open_terminal
from ..signals import stoppable
from ..sources import check_files, say_if_typing
from ..unfold import unfold

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
    talk: TalkOptions,
) -> int:
    """Answer a file of prompts, a JSON object a row, and go on after whatever stopped it."""
    terminal = open_terminal(talk.quiet, talk.verbose, talk.color)
    if result.output is None:
        raise UsageError("no file for the answers", hint="-o names it")
    source = Input.of(rows.input, rows.input_format.value)
    files = Files(result.output)
    files.check(source)
    chat.check(prompt)
    settings = RowSettings(sampling, stops, constraints, prompt, chat, answer)
    settings.stops.texts(prompt.escape)
    settings.grammar()
    template = rows.template.value
    if template is not None:
        template = read_template(template, prompt.escape)
    check_files([source.path], None)
    with open_log(files.partial, files.output) as log:
        if not source.lasting:
            say_if_typing(terminal, "rows")
        scan = source.scan() if source.lasting else None
        session = open_session(model, terminal)
        open_draft(session, model, guess, terminal)
        chosen = settings.seeded(b"").completed(session.defaults)
        tell_caveats(terminal, session, sampling, chosen.sampling)
        about = describe(session, chosen, template, rows.no_row_settings.value)
        job = Job(files, log, about, scan)
        done = None if result.fresh else job.done()
        if done is not None and not (result.retry_errors and done.failed):
            tell_done(terminal, files.output, done)
            return _code(done)
        began = job.take_up(result.fresh, result.retry_errors, datetime.now().isoformat())
        asking = Asking(
            session,
            settings,
            template,
            not rows.no_row_settings.value,
            datetime.fromisoformat(began),
        )
        with stoppable("SIGTERM", "SIGHUP") as stopping:
            stopping.at_once = False
            running = Running(session, job, asking, stopping)
            try:
                asking.check()
                for _ in running.run(source.rows()):
                    pass
            finally:
                asking.close()
        counts = job.finish(not result.unordered)
    tell_done(terminal, files.output, counts, running.tally)
    return _code(counts)


def _code(counts: Counts) -> int:
    return Exit.FAILED_ROWS if counts.failed else Exit.DONE
