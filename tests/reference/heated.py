"""Texts with prices: tokens of the kinds that hurt, and heat-maps of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import strategies as st

from lmtool.cli.heat import Heat
from lmtool.cli.prompt_words import Spelling

PIECES = (
    *(b"a", b" the", b" fox", b"es", b".", b"\n", b"\r\n", b" ", b"   ", b"\t", b"", b"\x1b[31m"),
    *(b"\xe6\x97", b"\xa5", b"\xff", b"\xf0\x9f", "日本語".encode(), " Straße".encode()),
    *(
        "\u0301".encode(),
        "\u2028".encode(),
        "\u202e".encode(),
        b"x" * 90,
        b"<b>",
        b"</script><script>alert(1)</script>",
        b"&amp;",
        b"<!--",
    ),
)


class Pieces(Spelling):
    """A spelling whose tokens are `PIECES`."""

    def __init__(self) -> None:
        super().__init__(None)

    def data(self, id: int) -> bytes:
        return PIECES[id]

    def _alone(self, id: int) -> bool:
        return False


def heat_of(documents: Sequence[Sequence[tuple[int, float]]], step: int, keep: int = 999) -> Heat:
    """Documents of (id, bits), handed on `step` tokens at a time."""
    heat = Heat(Pieces(), keep)
    for document in documents:
        heat.begin(document[0][0])
        for at in range(1, len(document), step):
            part = document[at : at + step]
            heat.add([id for id, _ in part], [bits * math.log(2) for _, bits in part])
    return heat


DOCUMENTS = st.lists(
    st.lists(
        st.tuples(st.integers(0, len(PIECES) - 1), st.floats(0, 40).map(lambda x: round(x, 3))),
        min_size=1,
        max_size=60,
    ),
    min_size=1,
    max_size=3,
)
