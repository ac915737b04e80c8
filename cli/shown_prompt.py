"""`--show-prompt`: the prompt as the model would get it, and what would be left out of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import InputError, ModelError
from .chat_options import ChatOptions
from .encoding import Encoded, encode_prompt
from .model_options import ModelSettings
from .option_groups import OutputOptions, PromptOptions, StopSettings
from .prompt import PendingPrompt
from .sink import Sink
from .terminal import Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from ..engine.fit import Fit
    from ..tokenizer.tokenizer import Tokenizer

SPECIAL = "1;36"
"""How special tokens are painted: bold cyan."""
LEFT_OUT = 40
"""Characters shown of each end of what would be left out."""


@dataclass(frozen=True)
class _Shown:
    """All that is told of a prompt."""

    encoded: Encoded
    tokenizer: Tokenizer
    context: int | None
    fit: Fit | None
    """None where the context is not known, or the prompt doesn't fit and may not be cut."""
    fault: str | None
    """Why it doesn't fit."""

    @property
    def put_first(self) -> tuple[int, ...]:
        """Tokens before those of the text: a begin-of-text token."""
        ids, specials = self.encoded.ids, self.encoded.specials
        prefix = self.tokenizer.prefix or (
            (self.tokenizer.bos_id,) if self.tokenizer.bos_id else ()
        )
        written = specials and specials[0].start == 0 and specials[0].id == ids[0]
        return ids[: len(prefix)] if not written and ids[: len(prefix)] == prefix else ()

    @property
    def special_count(self) -> int:
        """How many of its tokens are special."""
        return len(self.put_first) + len(self.encoded.specials)

    @property
    def spelled(self) -> list[str]:
        """Special tokens that the text spells more often than it has them: they are plain text."""
        text = self.encoded.text or ""
        return [
            token
            for id, token in self.tokenizer.added.items()
            if id in self.tokenizer.special_ids and token in text
            if text.count(token) > [place.id for place in self.encoded.specials].count(id)
        ]

    @property
    def left_out(self) -> tuple[int, ...]:
        """The ids that would be left out."""
        if self.fit is None:
            return ()
        return self.encoded.ids[self.fit.head : self.fit.head + self.fit.dropped]


def show_prompt(
    pending: PendingPrompt,
    prompt: PromptOptions,
    chat: ChatOptions,
    model: ModelSettings,
    stops: StopSettings,
    output: OutputOptions,
    sink: Sink,
    terminal: Terminal,
) -> None:
    """Write the prompt, its ids and what the context makes of it, and load no weights."""
    from ..tokenizer.tokenizer import Tokenizer
    from .fetching import find_tokenizer

    place = find_tokenizer(model.model.value, model.offline.value, terminal)
    tokenizer = Tokenizer.load(place)
    text = pending.text(terminal)
    encoded = encode_prompt(text, tokenizer, str(place), prompt, chat)
    shown = _fitted(encoded, tokenizer, place, prompt, model, stops)
    if output.format.value == "text":
        stdout = terminal.stdout if output.output is None else None
        painted = stdout is not None and terminal.paints(stdout)
        sink.write(_as_text(shown, painted))
    else:
        indent = 2 if output.format.value == "json" else None
        sink.write(json.dumps(_as_values(shown), ensure_ascii=False, indent=indent) + "\n")


def _fitted(
    encoded: Encoded,
    tokenizer: Tokenizer,
    place: Path,
    prompt: PromptOptions,
    model: ModelSettings,
    stops: StopSettings,
) -> _Shown:
    """The prompt in the context that -c or the checkpoint's config gives."""
    from ..engine.fit import fit

    context = model.ctx_size.value or _context(place)
    if context is None:
        return _Shown(encoded, tokenizer, None, None, None)
    most = stops.most
    first = int(encoded.ids[:1] == (tokenizer.bos_id,))
    try:
        fitted = fit(len(encoded.ids), context, most, prompt.overflow.value, first)
    except InputError as error:
        return _Shown(encoded, tokenizer, context, None, error.message)
    return _Shown(encoded, tokenizer, context, fitted, None)


def _context(place: Path) -> int | None:
    """The context that a checkpoint is made for; None for a lone tokenizer or an unknown family."""
    from ..engine.weights.checkpoint import CONFIG, read_config, understand

    if not (place / CONFIG).exists():
        return None
    try:
        return understand(read_config(place), f"`{place / CONFIG}`")[1].max_positions
    except ModelError:
        return None  # what is wrong with the model is not asked here


def _as_text(shown: _Shown, painted: bool) -> str:
    encoded, tokenizer = shown.encoded, shown.tokenizer
    lines = [_painted(shown, painted), "", f"ids: {' '.join(map(str, encoded.ids))}"]
    lines.append(f"tokens: {len(encoded.ids):,}, {shown.special_count:,} of them special")
    if shown.spelled:
        lines.append(f"spelled, but plain text: {' '.join(shown.spelled)}")
    if shown.context is None:
        lines.append("context: not known")
    elif shown.fault is not None:
        lines.append(f"does not fit: {shown.fault}")
    else:
        kept = len(encoded.ids) - len(shown.left_out)
        lines.append(f"context: {shown.context:,} tokens, {shown.context - kept:,} left")
    if shown.left_out:
        said = tokenizer.decode(shown.left_out, skip_special=False)
        if len(said) > 2 * LEFT_OUT:
            said = f"{said[:LEFT_OUT]}…{said[-LEFT_OUT:]}"
        lines.append(
            f"left out: {len(shown.left_out):,} tokens, {json.dumps(said, ensure_ascii=False)}"
        )
    return "\n".join(lines) + "\n"


def _painted(shown: _Shown, painted: bool) -> str:
    """The whole prompt, its special tokens painted."""

    def paint(token: str) -> str:
        return f"\x1b[{SPECIAL}m{token}\x1b[0m" if painted else token

    text, end = shown.encoded.text or "", 0
    parts = [paint(shown.tokenizer.token_text(id)) for id in shown.put_first]
    for place in shown.encoded.specials:
        parts += (text[end : place.start], paint(text[place.start : place.end]))
        end = place.end
    return "".join([*parts, text[end:]])


def _as_values(shown: _Shown) -> dict[str, Any]:
    encoded = shown.encoded
    return {
        "prompt": encoded.text,
        "prompt_token_ids": list(encoded.ids),
        "tokens": [
            {"id": id, "text": shown.tokenizer.token_text(id), "special": special}
            for id, special in zip(encoded.ids, _which_special(shown), strict=True)
        ],
        "put_first": list(shown.put_first),
        "spelled": shown.spelled,
        "context": shown.context,
        "fits": shown.fault is None,
        "left_out": {
            "from": shown.fit.head if shown.fit else 0,
            "token_ids": list(shown.left_out),
        },
    }


def _which_special(shown: _Shown) -> Sequence[bool]:
    """For each id, whether it is a special token."""
    special = {place.id for place in shown.encoded.specials} | set(shown.put_first)
    return [id in special or id in shown.tokenizer.special_ids for id in shown.encoded.ids]
