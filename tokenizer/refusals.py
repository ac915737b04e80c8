"""What the hub's refusals mean to a user: one line, with what to do about it."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from .. import ModelError
from .repository import MAIN, Repository


class Refusal(NamedTuple):
    """What was asked, and of which hub."""

    repository: Repository
    endpoint: str

    @property
    def page(self) -> str:
        """Where people see the repository."""
        return f"{self.endpoint}/{self.repository.name}"


def is_broken_connection(error: BaseException) -> bool:
    """Whether the network failed, so that another try may do better."""
    # By name, since huggingface_hub changed its HTTP library once and may do so again.
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"TransportError", "ConnectionError"}) and not hasattr(error, "response")


def explain(error: Exception, asked: Refusal) -> ModelError:
    """The error to show for whatever huggingface_hub and the network raised."""
    from huggingface_hub import errors

    shown = f"`{asked.repository}`"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return ModelError(f"{shown} isn't cached, and HF_HUB_OFFLINE is set", hint="unset it once")
    if isinstance(error, errors.GatedRepoError):
        return _gated(asked)
    if isinstance(error, errors.DisabledRepoError):
        return ModelError(f"access to {shown} is disabled on the hub", hint="choose another model")
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelError(
            f"`{asked.repository.name}` has no revision `{asked.repository.revision}`",
            hint=f"{asked.page}/refs lists them; without @ it is {MAIN}",
        )
    if isinstance(error, errors.HFValidationError):
        return ModelError(f"no such file or folder, and no repository can be called {shown}")
    response = getattr(error, "response", None)
    if response is not None:
        return _by_status(response, asked, isinstance(error, errors.RepositoryNotFoundError))
    if is_broken_connection(error):
        reason = " ".join(str(error).split()) or type(error).__name__
        return ModelError(
            f"no such file or folder, and {asked.endpoint} can't be reached to fetch {shown}: "
            f"{reason[:120]}",
            hint="a local path starts with ./ or /; `lmtool models` lists what is cached",
        )
    reason = " ".join(str(error).split()) or type(error).__name__
    return ModelError(f"{shown} can't be fetched from {asked.endpoint}: {reason[:200]}")


def _gated(asked: Refusal) -> ModelError:
    if _has_token():
        hint = f"accept its terms at {asked.page} with the account whose token is used (HF_TOKEN)"
    else:
        hint = f"accept its terms at {asked.page}, then set HF_TOKEN"
    return ModelError(f"`{asked.repository}` is gated: its owner decides who may fetch it", hint)


def _by_status(response: Any, asked: Refusal, not_found: bool) -> ModelError:
    """By the HTTP status, where the hub doesn't say more."""
    shown, status = f"`{asked.repository}`", int(response.status_code)
    said = str(response.headers.get("X-Error-Message") or "")
    if status == 401 and _has_token() and ("credentials" in said or not not_found):
        return ModelError(
            f"{asked.endpoint} doesn't accept the token",
            hint=f"renew HF_TOKEN at {asked.endpoint}/settings/tokens, or unset it",
        )
    if not_found or status == 404:
        hint = "for a private one set HF_TOKEN"
        if _has_token():
            hint = "a private one needs the token of an account that may read it"
        return ModelError(f"no such file, folder or repository: {shown}", hint)
    if status in (401, 403):
        return ModelError(
            f"{asked.endpoint} doesn't let {'this token' if _has_token() else 'you'} read {shown}",
            hint="set HF_TOKEN to a token that may read it",
        )
    if status == 429:
        return ModelError(f"{asked.endpoint} asks for fewer requests", hint=_patience(response))
    if status >= 500:
        return ModelError(
            f"{asked.endpoint} fails (HTTP {status}), so {shown} can't be fetched",
            hint="try again later; what came is kept",
        )
    reason = said or f"HTTP {status}"
    return ModelError(f"{asked.endpoint} refuses {shown}: {' '.join(reason.split())[:200]}")


def _patience(response: Any) -> str:
    wait = str(response.headers.get("Retry-After") or "")
    when = f"in {wait} s" if wait.isdigit() else "in a few minutes"
    more = "" if _has_token() else "; with HF_TOKEN set more are allowed"
    return f"try again {when}{more}"


def _has_token() -> bool:
    from huggingface_hub import get_token

    return bool(os.environ.get("HF_TOKEN") or get_token())
