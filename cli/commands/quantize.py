"""`lmtool quantize`: a checkpoint in, one with weights of fewer bits out."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..completion import complete_model
from ..fetching import find_model
from ..loras import Loras, find_loras
from ..options import Color, ColorWhen, Debug, Quiet, Verbose, open_terminal
from ..progress import StatusLine, megabytes
from ..signals import nothing_open
from ..terminal import Terminal
from ..token_options import Offline

if TYPE_CHECKING:
    from ...engine.quant.kinds import Quant
    from ...engine.weights.adapter import Lora
    from ...engine.weights.checkpoint import Checkpoint
    from ...engine.weights.save import Sizes

EPILOG = """Examples:

lmtool quantize ./checkpoint -o ./smaller

lmtool quantize ./checkpoint -o ./smallest --quant int4 && lmtool generate -m ./smallest "Once"

lmtool quantize ./checkpoint --lora ./adapter -o ./merged
"""


class QuantKind(str, Enum):
    """How weights are rounded."""

    int8 = "int8"
    int4 = "int4"


def quantize(
    model: Annotated[
        str,
        typer.Argument(
            autocompletion=complete_model,
            help="A checkpoint folder, a repository id, or `default`.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The new folder; it appears when it is complete.")
    ] = ...,  # pyright: ignore[reportArgumentType]  # typer's way to say that it is required
    quant: Annotated[
        QuantKind,
        typer.Option(help="int8: a scale for each output; int4: one for every 32 inputs."),
    ] = QuantKind.int8,
    lora: Loras = None,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = ColorWhen.auto,
    debug: Debug = False,
) -> None:
    """Write a checkpoint with its weights in int8 or int4, which loads without the original.

    Tokenizer, generation_config.json and licences are copied; no more than one weight at a time
    is in memory. Adapters are added before the rounding.
    """
    from ...engine.weights.checkpoint import open_checkpoint
    from ...engine.weights.folder import check_target

    terminal = open_terminal(quiet, verbose, color)
    check_target(output)
    checkpoint = open_checkpoint(find_model(model, offline, terminal))
    loras = find_loras(lora or (), offline, terminal)
    sizes = _save(terminal, checkpoint, quant.value, output, loras)
    terminal.note(
        f"written: {output}, {megabytes(sizes.after)} of weights in {quant.value} "
        f"({megabytes(sizes.before)} before)"
    )


def _save(
    terminal: Terminal, checkpoint: Checkpoint, quant: Quant, output: Path, loras: list[Lora]
) -> Sizes:
    with nothing_open():
        from ...engine.weights.save import save_quantized

    status = StatusLine(terminal)

    def watch(done: int, total: int) -> None:
        status.show(f"quantizing: {done / total:.0%} of {total:,} parameters")

    try:
        return save_quantized(checkpoint, quant, output, watch, loras)
    finally:
        status.clear()
