"""Documents as tasks of about a megabyte, cut where that changes no id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from .corpus import Part
from .cut import AROUND, Cutter

TASK = 1 << 20
"""Characters to encode at a time, as far as documents and words allow."""
MANY = 1 << 14
"""Documents to encode at a time at most."""


@dataclass(frozen=True)
class Task:
    """Texts to encode alone, all from one file: documents, or stretches of one.

    `begins` and `ends` say of each whether its document does. `last`: the file ends here.
    """

    source: int
    texts: tuple[str, ...]
    begins: tuple[bool, ...]
    ends: tuple[bool, ...]
    last: bool = False


def tasks(parts: Iterable[Part], source: int, cutter: Cutter, inside: bool) -> Iterator[Task]:
    """The documents in `parts` as tasks; `inside`: the first part goes on with a document.

    Memory stays bounded where `cutter` finds places to cut; otherwise a document is held whole.
    """
    ready: list[tuple[str, bool, bool]] = []
    size = 0
    for text, begins, ends in _stretches(parts, cutter, inside):
        ready.append((text, begins, ends))
        size += len(text)
        if size >= TASK or len(ready) >= MANY:
            yield _task(source, ready)
            ready, size = [], 0
    if ready:
        yield _task(source, ready)


def skipped(
    parts: Iterator[Part], characters: int, documents: int, on_text: Callable[[bytes], object]
) -> Iterator[Part] | None:
    """`parts` without their first `characters`, in which `documents` end; None if they have less.

    `on_text` hears what is skipped.
    """
    while characters or documents:
        part = next(parts, None)
        if part is None:
            return None
        text = part.text[:characters]
        on_text(text.encode())
        characters -= len(text)
        if len(text) < len(part.text) or (part.ends and not documents):
            rest = Part(part.source, part.text[len(text) :], part.ends)
            return None if documents or characters else _before(rest, parts)
        documents -= part.ends
    return parts


def _before(first: Part, others: Iterator[Part]) -> Iterator[Part]:
    yield first
    yield from others


def _task(source: int, ready: list[tuple[str, bool, bool]]) -> Task:
    texts, begins, ends = zip(*ready, strict=True)
    return Task(source, texts, begins, ends)


def _stretches(
    parts: Iterable[Part], cutter: Cutter, inside: bool
) -> Iterator[tuple[str, bool, bool]]:
    """Texts, and whether their document begins and ends with each."""
    held: list[str] = []
    size, enough = 0, TASK
    begins = not inside
    for part in parts:
        held.append(part.text)
        size += len(part.text)
        if part.ends:
            yield "".join(held), begins, True
            held, size, enough, begins = [], 0, TASK, True
        elif size >= enough:
            text = "".join(held)
            place = cutter.place(text, 0, len(text) - AROUND) if cutter.can_cut else None
            if place is None:
                # Looking again at every part would take time with the square of the length.
                held, enough = [text], 2 * size
                continue
            yield text[:place], begins, False
            held, size, enough, begins = [text[place:]], len(text) - place, TASK, False
    if size:
        yield "".join(held), begins, True
