"""`lmtool generate`: a prompt in, its continuation out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ... import UsageError
from ..ablation_options import AblationSettings
from ..answering import Answering
from ..answers import Answer, Describer, JsonWriter, Prompt, TextWriter, Writer
from ..chat_options import ChatOptions
from ..confidence import colours, tell_legend
from ..constraint_options import ConstraintSettings
from ..encoding import fitted_prompt
from ..exits import Exit
from ..generation_talk import (
    tell_caveats,
    tell_cut,
    tell_logprobs,
    tell_outcome,
    tell_settings,
    tell_shifts,
    tell_timings,
)
from ..logit_bias import bias_in_words
from ..model_options import GuessSettings, ModelSettings
from ..opening import open_draft, open_session
from ..option_groups import (
    OutputOptions,
    PromptOptions,
    StopSettings,
    TalkOptions,
)
from ..options import open_terminal
from ..prompt import argument_text, open_prompt
from ..prompt_cache_options import PromptCacheSettings, tell_prompt_cache
from ..requesting import make_request, token_text
from ..sampling_options import SamplingSettings
from ..settings import Setting, listed
from ..shown_prompt import show_prompt
from ..signals import time_limit
from ..sink import Sink, open_sink
from ..terminal import Terminal
from ..unfold import unfold

if TYPE_CHECKING:
    from ...engine.generation import Generation
    from ...engine.session import Session

EPILOG = """Examples:

lmtool generate "Once upon a time"

echo "The old lighthouse" | lmtool generate -n 40 | tee out.txt

lmtool generate -m ./checkpoint -f prompt.txt --temp 0.8 --samples 3 --json

lmtool generate -m ./chat-checkpoint -s "Answer briefly." "How tall is a tree?" -n 90

