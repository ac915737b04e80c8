"""Opens the model that the options ask for. Commands come here, so that tests can stand in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .model_options import GuessSettings, ModelSettings
from .signals import nothing_open

if TYPE_CHECKING:
    from ..engine.session import Session


def open_session(model: ModelSettings) -> Session:
    """The checkpoint behind `-m`, loaded. Imports torch."""
    with nothing_open():
        from ..engine.session import Session
        from ..tokenizer.locate import locate

    quant = model.quant.value
    return Session.load(
        locate(model.model.value, model.offline.value),
        device=model.device.value,
        dtype=model.dtype.value,
        context=model.ctx_size.value,
        threads=model.threads.value,
        quant=None if quant == "none" else quant,
        kv_dtype=model.kv_dtype.value,
        compiled=model.compile.value,
    )


def open_draft(session: Session, model: ModelSettings, guess: GuessSettings) -> None:
    """Let `session` guess ahead as the options ask, with a draft model held as `model` is."""
    draft = None
    if guess.draft_model.value is not None:
        with nothing_open():
            from ..engine.session import Session
            from ..tokenizer.locate import locate

        draft = Session.load(
            locate(guess.draft_model.value, model.offline.value),
            device=model.device.value,
            dtype=model.dtype.value,
        )
    session.speculate(guess.lookup.value, draft)
