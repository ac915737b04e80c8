"""JSON objects out of a stream, one after another, however they are laid out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

_SEPARATORS = b" \t\r\n\0,[]"
"""What may stand between objects: a stream of them, a line each, or an array."""
# A string is skipped whole, braces in it too; one that isn't closed yet matches to the end.
_TOKEN = re.compile(rb'"(?:[^"\\]+|\\.)*(?P<closed>"?)|[{}]', re.DOTALL)


def begins_object(data: bytes) -> bool:
    """Whether what comes first in `data`, spaces and brackets aside, is an object."""
    return data.lstrip(_SEPARATORS).startswith(b"{")


def objects(blocks: Iterable[bytes]) -> Iterator[Any]:
    """Each object as soon as it is complete. Raises ValueError for what is no JSON."""
    held = bytearray()
    depth = at = 0
    for block in blocks:
        held += block
        while True:
            if depth == 0:
                del held[: len(held) - len(held.lstrip(_SEPARATORS))]
                at = 0
                if held and not held.startswith(b"{"):
                    raise ValueError("an object has to begin with a brace")
            match = _TOKEN.search(held, at)
            if match is None or match.group("closed") == b"":
                # Nothing more is certain; an open string is looked at again from its beginning.
                at = len(held) if match is None else match.start()
                break
            at = match.end()
            depth += {b"{": 1, b"}": -1}.get(match.group(), 0)
            if depth == 0:
                yield json.loads(bytes(held[:at]).decode("utf-8"))
                del held[:at]
    if held:
        raise ValueError("it ends in the middle of an object")
