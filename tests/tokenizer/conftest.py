"""Tokenizers of every kind, made once: the library's own object and ours, from the same file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import tokenizers

from lmtool.tokenizer.tokenizer import Tokenizer
from reference.small_tokenizers import KINDS, nameless


@dataclass(frozen=True)
class Pair:
    """The same tokenizer twice: `ours`, and the library's as a reference.

    The library finds special tokens in a text; by `nameless` they are text to it, as to ours.
    """

    ours: Tokenizer
    reference: tokenizers.Tokenizer
    nameless: tokenizers.Tokenizer
    path: Path


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """Every kind of small tokenizer by name."""
    made: dict[str, Pair] = {}
    for name, make in KINDS.items():
        path = tmp_path_factory.mktemp(name) / "tokenizer.json"
        make().save(str(path))
        reference = tokenizers.Tokenizer.from_file(str(path))
        made[name] = Pair(Tokenizer.load(path), reference, nameless(reference), path)
    return made


@pytest.fixture(params=list(KINDS))
def pair(request: pytest.FixtureRequest, kinds: dict[str, Pair]) -> Pair:
    """One kind after the other."""
    return kinds[request.param]
