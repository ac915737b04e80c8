"""What --stop, --stop-token and the checkpoint say, as the engine's `Stop`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import ModelError, UsageError
from .option_groups import StopSettings

if TYPE_CHECKING:
    from ..engine.request import Stop
    from ..engine.session import Session


def stop_for(session: Session, stops: StopSettings, texts: tuple[str, ...]) -> Stop:
    """Where a text ends. A stop text that spells a special token ends at that token too.

    Special tokens give no text, so as text alone it would never be found. Raises `ModelError` for
    texts without a tokenizer, `UsageError` for a token that the vocabulary doesn't have.
    """
    from ..engine.request import Stop

    tokenizer, vocab = session.tokenizer, session.spec.vocab
    if texts and tokenizer is None:
        raise ModelError(
            f"--stop needs a tokenizer, and `{session.card.path}` has none",
            hint="--stop-token takes a token id",
        )
    for id in stops.stop_token.value:
        if id >= vocab:
            raise UsageError(f"--stop-token {id} is outside the vocabulary of {vocab} ids")
    named = ((tokenizer.special_named(text), text) for text in texts) if tokenizer else ()
    spelled = tuple((id, text) for id, text in named if id is not None)
    return Stop(
        eos=frozenset() if stops.ignore_eos.value else session.eos,
        ids=frozenset({*stops.stop_token.value, *(id for id, _ in spelled)}),
        texts=texts,
        keep=stops.keep_stop.value,
        min_tokens=stops.min_tokens.value,
        spelled=spelled,
    )
