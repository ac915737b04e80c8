"""`--logit-bias`: what makes single tokens likelier, less likely or impossible."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import ModelError, UsageError
from .prompt import argument_text
from .settings import Number, Setting

if TYPE_CHECKING:
    from ..engine.session import Session
    from ..tokenizer.tokenizer import Tokenizer

Pairs = tuple[tuple[int, float], ...]
"""Ids, each once and in order, and what is added to their logits."""

AMOUNT = Number(at_least=-1e6, at_most=1e6)
BANS = ("-inf", "-infinity", "false")

_QUOTED = re.compile(r"""\s*(["'])(?P<name>.*)\1\s*=?(?P<amount>[^"']*)""", re.DOTALL)
_NAMED = re.compile(r"(?P<name>.+)=(?P<amount>.*)", re.DOTALL)
_JOINED = re.compile(r"(?P<name>[0-9]+)(?P<amount>[+-].*)")  # as llama.cpp has it
_ID = re.compile(r"\s*[+-]?[0-9]+\s*")


@dataclass(frozen=True)
class Entry:
    """A token id, or a text all of whose tokens are meant, and what is added; -inf bans."""

    token: int | str
    amount: float


@dataclass(frozen=True)
class BiasKind:
    """`ID=X`, `"text"=X` or `text=X`; X is a number, -inf or false."""

    says: str = (
        'TOKEN=X (a token id or "text", then a number from -1000000 to 1000000, -inf or false)'
    )

    def accept(self, raw: object) -> str:
        """See `Kind`."""
        if not isinstance(raw, str):
            raise ValueError
        read_entry(raw)
        return raw


def read_entry(raw: str) -> Entry:
    """What is written in `raw`. Raises `ValueError` for anything else.

    >>> read_entry("15=-2"), read_entry("15-2"), read_entry("'hello'=false")
    (Entry(token=15, amount=-2.0), Entry(token=15, amount=-2.0), Entry(token='hello', amount=-inf))
    """
    found = _QUOTED.fullmatch(raw)
    if found is None:
        found = _NAMED.fullmatch(raw) or _JOINED.fullmatch(raw)
        if found is None:
            raise ValueError
        name = found["name"]
        if name[0] in "\"'":
            raise ValueError  # the other quote is missing
        token = int(name) if _ID.fullmatch(name) else name
    else:
        token = found["name"]
    amount = found["amount"].strip()
    return Entry(token, -math.inf if amount.lower() in BANS else AMOUNT.accept(amount))


def read_bias(setting: Setting[tuple[str, ...]], session: Session, escape: bool) -> Pairs:
    """What `--logit-bias` gives each id; of several entries for one id the sum.

    With `escape`, `\\n` and the like are read in what the command line has. A special token's
    spelling means the token. Raises `UsageError` for an id that the model hasn't and for a text of
    no tokens, `ModelError` for a text where there is no tokenizer.
    """
    literal = setting.source == "config file"  # TOML is text already
    amounts: dict[int, float] = {}
    for raw in setting.value:
        entry = read_entry(raw)
        if isinstance(entry.token, int):
            ids = [entry.token]
        else:
            text = entry.token
            if not literal:
                text = argument_text(text, "--logit-bias", escape)
            ids = _ids_of(text, session)
        for id in dict.fromkeys(ids):
            amounts[id] = amounts.get(id, 0.0) + entry.amount
    for id in amounts:
        if not 0 <= id < session.spec.vocab:
            raise UsageError(
                f"--logit-bias: there is no token {id}, only 0 to {session.spec.vocab - 1}"
            )
    return tuple(sorted(amounts.items()))


def _ids_of(text: str, session: Session) -> Sequence[int]:
    if session.tokenizer is None:
        raise ModelError(
            f"--logit-bias with text needs a tokenizer, and `{session.card.path}` has none",
            hint="a token id will do",
        )
    ids = session.tokenizer.encode_plain([text], "parse")[0]
    if not ids:
        raise UsageError(f"--logit-bias: the text {json.dumps(text)} has no tokens")
    return ids


def bias_in_words(pairs: Iterable[tuple[int, float]], tokenizer: Tokenizer | None) -> str:
    """Each id with its text and what it gets, for -v."""

    def name(id: int) -> str:
        text = json.dumps(tokenizer.token_text(id), ensure_ascii=False) if tokenizer else ""
        return f"{id} {text}".rstrip()

    return ", ".join(f"{name(id)} {amount:+g}" for id, amount in pairs)
