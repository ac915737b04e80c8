"""How far the merge loop is: the tokenizers library tells it to its own progress bar only.

That bar is drawn on file descriptor 2 if it is a terminal. So while training runs, descriptor 2
is a pseudo-terminal of ours, and we read the bar's "Compute merges  123 / 4096" from it.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

OnMerge = Callable[[int], None]
"""Called with the number of merges done so far."""

_MERGES = re.compile(rb"Compute merges\D*?(\d+)\s*/\s*(\d+)")


@contextmanager
def watching_merges(on_merge: OnMerge, vocab_size: int) -> Generator[None]:
    """Call `on_merge` whenever the bar moves; silent where there are no pseudo-terminals.

    Descriptor 2 is the terminal again afterwards, unless the block was interrupted: then the
    merge loop runs on until the process ends, and its bar must not be seen.
    """
    try:
        import pty

        ours, bars = pty.openpty()
    except (ImportError, OSError):
        with _descriptor_2(os.open(os.devnull, os.O_WRONLY)):
            yield
        return
    _make_wide(bars)
    threading.Thread(target=_read_bar, args=(ours, on_merge, vocab_size), daemon=True).start()
    with _descriptor_2(bars):
        yield


@contextmanager
def _descriptor_2(replacement: int) -> Generator[None]:
    real = os.dup(2)
    os.dup2(replacement, 2)
    os.close(replacement)
    try:
        yield
    except Exception:
        os.dup2(real, 2)
        raise
    else:
        os.dup2(real, 2)
    finally:
        os.close(real)


def _make_wide(terminal: int) -> None:
    """Give the pseudo-terminal room for the whole bar; it has no size of its own."""
    with suppress(ImportError, OSError):
        import fcntl
        import struct
        import termios

        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))


def _read_bar(ours: int, on_merge: OnMerge, vocab_size: int) -> None:
    """Read what the bar draws until nobody can draw any more.

    Its first picture still has the numbers of the stage before, which counted words.
    """
    seen = b""
    with suppress(OSError):  # Linux says EIO where others say end of file
        while data := os.read(ours, 4096):
            seen = (seen + data)[-4096:]
            if found := _MERGES.findall(seen):
                done, total = map(int, found[-1])
                if total == vocab_size and done < total:
                    on_merge(done)
    os.close(ours)
