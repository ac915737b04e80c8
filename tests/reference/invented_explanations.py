"""Explanations of texts that nobody wrote: figures at random, over tokens that hurt pages."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from lmtool.cli.explain_json import Explained
from lmtool.cli.explain_page import first_shown
from lmtool.cli.prompt_words import Word
from lmtool.cli.token_cells import parts_of
from lmtool.engine.lens.explanation import (
    Expert,
    Explanation,
    Guess,
    LayerStory,
    Neuron,
    Origin,
    Parts,
    Raised,
    View,
)
from lmtool.engine.lens.grid import Column

HOSTILE = (
    *("</script><script>alert(1)</script>", "<!--", "-->", "]]>", "<b onclick=x>", "&amp;", "'\""),
    *(
        "\n",
        "\r\n",
        "\t",
        " ",
        "  ",
        "\x00",
        "\x1b[31m",
        "\ufdd0",
        "\uffff",
        "\u2028",
        "\u202e evil",
    ),
    *(
        "שלום",
        " مرحبا",
        "日本語",
        "の",
        "👩‍👩‍👧",
        "\u0301",
        "\\u003c",
        "{data}",
        "x" * 300,
        " a",
        "b",
    ),
)


class Hostile:
    """A spelling whose tokens are whatever hurts, and its last one half a character."""

    count = len(HOSTILE) + 1

    def data(self, id: int) -> bytes:
        return b"\xe3\x81" if id == len(HOSTILE) else HOSTILE[id].encode()

    def shown(self, *ids: int) -> str:
        return "".join(text for _, text in parts_of(b"".join(map(self.data, ids)))) or "⟨⟩"

    def words(self, ids: tuple[int, ...]) -> list[Word]:
        return [Word(at, at + 1, self.shown(id)) for at, id in enumerate(ids)]


@dataclass
class Named:
    name: str = "</title><script>alert(2)</script>"


def invented(tokens: int, layers: int, predictions: int = 1, heads: int = 4) -> Any:
    """An explanation of a text that nobody wrote, and its grid: figures at random."""
    chance = random.Random(tokens)
    ids = tuple(chance.randrange(Hostile.count) for _ in range(tokens))

    def view(answer: int, rank: int) -> View:
        shares = sorted((chance.random() for _ in range(5)), reverse=True)
        top = [Guess(chance.randrange(Hostile.count), share / 6, 1.0) for share in shares]
        if rank == 1:
            top[0] = Guess(answer, top[0].probability, 1.0)
        return View(tuple(top), Guess(answer, 0.01, 0.5), rank)

    def explanation(position: int) -> Explanation:
        answer = ids[position % tokens]
        experts = (Expert(3, 0.7, 0.2), Expert(None, 1.0, -0.25))
        stories = [
            LayerStory(
                view(answer, 1 if number >= layers - 2 else 3),
                chance.gauss(0, 1),
                chance.gauss(0, 1),
                tuple(chance.gauss(0, 1) for _ in range(heads)),
                experts if number % 2 else (),
            )
            for number in range(layers)
        ]
        origins = [
            Origin(chance.random(), chance.random(), chance.gauss(0, 1)) for _ in range(position)
        ]
        promotes = tuple(Raised(chance.randrange(Hostile.count), 1.0) for _ in range(5))
        neurons = tuple(Neuron(0, None, number, 1.0, -0.5, promotes) for number in range(10))
        parts = Parts(1.0, 2.0, 3.0, -0.1, -2.3, 0.001, 3.601)
        return Explanation(
            position, answer, view(answer, 3), tuple(stories), parts, tuple(origins), neurons
        )

    told = [explanation(tokens - number) for number in reversed(range(predictions))]
    found: Any = Explained(None, ids, told, Named(), Hostile())  # type: ignore[arg-type]
    columns = [
        Column(
            at,
            ids[(at + 1) % tokens],
            tuple(view(ids[(at + 1) % tokens], 2) for _ in range(layers + 1)),
        )
        for at in range(first_shown(found), tokens)
    ]
    return found, columns
