"""--show and --html of `lmtool tokenize`: the options, and what they set going."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from .. import UsageError
from .confidence import colours
from .sink import STDOUT
from .terminal import Terminal

if TYPE_CHECKING:
    from ..tokenizer.bulk import Encoded
    from ..tokenizer.tokenizer import Special, Tokenizer
    from .token_page import TokenPage


@dataclass(frozen=True)
class ShowOptions:
    """How tokens are shown to a person."""

    panel: ClassVar[str] = "Looking"

    show: Annotated[
        bool,
        typer.Option(
            "--show",
            help="The text itself, each token in a colour; with --ids, its id beside it.",
            show_default=False,
        ),
    ] = False
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write a page that shows each token, and tells of the one pointed at.",
            show_default=False,
        ),
    ] = None

    @property
    def any(self) -> bool:
        """Whether tokens are shown at all."""
        return self.show or self.html is not None

    def refuse(self, **others: bool) -> None:
        """Raise `UsageError` if one of these flags is set, which write something else."""
        mine = "--show" if self.show else "--html"
        for name, given in others.items():
            if given:
                raise UsageError(f"{mine} and {name} exclude each other")


def show_texts(
    tokenizer: Tokenizer,
    batches: Iterable[Iterable[Iterable[Encoded]]],
    options: ShowOptions,
    special: Special,
    ids: bool,
    terminal: Terminal,
) -> None:
    """Show texts as they come, in the terminal or on a page, or both."""
    from ..tokenizer.files import replacing
    from .token_page import TokenPage

    texts = (text for batch in batches for text in batch)
    if options.html is None:
        for text in texts:
            _show(tokenizer, text, None, special, ids, terminal)
        return
    if str(options.html) in STDOUT:
        raise UsageError("--html needs a file", hint="name one, such as tokens.html")
    with replacing(options.html) as stream:
        page = TokenPage(stream, tokenizer, special)
        for text in texts:
            if options.show:
                _show(tokenizer, text, page, special, ids, terminal)
            else:
                for encoded in text:
                    page.add(encoded)
            page.end_text()
        page.end()
    terminal.note(f"written: {options.html}")


def _show(
    tokenizer: Tokenizer,
    text: Iterable[Encoded],
    page: TokenPage | None,
    special: Special,
    ids: bool,
    terminal: Terminal,
) -> None:
    from .token_strip import StripWriter

    strip = StripWriter(tokenizer, special, painted=colours(terminal, None), ids=ids)
    for encoded in text:
        terminal.out_bytes(strip.add(encoded))
        if page is not None:
            page.add(encoded)
    terminal.out_bytes(strip.end())
