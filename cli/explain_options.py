"""What `lmtool explain` can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from .. import InputError, UsageError
from .prompt import argument_text
from .sink import one_on_stdout

if TYPE_CHECKING:
    from ..engine.session import Session


@dataclass(frozen=True)
class WhichPrediction:
    """Which of the model's predictions to explain."""

    panel: ClassVar[str] = "Prediction"

    at: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="What follows the first N tokens of the prompt; -N: all but the last N. "
            "Default: all of it.",
            show_default=False,
        ),
    ] = None
    tokens: Annotated[
        int | None,
        typer.Option(
            *("-n", "--tokens"),
            min=1,
            metavar="N",
            help="Let it write N tokens, the likeliest each, and explain every one.",
            show_default=False,
        ),
    ] = None
    answer: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Explain this token, not the likeliest. Without a tokenizer: its id.",
            show_default=False,
        ),
    ] = None

    def check(self) -> None:
        """Raise `UsageError` for what makes no sense together."""
        if self.tokens is not None and self.at is not None:
            raise UsageError("--at and --tokens exclude each other", hint="give one of them")
        if self.tokens is not None and self.answer is not None:
            raise UsageError(
                "--answer and --tokens exclude each other",
                hint="--tokens explains what the model writes",
            )
        if self.at == 0:
            raise UsageError("--at 0: nothing stands before the first token to explain it by")

    def position(self, length: int) -> int:
        """How many tokens of a prompt of `length` stand before the prediction."""
        at = length if self.at is None else self.at
        position = at if at > 0 else length + at
        if not 0 < position <= length:
            raise UsageError(
                f"--at {at}: the prompt has {length:,} tokens",
                hint=f"1 to {length:,}, or as many from its end",
            )
        return position

    def answer_id(self, session: Session) -> int | None:
        """The token that is asked about; None for the likeliest. Raises `InputError`."""
        if self.answer is None:
            return None
        text, tokenizer = argument_text(self.answer, "--answer"), session.tokenizer
        if tokenizer is None:
            ids = [int(text)] if text.isascii() and text.isdigit() else []
        else:
            special = tokenizer.special_named(text)
            ids = [special] if special is not None else tokenizer.encode_plain([text])[0]
        if len(ids) != 1:
            raise InputError(f"--answer `{text}`: {_not_one(session, text, ids)}")
        if ids[0] >= session.spec.vocab:
            raise InputError(f"--answer {ids[0]}: the model has {session.spec.vocab:,} tokens")
        return ids[0]


def _not_one(session: Session, text: str, ids: list[int]) -> str:
    """Why an answer isn't one token, and which one might be meant."""
    tokenizer = session.tokenizer
    if tokenizer is None:
        return "without a tokenizer it is the id of a token"
    if not ids:
        return "it is no token"
    pieces = ", ".join(f"`{tokenizer.token_text(id)}`" for id in ids)
    said = f"it is {len(ids)} tokens, {pieces}; give one"
    spaced = tokenizer.encode_plain([f" {text}"])[0]
    return f"{said}, perhaps `{tokenizer.token_text(spaced[0])}`" if len(spaced) == 1 else said


@dataclass(frozen=True)
class Told:
    """How much is told, and where."""

    panel: ClassVar[str] = "Output"

    top: Annotated[
        int,
        typer.Option(min=1, max=50, metavar="N", help="Guesses told of each layer and neuron (5)."),
    ] = 5
    neurons: Annotated[
        int,
        typer.Option(min=0, max=1000, metavar="N", help="Neurons told of each prediction (10)."),
    ] = 10
    json: Annotated[bool, typer.Option("--json", help="One JSON object.", show_default=False)] = (
        False
    )
    output: Annotated[
        Path | None,
        typer.Option(
            *("-o", "--output"), metavar="FILE", help="Write to a file.", show_default=False
        ),
    ] = None
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a page too: every layer's guess after every token, and the rest to point "
            "at.",
            show_default=False,
        ),
    ] = None

    def check(self) -> None:
        """Raise `UsageError` where two results would go to stdout."""
        one_on_stdout(self.output, self.html)
