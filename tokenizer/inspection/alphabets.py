"""How well a vocabulary covers each script: tokens that are of it, and what its letters cost."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from ..scripts import SCRIPTS, ScriptTable
from ..tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIXED, NONE = "several", "none"
"""In place of a script: tokens with letters of more than one, and tokens without letters."""


@dataclass(frozen=True)
class Alphabet:
    """One script. Letters are its characters that Unicode calls letters or marks."""

    script: str
    tokens: int
    """Tokens all of whose letters are of it."""
    letters: int
    own: int
    """Letters that are one token."""
    unknown: int
    """Letters that the vocabulary can't spell at all."""
    cost: float | None
    """Tokens a letter takes by itself, on average of those that can be spelled."""
    most: int
    """What the dearest of them takes."""


def cover_scripts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Alphabet]:
    """Every script that Unicode has letters of, the ones with most tokens first.

    `texts` are those of the tokens that are whole characters. Scripts without tokens come last,
    and tokens of several scripts and of none are there under `MIXED` and `NONE`.
    """
    import numpy as np

    table = ScriptTable()
    counts = _tokens_by_script(table, texts)
    letters, script = _letters(table)
    cost = _costs(tokenizer, letters)
    found: list[Alphabet] = []
    for code, name in enumerate(SCRIPTS):
        here = cost[script == code] if code else cost[:0]
        if not (len(here) or counts.get(code)):
            continue
        spelled = here[here > 0]
        found.append(
            Alphabet(
                NONE if code == 0 else name,
                counts.get(code, 0),
                len(here),
                int((here == 1).sum()),
                int((here == 0).sum()),
                float(np.mean(spelled)) if len(spelled) else None,
                int(spelled.max()) if len(spelled) else 0,
            )
        )
    if several := counts.get(-1, 0):
        found.append(Alphabet(MIXED, several, 0, 0, 0, None, 0))
    return sorted(found, key=lambda one: (-one.tokens, -one.letters, one.script))


def _tokens_by_script(table: ScriptTable, texts: Sequence[str]) -> dict[int, int]:
    """How many texts are of each script by its code, 0: without letters, -1: of several."""
    import numpy as np

    texts = [text for text in texts if text]
    if not texts:
        return {}
    script = table.lay_out(texts).script.astype(np.int64)
    starts = np.cumsum([0, *map(len, texts[:-1])])
    highest = np.maximum.reduceat(script, starts)
    lowest = np.minimum.reduceat(np.where(script == 0, len(SCRIPTS), script), starts)
    code = np.where((lowest != highest) & (highest > 0), -1, highest)
    return {int(one): int(many) for one, many in zip(*np.unique(code, return_counts=True))}  # noqa: B905


def _letters(table: ScriptTable) -> tuple[list[str], NDArray[np.uint8]]:
    """All letters and marks of Unicode that have a script, and its code [letters]."""
    letters = _all_letters()
    # Spaces between them: each keeps the script that it has by itself.
    script = table.lay_out([" ".join(letters)]).script[::2]
    return letters, script


@cache
def _all_letters() -> list[str]:
    category = unicodedata.category
    return [letter for letter in map(chr, range(sys.maxunicode + 1)) if category(letter)[0] in "LM"]


def _costs(tokenizer: Tokenizer, letters: Sequence[str]) -> NDArray[np.int64]:
    """Tokens of each letter by itself [letters], 0 where it can't be spelled.

    The mark that some pipelines put before every text is not the letter's.
    """
    import numpy as np

    from ..spelled import unknown_id

    unknown = unknown_id(tokenizer)
    mark = tokenizer.pipeline.token_to_id("▁")
    costs = np.zeros(len(letters), np.int64)
    for place, ids in enumerate(tokenizer.encode_plain(letters)):
        own = ids[1:] if len(ids) > 1 and ids[0] == mark else ids
        costs[place] = 0 if unknown in own else len(own)
    return costs
