"""Opens the model that the options ask for. Commands come here, so that tests can stand in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .fetching import find_model
from .loras import find_loras
from .model_options import GuessSettings, ModelSettings
from .signals import nothing_open
from .terminal import Terminal

if TYPE_CHECKING:
    from ..engine.kept import KeptCache
    from ..engine.session import Session


def open_session(model: ModelSettings, terminal: Terminal | None = None) -> Session:
    """The checkpoint behind `-m`, fetched if need be and loaded. Imports torch."""
    terminal, offline = terminal or Terminal(), model.offline.value
    folder = find_model(model.model.value, offline, terminal)
    loras = find_loras(model.lora.value, offline, terminal)
    with nothing_open():
        from ..engine.session import Session

    quant = model.quant.value
    return Session.load(
        folder,
        device=model.device.value,
        dtype=model.dtype.value,
        context=model.ctx_size.value,
        threads=model.threads.value,
        quant=None if quant == "none" else quant,
        kv_dtype=model.kv_dtype.value,
        compiled=model.compile.value,
        loras=loras,
    )


def open_kept() -> KeptCache:
    """What keeps the keys and values of one generation for the next."""
    from ..engine.kept import KeptCache

    return KeptCache()


def open_draft(
    session: Session,
    model: ModelSettings,
    guess: GuessSettings,
    terminal: Terminal | None = None,
) -> None:
    """Let `session` guess ahead as the options ask, with a draft model held as `model` is."""
    draft = None
    if guess.draft_model.value is not None:
        with nothing_open():
            from ..engine.session import Session

        draft = Session.load(
            find_model(guess.draft_model.value, model.offline.value, terminal or Terminal()),
            device=model.device.value,
            dtype=model.dtype.value,
        )
    session.speculate(guess.lookup.value, draft)
