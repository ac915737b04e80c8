"""The prompt's text as token ids: as it stands, or in the chat template; cut where it must be.

Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import InputError, ModelError
from .answers import Prompt
from .chat_options import ChatPromptOptions
from .generation_talk import tell_left_out
from .option_groups import PromptOptions
from .prompt import PendingPrompt, parse_ids
from .terminal import Terminal

if TYPE_CHECKING:
    from ..engine.session import Session
    from ..tokenizer.tokenizer import Place, Tokenizer


@dataclass(frozen=True)
class Encoded:
    """A prompt before it is fitted into a context.

    `text` is None for ids without a tokenizer. `specials` are the special tokens in it, by their
    places; `ends` is what ends a turn of the chat template, and so an answer.
    """

    text: str | None
    ids: tuple[int, ...]
    specials: tuple[Place, ...] = ()
    ends: frozenset[int] = frozenset()


def encode_prompt(
    text: str,
    tokenizer: Tokenizer | None,
    path: str,
    prompt: PromptOptions,
    chat: ChatPromptOptions,
) -> Encoded:
    """What the options make of `text`, which the checkpoint at `path` is to go on with.

    Raises `ModelError` for what the checkpoint lacks, `InputError` for what it can't take.
    """
    if prompt.token_ids is not None:
        ids = parse_ids(text)
        return Encoded(tokenizer.decode(ids) if tokenizer else None, ids)
    if tokenizer is None:
        raise ModelError(
            f"`{path}` has no tokenizer.json or other tokenizer",
            hint="--token-ids takes the prompt as token ids",
        )
    if chat.on:
        return _in_template(text, tokenizer, prompt, chat)
    if not text and prompt.bos.value != "on":
        raise InputError("the prompt is empty", hint="`--bos on` begins with nothing but the BOS")
    special = prompt.special.value
    ids = tokenizer.encode(text, bos=prompt.bos.value, special=special)
    return Encoded(text, tuple(ids), tokenizer.specials_in(text) if special == "parse" else ())


def fitted_prompt(
    session: Session,
    pending: PendingPrompt,
    prompt: PromptOptions,
    chat: ChatPromptOptions,
    most: int | None,
    terminal: Terminal,
) -> Prompt:
    """The prompt as the model gets it: encoded, and cut where it overflows and may be cut.

    There has to be room for up to `most` tokens behind it: see `Session.fit`. What ends a turn of
    the chat template ends the session's texts from now on. Raises as `encode_prompt`.
    """
    tokenizer = session.tokenizer
    encoded = encode_prompt(pending.text(terminal), tokenizer, session.card.path, prompt, chat)
    session.eos |= encoded.ends
    as_it_stands = not chat.on and prompt.token_ids is None
    if as_it_stands and tokenizer and tokenizer.chat_templates and not encoded.specials:
        terminal.note(
            f"{session.card.name} is a chat model and goes on with the prompt as it stands: "
            "--chat puts it into the chat template"
        )
    fitted = fit_encoded(session, encoded, prompt, most)
    if fitted.fit.dropped:
        tell_left_out(terminal, fitted.fit, session.context)
    return fitted


def fit_encoded(
    session: Session, encoded: Encoded, prompt: PromptOptions, most: int | None
) -> Prompt:
    """A prompt cut where it overflows and may be cut, with room for `most`: see `Session.fit`."""
    text, ids, tokenizer = encoded.text, encoded.ids, session.tokenizer
    fit = session.fit(ids, most, prompt.overflow.value)
    if fit.dropped:
        ids = fit.of(ids)
        text = tokenizer.decode(ids, skip_special=not encoded.specials) if tokenizer else None
    return Prompt(text, ids, fit)


def _in_template(
    text: str, tokenizer: Tokenizer, prompt: PromptOptions, chat: ChatPromptOptions
) -> Encoded:
    template = chat.open_template(tokenizer)
    try:
        rendered = chat.encode(template, text, prompt)
        ends = frozenset(id for id in [template.end_of_turn] if id is not None)
    finally:
        template.close()
    return Encoded(rendered.text, rendered.ids, rendered.specials, ends)