Sampling applies, in this order: --logit-bias, --repeat-penalty, --presence-penalty,
--frequency-penalty, --dry-multiplier, --no-repeat-ngram; and at a temperature above 0
--top-nsigma, --temp, --top-k, --top-p, --min-p, --typical, --xtc-probability."""


@dataclass(frozen=True)
class Job:
    """All that was asked, settled before the model is opened."""

    prompt: PromptOptions
    model: ModelSettings
    sampling: SamplingSettings
    stops: StopSettings
    output: OutputOptions
    guess: GuessSettings
    constraints: ConstraintSettings
    chat: ChatOptions
    cache: PromptCacheSettings
    ablation: AblationSettings

    def stop_texts(self) -> tuple[str, ...]:
        """What --stop gives, as text."""
        stop = self.stops.stop
        if stop.source == "config file":  # TOML is text already
            return stop.value
        escape = self.prompt.escape
        return tuple(argument_text(text, "--stop", escape) for text in stop.value)


@unfold
def generate(
    prompt: PromptOptions,
    chat: ChatOptions,
    model: ModelSettings,
    sampling: SamplingSettings,
    stops: StopSettings,
    constraints: ConstraintSettings,
    output: OutputOptions,
    guess: GuessSettings,
    cache: PromptCacheSettings,
    ablation: AblationSettings,
    talk: TalkOptions,
) -> int:
    """Continue a prompt with a language model.

    The text streams to stdout as it is decoded; everything else is said on stderr.
    """
    terminal = open_terminal(talk.quiet, talk.verbose, talk.color)
    output = _with_json(output)
    job = Job(prompt, model, sampling, stops, output, guess, constraints, chat, cache, ablation)
    chat.check(prompt)
    cache.check(output.output)
    ablation.check(prompt)
    stop_texts = job.stop_texts()
    grammar = constraints.grammar(prompt.escape)
    with time_limit(stops.timeout.value), open_sink(output.output, terminal) as sink:
        pending = open_prompt(prompt, terminal)
        if chat.show_prompt:
            show_prompt(pending, prompt, chat, model, stops, output, sink, terminal)
            return Exit.DONE
        session = open_session(model, terminal)
        open_draft(session, model, guess, terminal)
        asked = fitted_prompt(session, pending, prompt, chat, stops.most, terminal)
        ablation.apply(session, asked.ids, prompt, terminal)
        chosen = sampling.completed(session.defaults)
        tell_caveats(terminal, session, sampling, chosen)
        request = make_request(session, asked.ids, prompt, chosen, stops, stop_texts)
        request = replace(
            request,
            logprobs=output.logprobs.value,
            prompt_logprobs=output.echo.value and output.logprobs.value is not None,
        )
        if coloured := _coloured(job, terminal):
            request = replace(request, traced=True, logprobs=request.logprobs or 0)
        kept = cache.open(session)
        generation = session.generate(replace(request, grammar=grammar), kept)
        describe = _describer(session, job, chosen, asked, generation)
        tell_settings(terminal, describe)
        if request.sampling.logit_bias:
            words = bias_in_words(request.sampling.logit_bias, session.tokenizer)
            terminal.detail(f"logit bias: {words}")
        seed_of = request.sampling.seed_of
        answers = [Answer(seed=seed_of(sample)) for sample in range(chosen.samples.value)]
        writer = _writer(job, sink, answers, describe, terminal)
        try:
            code = Answering(answers, writer, describe.has_text, coloured).run(generation)
        finally:
            tell_shifts(terminal, answers, session.context)
            # Whatever ended it, the seed is what it takes to have this text again.
            if chosen.seed.source == "random" and not terminal.verbosity:
                terminal.note(f"seed: {chosen.seed.value}")
        if output.format.value == "text" and describe.logprobs:
            tell_logprobs(terminal, describe, answers)
        if grammar is not None:
            tell_cut(terminal, grammar, answers)
        if kept is not None:
            tell_prompt_cache(terminal, kept, len(asked.ids))
        tell_outcome(terminal, describe, answers)
        if output.timings.value:
            tell_timings(terminal, generation.timings)
    return code


def _describer(
    session: Session,
    job: Job,
    chosen: SamplingSettings,
    asked: Prompt,
    generation: Generation,
) -> Describer:
    return Describer(
        prompt=asked,
        seed=chosen.seed.value,
        timings=generation.timings,
        card=session.card,
        settings=listed(
            *(job.model, job.guess, job.prompt, job.chat, chosen),
            *(job.stops, job.constraints, job.output, job.cache, job.ablation),
        ),
        has_text=session.tokenizer is not None,
        token_text=token_text(session),
        echo=job.output.echo.value,
        logprobs=job.output.logprobs.value is not None,
        prompt_tokens=generation.prompt,
    )


def _with_json(output: OutputOptions) -> OutputOptions:
    """`output` with --json read as --format json. Raises `UsageError` where the two contradict."""
    chosen = output.format
    if not output.json:
        return output
    if chosen.source == "command line" and chosen.value != "json":
        raise UsageError(f"`--json` contradicts `--format {chosen.value}`")
    return replace(output, format=Setting("json", "command line"))


def _coloured(job: Job, terminal: Terminal) -> bool:
    """Whether --confidence has something to show; says what its colours mean, or why not."""
    if not job.output.confidence.value:
        return False
    if job.output.format.value != "text":
        terminal.warn("--confidence colours text alone: for JSON, --logprobs gives the numbers")
        return False
    if not colours(terminal, job.output.output):
        terminal.warn(
            "--confidence shows nothing where there is no colour: --color always puts it there "
            "anyway, and --logprobs 0 gives the numbers"
        )
        return False
    tell_legend(terminal)
    return True


def _writer(
    job: Job,
    sink: Sink,
    answers: list[Answer],
    describe: Describer,
    terminal: Terminal,
) -> Writer:
    format = job.output.format.value
    if format != "text":
        return JsonWriter(sink, answers, describe, lines=format == "jsonl")
    opening = ""
    if job.output.echo.value:
        ids = " ".join(map(str, describe.prompt.ids)) + " "
        opening = (describe.prompt.text or "") if describe.has_text else ids
    on_terminal = job.output.output is None and terminal.stdout_is_terminal
    return TextWriter(
        sink,
        answers,
        opening,
        live=not job.output.no_stream.value,
        closing="\n" if on_terminal else "",
    )
