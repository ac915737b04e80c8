"""`lmtool tokenize --show`: a text in the terminal with every token in a colour of its own."""

from __future__ import annotations

from ..tokenizer.bulk import Encoded
from ..tokenizer.tokenizer import Special, Tokenizer
from .text_table import display_width
from .token_cells import Cell, cells_of, parts_of

# Black letters on light grounds, so that it doesn't matter whether the terminal is dark or light.
GROUNDS = ("195", "229", "218", "193")
"""Grounds of neighbouring tokens, by their numbers in the table of 256 colours."""
INK, FAINT = "38;5;16", "38;5;242"
SPECIAL = "1;38;5;231;48;5;25"
"""Special tokens: bold white on blue."""
BORDER = "▏"
"""What parts tokens where there are no colours."""
TAB = 8

_SMALL = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


class StripWriter:
    """Turns the stretches of one text into its strip, as they come. See `TokenWriter`."""

    def __init__(
        self, tokenizer: Tokenizer, special: Special, *, painted: bool, ids: bool = False
    ) -> None:
        """`painted`: by colours, otherwise with borders; `ids`: small beside each token."""
        self._tokenizer = tokenizer
        self._special: Special = special
        self._painted = painted
        self._ids = ids
        self._count = self._passed = self._column = 0

    def add(self, encoded: Encoded) -> bytes:
        """The strip of one more stretch."""
        cells = cells_of(self._tokenizer, encoded, self._special, self._passed)
        shown = "".join(map(self._cell, cells))
        self._passed += len(encoded.text.encode())
        return shown.encode()

    def end(self) -> bytes:
        """What ends the last line, unless the text did."""
        return b"\n" if self._column or not self._count else b""

    def _cell(self, cell: Cell) -> str:
        ground = GROUNDS[self._count % len(GROUNDS)]
        style = SPECIAL if cell.special else f"{INK};48;5;{ground}"
        parts = parts_of(cell.data) or [("mark", "⟨⟩")]
        out = ["" if self._painted or not self._count else self._put(BORDER)]
        self._count += 1
        last = len(parts) - 1
        for place, (kind, text) in enumerate(parts):
            shown = self._put(text)
            if kind == "tab":
                shown += self._put(" " * (-self._column % TAB))
            if place == last and self._ids:
                shown += self._put(str(cell.id).translate(_SMALL))
            faint = kind != "text" and not cell.special
            out.append(self._paint(shown, f"{style};{FAINT}" if faint else style))
            if kind == "newline":
                out.append("\n")
                self._column = 0
        return "".join(out)

    def _put(self, text: str) -> str:
        """`text`, with the cursor moved on by it."""
        self._column += display_width(text)
        return text

    def _paint(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._painted else text
