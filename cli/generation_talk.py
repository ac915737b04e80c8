"""What is said on stderr about a generation: settings, log-probabilities, outcome, timings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .answers import Answer, Describer
from .generation_config import not_heeded
from .progress import megabytes
from .sampling_options import SamplingSettings
from .terminal import Terminal

if TYPE_CHECKING:
    from ..engine.fit import Fit
    from ..engine.request import Candidate, Grammar, PromptToken, Timings, Token
    from ..engine.session import Session


def tell_settings(terminal: Terminal, describe: Describer) -> None:
    """For -v: the model, and each setting with its value and where that came from."""
    card = describe.card
    quant = f", {card.quant}" if card.quant else ""
    terminal.detail(
        f"model: {card.name} ({card.family}, {card.parameters:,} parameters, {card.dtype}{quant}) "
        f"from {card.path}"
    )
    width = max(map(len, describe.settings))
    for name, one in describe.settings.items():
        terminal.detail(f"  {name:{width}}  {as_words(one.value)}  ({one.source})")
    terminal.detail(f"prompt: {len(describe.prompt.ids)} tokens")


def tell_caveats(
    terminal: Terminal, session: Session, asked: SamplingSettings, chosen: SamplingSettings
) -> None:
    """Warn of what may not do what it looks like; `chosen` is what `asked` amounts to."""
    if session.context > session.made_for:
        terminal.warn(
            f"a context of {session.context} tokens is more than the {session.made_for} "
            "that the model was made for: its answers may fall apart beyond"
        )
    for line in asked.without_effect(chosen):
        terminal.warn(line)
    keys = not_heeded(session.defaults, greedy=chosen.temp.value == 0)
    if keys:
        terminal.warn(
            f"generation_config.json sets {', '.join(keys)}, which lmtool doesn't have: "
            "transformers may write another text"
        )


def tell_left_out(terminal: Terminal, fit: Fit, context: int) -> None:
    """Which tokens of a prompt are left out."""
    which = f"first {fit.dropped:,} of {fit.total:,} tokens"
    if fit.head:
        which = f"tokens {fit.head + 1:,} to {fit.head + fit.dropped:,} of {fit.total:,}"
    terminal.warn(f"the prompt's {which} are left out, to fit the context of {context:,}")


def tell_shifts(terminal: Terminal, answers: Sequence[Answer], context: int) -> None:
    """How often a text's older half has left a full context."""
    for number, answer in enumerate(answers):
        times, tokens = answer.shifts
        if times:
            name = f"sample {number}: " if len(answers) > 1 else ""
            often = "once" if times == 1 else f"{times:,} times"
            terminal.warn(
                f"{name}the context of {context:,} was full {often}: the oldest "
                f"{tokens:,} tokens have left it"
            )


def tell_outcome(terminal: Terminal, describe: Describer, answers: Sequence[Answer]) -> None:
    """For -v: how each sample ended."""
    for number, answer in enumerate(answers):
        name = f"sample {number}: " if len(answers) > 1 else ""
        seed = f", seed: {answer.seed}" if len(answers) > 1 else ""
        terminal.detail(f"{name}{len(answer.tokens)} tokens, finish: {answer.finish}{seed}")
    terminal.detail(f"seed: {describe.seed}")


def tell_cut(terminal: Terminal, grammar: Grammar, answers: Sequence[Answer]) -> None:
    """Warn of texts that ended before they were what the grammar asks for."""
    why = {
        "length": "it ended at --max-tokens",
        "context": "it ended with the context",
        "timeout": "it ended at --timeout",
    }
    for number, answer in enumerate(answers):
        if answer.tokens and not answer.whole:
            name = f"sample {number}" if len(answers) > 1 else "the text"
            cause = why.get(answer.finish or "", "it ended at a stop text or token")
            terminal.warn(f"{name} is not complete under {grammar.name}: {cause}")


def tell_timings(terminal: Terminal, timings: Timings) -> None:
    """For --timings: a line each for loading, prefill, decoding, guesses, first token, memory."""
    terminal.note(f"load: {timings.load_s:.2f} s")
    parts = (
        ("prefill", timings.prompt_tokens, timings.prefill_s, timings.prefill_tokens_per_s),
        ("decode", timings.decoded_tokens, timings.decode_s, timings.decode_tokens_per_s),
    )
    for name, count, seconds, rate in parts:
        speed = "" if rate is None else f", {rate:.1f} tokens/s"
        terminal.note(f"{name}: {count} tokens in {seconds:.2f} s{speed}")
    if timings.reused_tokens is not None:
        terminal.note(f"reused: {timings.reused_tokens} tokens of the prompt")
    if timings.guessed is not None:
        terminal.note(f"guessed ahead: {timings.guessed} tokens, {timings.right} of them right")
    if timings.first_token_s is not None:
        terminal.note(f"first token: {timings.first_token_s:.2f} s after loading")
    if timings.peak_bytes is not None:
        terminal.note(f"peak memory: {megabytes(timings.peak_bytes)}")


def tell_logprobs(terminal: Terminal, describe: Describer, answers: Sequence[Answer]) -> None:
    """For --logprobs with text: a line a token, its log-probability first, then the likeliest."""

    def row(token: Token | PromptToken | Candidate) -> str:
        logprob = "      -" if token.logprob is None else f"{token.logprob:7.3f}"
        text = describe.token_text(token.id)
        return f"{logprob} {token.id if text is None else json.dumps(text, ensure_ascii=False)}"

    for number, answer in enumerate(answers):
        if len(answers) > 1:
            terminal.note(f"sample {number}:")
        prompt = describe.prompt_tokens if describe.echo else ()
        for token in (*prompt, *answer.tokens):
            terminal.note("  |".join([row(token), *(row(other) for other in token.top)]))


def as_words(value: object) -> str:
    """A setting's value for people: `off` for none, several parted by spaces."""
    if value is None or value == ():
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
