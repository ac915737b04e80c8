"""From a prompt and what was asked for to the engine's `Request`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .option_groups import PromptOptions, StopSettings
from .sampling_options import SamplingSettings
from .stops import stop_for

if TYPE_CHECKING:
    from ..engine.request import Request
    from ..engine.session import Session


def make_request(
    session: Session,
    ids: tuple[int, ...],
    prompt: PromptOptions,
    sampling: SamplingSettings,
    stops: StopSettings,
    stop_texts: tuple[str, ...],
) -> Request:
    """What the engine is asked for, save for log-probabilities and a grammar.

    `sampling` is completed. Raises as `stop_for` and `SamplingSettings.for_engine` do.
    """
    from ..engine.request import Request

    return Request(
        ids=ids,
        max_new=stops.most,
        sampling=sampling.for_engine(session, prompt.escape),
        stop=stop_for(session, stops, stop_texts),
        shift=session.begins(ids) if prompt.overflow.value == "shift" else None,
        samples=sampling.samples.value,
    )


def token_text(session: Session) -> Callable[[int], str | None]:
    """What gives a token's text, or None without a tokenizer."""
    return session.tokenizer.token_text if session.tokenizer else _no_text


def _no_text(token: int) -> None:
    del token
