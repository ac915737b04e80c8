"""What every page begins and ends with: one file, no network, light or dark as its reader is.

Whatever a model or a text has in it is text there, in the page as in the data of its script.
"""

from __future__ import annotations

import json
from html import escape

from .text_table import printable
from .token_cells import Part


def head(title: str, style: str) -> str:
    """The page up to its body, whose title is a line of any letters."""
    return _HEAD.replace("{style}", _STYLE + style).replace("{title}", escape(printable(title)))


def tail(data: object, script: str) -> str:
    """The end of the page: its data, which a script finds as `data`, and that script."""
    return _TAIL.replace("{script}", script).replace("{data}", for_script(data))


def for_script(value: object) -> str:
    """JSON that can't end the script element that it stands in."""
    text = json.dumps(value, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def in_text(part: Part) -> str:
    """A part of a token. White space itself stays, so that lines break and copying gives it."""
    kind, text = part
    if kind == "space":
        return "<i> </i>"
    if kind == "tab":
        return '<i class="t">\t</i>'
    if kind == "newline":
        return f'<i class="n">{text}</i>\n'
    return on_a_line(part)


def on_a_line(part: Part) -> str:
    """A part of a token, with a mark in place of white space, which never breaks a line."""
    kind, text = part
    safe = escape("".join(map(_allowed, text)))
    return safe if kind == "text" else f"<u>{safe}</u>"


def _allowed(letter: str) -> str:
    """HTML has no place for Unicode's noncharacters."""
    number = ord(letter)
    unfit = number & 0xFFFE == 0xFFFE or 0xFDD0 <= number <= 0xFDEF
    return f"⟨U+{number:04X}⟩" if unfit else letter


_STYLE = """\
:root { color-scheme: light dark; --ink: #111; --page: #fff; --faint: #6b6b6b; --box: #fff;
  --line: #bbb; --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "Noto Sans Mono CJK JP",
  monospace; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f1f1f1; --page: #16181c; --faint: #a9adb5; --box: #24272e; --line: #555; }
}
body { margin: 0; background: var(--page); color: var(--ink); }
i { font-style: normal; position: relative; } u { text-decoration: none; color: var(--faint); }
i::before { content: "\\b7"; position: absolute; color: var(--faint); }
i.t::before { content: "\\2192"; } i.n::before { content: none; }
i.n { color: var(--faint); user-select: none; }
"""
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
"""
_TAIL = """<script type="application/json" id="data">{data}</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
{script}</script>
</body>
</html>
"""
