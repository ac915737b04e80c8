"""The prompt of a command: put together from the command line, files and stdin, strictly UTF-8."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .. import InputError, UsageError
from .option_groups import PromptOptions
from .stdin import StdinReader, stdin_kind
from .terminal import Terminal

BETWEEN = "\n\n"
"""What parts the pieces of a prompt: stdin, files, the prompt itself."""

STDIN = Path("-")
_ESCAPE = re.compile(
    rb"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([ntr0abefv\\'\"]))"
)
_SINGLE = {
    **{b"n": b"\n", b"t": b"\t", b"r": b"\r", b"0": b"\0", b"a": b"\a", b"b": b"\b"},
    **{b"e": b"\x1b", b"f": b"\f", b"v": b"\v", b"\\": b"\\", b"'": b"'", b'"': b'"'},
}


def argument_text(argument: str, what: str, escape: bool = False) -> str:
    """A command-line argument as text. Raises `InputError` where its bytes aren't UTF-8.

    With `escape`, `\\n`, `\\x41`, `\\u3042` and the like are read; an unknown one stays.
    """
    data = os.fsencode(argument)
    if escape:
        data = _ESCAPE.sub(_unescape, data)
    return _decode(data, what)


def _unescape(match: re.Match[bytes]) -> bytes:
    byte, short, long, single = match.groups()
    if byte is not None:
        return bytes([int(byte, 16)])
    if single is not None:
        return _SINGLE[single]
    code = int(short or long, 16)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise InputError(f"`{match.group().decode()}` is not a character")
    return chr(code).encode()


def _decode(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{what} is not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}",
            hint="convert it first, for instance with `iconv -f latin1 -t utf-8`",
        ) from error


@dataclass
class PendingPrompt:
    """A prompt whose files are read and whose stdin may still be on its way."""

    options: PromptOptions
    before: list[str]
    """Pieces that come before stdin's, and `after` those behind it."""
    after: list[str]
    reader: StdinReader | None = None
    """What reads stdin, or None where it takes no part."""
    optional: bool = False
    """Whether a silent stdin may be left out."""

    def text(self, terminal: Terminal) -> str:
        """The whole prompt, once stdin is in. Call it when everything else is ready."""
        pieces = [*self.before, *self.after]
        if self.reader is not None:
            if self.optional and self.reader.silent():
                terminal.note("stdin is silent: going on without it (--stdin waits for it)")
            else:
                piece = _decode(self.reader.read(), "stdin")
                if not self.options.exact:
                    piece = without_final_newline(piece)
                pieces = [*self.before, piece, *self.after]
        return BETWEEN.join(piece for piece in pieces if piece)


def open_prompt(options: PromptOptions, terminal: Terminal) -> PendingPrompt:
    """Read the files that the prompt names and begin with stdin where it takes part.

    Raises `UsageError` for options that contradict each other, `InputError` for bad text.
    """
    if options.token_ids is not None:
        return _open_ids(options, options.token_ids, terminal)
    words = _words(options)
    pieces: list[str | None] = [_read_file(path, options) for path in options.file or ()]
    if words is not None:
        pieces.append(words)
    if pieces.count(None) > 1:
        raise UsageError("`-f -` is given twice, and stdin can be read only once")
    if None in pieces:
        if options.stdin is False:
            raise UsageError("`--no-stdin` contradicts `-f -`")
        place = pieces.index(None)
        before = [piece for piece in pieces[:place] if piece is not None]
        after = [piece for piece in pieces[place + 1 :] if piece is not None]
        return PendingPrompt(options, before, after, _start_reader(terminal))
    texts = [piece for piece in pieces if piece is not None]
    if not pieces:
        if options.stdin is False:
            raise UsageError("no prompt", hint="give it as an argument, with -f, or on stdin")
        return PendingPrompt(options, [], [], _start_reader(terminal))
    kind = stdin_kind()
    if options.stdin is False or kind == "closed" or (kind == "terminal" and not options.stdin):
        return PendingPrompt(options, [], texts)
    optional = kind == "pipe" and not options.stdin
    return PendingPrompt(options, [], texts, _start_reader(terminal), optional)


def without_final_newline(text: str) -> str:
    """`text` without the one line break, `\\n` or `\\r\\n`, that may end it."""
    if text.endswith("\n"):
        return text[:-2] if text.endswith("\r\n") else text[:-1]
    return text


def parse_ids(text: str) -> tuple[int, ...]:
    """Token ids parted by commas or spaces, brackets around them or not: "1,2 3" -> (1, 2, 3)."""
    entries = [entry for entry in re.split(r"[,\s]+", text.strip().strip("[]")) if entry]
    for entry in entries:
        if not (entry.isascii() and entry.isdigit()):
            raise InputError(f"`{entry}` in --token-ids is not a token id")
    return tuple(int(entry) for entry in entries)


def _open_ids(options: PromptOptions, ids: str, terminal: Terminal) -> PendingPrompt:
    if options.argument is not None or options.prompt is not None or options.file:
        raise UsageError("a prompt beside --token-ids", hint="give one or the other")
    if ids == "-":
        return PendingPrompt(options, [], [], _start_reader(terminal))
    return PendingPrompt(options, [], [argument_text(ids, "--token-ids")])


def _words(options: PromptOptions) -> str | None:
    """The prompt on the command line, if there is one."""
    if options.argument is not None and options.prompt is not None:
        raise UsageError("the prompt is given twice", hint="once as an argument, once with -p")
    words = options.argument if options.prompt is None else options.prompt
    return None if words is None else argument_text(words, "the prompt", options.escape)


def _read_file(path: Path, options: PromptOptions) -> str | None:
    """A file's text, or None for stdin, which is read later."""
    if path == STDIN:
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read `{path}`: {error.strerror}") from error
    text = _decode(data, f"`{path}`")
    return text if options.exact else without_final_newline(text)


def _start_reader(terminal: Terminal) -> StdinReader:
    if stdin_kind() == "closed":
        raise UsageError("no prompt, and stdin is closed", hint="give the prompt as an argument")
    if stdin_kind() == "terminal":
        terminal.note("reading the prompt from stdin, Ctrl-D ends")
    return StdinReader().start()
