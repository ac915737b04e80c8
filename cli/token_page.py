"""`lmtool tokenize --html`: one page that shows every token, and tells of the one pointed at.

The page needs no network. Whatever the text has in it, it is text there.
"""

from __future__ import annotations

from array import array
from html import escape
from typing import IO

from ..tokenizer.bulk import Encoded
from ..tokenizer.tokenizer import Special, Tokenizer
from .text_table import printable
from .token_cells import Cell, cells_of, parts_of
from .web_page import head, in_text, tail

BLOCK = 4096
"""Tokens after which a new block begins, even within a line: browsers draw only blocks in sight."""
LINES = 64
"""Tokens from which on a block ends with the line."""


class TokenPage:
    """Writes a page while texts come; what is told of tokens stands behind them."""

    def __init__(self, stream: IO[bytes], tokenizer: Tokenizer, special: Special) -> None:
        """Begin a page in `stream`."""
        self._stream = stream
        self._tokenizer = tokenizer
        self._special: Special = special
        self._told = array("q")  # id, bytes since the last token's end, bytes
        self._pieces: dict[int, tuple[str, str]] = {}
        self._in_block = self._blocks = self._count = 0
        self._passed = self._last = self._bytes = 0
        title = f"Tokens of {tokenizer.name}"
        self._write(head(title, _STYLE))
        self._write(f"<header><h1>{escape(printable(title))}</h1></header>\n<main>")

    def add(self, encoded: Encoded) -> None:
        """Show one more stretch of a text."""
        cells = cells_of(self._tokenizer, encoded, self._special, self._passed)
        self._write("".join(map(self._cell, cells)))
        self._passed += len(encoded.text.encode())

    def end_text(self) -> None:
        """A text ends: what comes next begins at the byte 0 of another."""
        self._write(self._end_block())
        self._bytes += self._passed
        self._last -= self._passed
        self._passed = 0

    def end(self) -> None:
        """Write what is told of the tokens, and close the page."""
        self._write(self._end_block())
        rate = f", {self._bytes / self._count:.2f} bytes a token" if self._count else ""
        summary = f"{self._count:,} tokens, {self._bytes:,} bytes{rate}"
        told = {"tokens": self._told.tolist(), "pieces": self._pieces}
        self._write(_END.replace("{summary}", summary) + tail(told, _SCRIPT))

    def _cell(self, cell: Cell) -> str:
        before = "" if self._in_block else "<div>"
        self._in_block += 1
        self._count += 1
        self._told.extend((cell.id, cell.start - self._last, cell.end - cell.start))
        self._last = cell.end
        if cell.id not in self._pieces:
            self._pieces[cell.id] = (self._tokenizer.piece(cell.id), self._bytes_of(cell))
        parts = parts_of(cell.data) or [("mark", "⟨⟩")]
        opened = '<b class="s">' if cell.special else "<b>"
        shown = f"{before}{opened}{''.join(map(in_text, parts))}</b>"
        ends = parts[-1][0] == "newline" and self._in_block >= LINES
        return shown + self._end_block() if ends or self._in_block >= BLOCK else shown

    def _bytes_of(self, cell: Cell) -> str:
        """The token's own bytes, which a normalizer may have made of others in the text."""
        own = self._tokenizer.is_byte(cell.id) or self._tokenizer.spelling == "bytes"
        data = cell.data if own else self._tokenizer.token_text(cell.id).encode()
        return " ".join(f"{byte:02X}" for byte in data)

    def _end_block(self) -> str:
        closed = "</div>\n" if self._in_block else ""
        self._in_block = 0
        return closed

    def _write(self, text: str) -> None:
        self._stream.write(text.encode())


_STYLE = """\
:root { --a: #cdeaf7; --b: #fdf0b4; --c: #f9d3e1; --d: #d5f0c4; --special: #1f4e8c; }
@media (prefers-color-scheme: dark) {
  :root { --a: #1d4354; --b: #4d4417; --c: #552b3e; --d: #2b4a1f; --special: #a9cbff; }
}
body { display: flex; flex-direction: column; font: 15px/1.7 var(--mono); }
header, footer, main { padding: 0 1.2rem; }
header { order: -2; } footer { order: -1; color: var(--faint); }
h1 { font-size: 1.1rem; margin: 1rem 0 0; }
main { padding-top: .8rem; padding-bottom: 7rem; tab-size: 8; }
main > div { white-space: break-spaces; overflow-wrap: anywhere; content-visibility: auto;
  contain-intrinsic-size: auto 20rem; }
b { font-weight: inherit; border-radius: 2px; padding: .12em 0; }
b:nth-child(4n+1) { background: var(--a); } b:nth-child(4n+2) { background: var(--b); }
b:nth-child(4n+3) { background: var(--c); } b:nth-child(4n) { background: var(--d); }
b.s { background: var(--special); color: var(--page); font-weight: 700; }
b.on { outline: 2px solid var(--ink); }
b.s u { color: inherit; }
#told { position: fixed; left: 1.2rem; bottom: 1rem; max-width: calc(100% - 4rem); margin: 0;
  padding: .5rem .8rem; background: var(--box); border: 1px solid var(--line);
  border-radius: 4px; overflow-wrap: anywhere; white-space: pre-wrap; }
#told:empty { display: none; }
"""
_END = """</main>
<footer>{summary}. <span id="how">Point at a token, or click it, to be told of it.</span>
<noscript>Without scripts there are the borders alone.</noscript></footer>
<output id="told"></output>
"""
_SCRIPT = """\
const told = document.getElementById("told");
const main = document.querySelector("main");
const firsts = new Map(), ends = [];
let count = 0, at = 0;
for (const block of main.children) { firsts.set(block, count); count += block.children.length; }
for (let place = 0; place < data.tokens.length; place += 3) {
  at += data.tokens[place + 1]; const start = at;
  at += data.tokens[place + 2]; ends.push([start, at]);
}
let on = null, kept = false;
function tell(token) {
  if (on) on.classList.remove("on");
  on = token;
  if (!token) { told.textContent = ""; return; }
  token.classList.add("on");
  const siblings = Array.prototype.indexOf.call(token.parentNode.children, token);
  const number = firsts.get(token.parentNode) + siblings;
  const id = data.tokens[3 * number], [piece, bytes] = data.pieces[id], [from, to] = ends[number];
  const where = from === to ? "put before the text" : "bytes " + from + " to " + to;
  const kind = token.className.includes("s") ? ", special" : "";
  told.textContent = "token " + number + ": id " + id + kind + "\\npiece " +
    JSON.stringify(piece) + "\\n" + where + (bytes ? ": " + bytes : "");
}
main.addEventListener("pointerover", event => { if (!kept) tell(event.target.closest("b")); });
main.addEventListener("pointerleave", () => { if (!kept) tell(null); });
main.addEventListener("click", event => {
  const token = event.target.closest("b");
  kept = token !== null && !(kept && token === on);
  tell(token);
});
"""
