"""A prompt kept in a file, for the next run to begin with."""

# ruff: noqa: RUF009  # a setting() is a frozen declaration, safe to share

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from .. import LmtoolError, UsageError
from .settings import Flag, Setting, Text, setting
from .terminal import Terminal

if TYPE_CHECKING:
    from ..engine.prompt_cache import PromptCache
    from ..engine.session import Session


@dataclass(frozen=True)
class PromptCacheSettings:
    """Where a prompt's keys and values are kept."""

    panel: ClassVar[str] = "Model"

    prompt_cache: Setting[str | None] = setting(
        *("--prompt-cache", "--prompt-cache-file"),
        kind=Text(),
        default=None,
        metavar="FILE",
        help="Keep what was computed of the prompt in FILE; a prompt that begins alike reuses it.",
    )
    prompt_cache_ro: Setting[bool] = setting(
        "--prompt-cache-ro",
        kind=Flag(),
        default=False,
        help="Reuse what is in the --prompt-cache file, and leave it as it is.",
    )

    def check(self, output: Path | None) -> None:
        """Say now what would go wrong after the model is loaded. Raises `LmtoolError`.

        `output` is where the text goes, None for stdout.
        """
        if self.prompt_cache.value is None:
            if self.prompt_cache_ro.source == "command line" and self.prompt_cache_ro.value:
                raise UsageError(
                    "--prompt-cache-ro says how to use --prompt-cache, which isn't given",
                    hint="--prompt-cache FILE --prompt-cache-ro",
                )
            return
        name, reads = self.prompt_cache.value, self.prompt_cache_ro.value
        try:
            fault = _fault(Path(name), reads)
            if output is not None and output.resolve() == Path(name).resolve():
                raise UsageError(f"`{name}` can't be both --output and --prompt-cache")
        except (OSError, RuntimeError, ValueError) as error:  # a link to itself, a null byte
            fault = getattr(error, "strerror", None) or str(error)
        if fault:
            verb = "read" if reads else "write"
            raise LmtoolError(f"cannot {verb} the prompt cache `{name}`: {fault}")

    def open(self, session: Session) -> PromptCache | None:
        """The file, checked; None if none was asked for. Raises `ModelError`."""
        if self.prompt_cache.value is None:
            return None
        return session.prompt_cache(Path(self.prompt_cache.value), self.prompt_cache_ro.value)


def _fault(path: Path, reads: bool) -> str | None:
    """Why a file can't serve, as far as can be seen without opening it."""
    folder = path.resolve().parent
    if path.is_dir():
        return "it is a folder"
    if path.exists() and not path.is_file():
        return "it is not a plain file"
    if path.exists() and not os.access(path, os.R_OK):
        return "permission denied"
    if reads:
        return None if path.exists() else "no such file"
    if not folder.is_dir():
        return f"no such folder: `{path.parent}`"
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        return "permission denied"
    return None


def tell_prompt_cache(terminal: Terminal, cache: PromptCache, tokens: int) -> None:
    """For -v: how much of the prompt's `tokens` came from the file, and what is in it now."""
    terminal.detail(f"prompt cache: {cache.reused:,} of {tokens:,} tokens came from `{cache.path}`")
    if cache.written is not None:
        terminal.detail(
            f"prompt cache: `{cache.path}` now holds {cache.kept:,} tokens, {cache.written:,} bytes"
        )
