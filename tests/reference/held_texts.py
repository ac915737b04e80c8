"""Tiny models with real vocabularies, whose weights are random: what holds a text is the mask."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from lmtool.engine.request import Grammar, GrammarKind, Request, Sampling, Stop, Token
from lmtool.engine.session import Session
from lmtool.tokenizer.tokenizer import Tokenizer
from reference.random_checkpoints import Case
from reference.small_tokenizers import KINDS

PADDING = 13
"""Rows that the embedding has beyond the tokenizer's ids."""

ENDS = {"byte_level": 0, "byte_fallback": 2, "unigram": 1, "word_piece": 2}
"""What ends a text in each kind of vocabulary."""


def make_session(
    folder: Path, kind: str = "byte_level", *, holes: bool = False, longest: int = 2000
) -> Session:
    """A session of one random layer behind `kind` of tokenizer; a BPE may have `holes` in its ids.

    No file of it names an end: each request says what ends it.
    """
    tokenizer = KINDS[kind]()
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    if holes:
        _make_holes(folder / "tokenizer.json")
    size = Tokenizer.load(folder).vocab_size
    changes = {
        "vocab_size": size + PADDING,
        "num_hidden_layers": 1,
        "max_position_embeddings": longest,
    }
    Case("held", "Llama", changes).save(folder)
    return Session.load(folder, device="cpu")


def _make_holes(path: Path) -> None:
    """Move the last third of the vocabulary up by seven: nothing stands between."""
    fields = json.loads(path.read_text("utf-8"))
    vocab: dict[str, int] = fields["model"]["vocab"]
    border = 2 * len(vocab) // 3
    fields["model"]["vocab"] = {
        piece: id + 7 if id >= border else id for piece, id in vocab.items()
    }
    for one in fields["added_tokens"]:
        one["id"] += 7 if one["id"] >= border else 0
    path.write_text(json.dumps(fields), "utf-8")


def grammar(kind: GrammarKind, source: object) -> Grammar:
    text = source if isinstance(source, str) and kind != "choice" else json.dumps(source)
    return Grammar(kind, text, f"--{kind}")


def held(
    session: Session,
    wanted: Grammar,
    *,
    prompt: str = "The old",
    most: int | None = 400,
    seed: int = 0,
    temperature: float = 2.0,
    samples: int = 1,
    eos: frozenset[int] = frozenset(),
    **stop: object,
) -> list[list[Token]]:
    """Each sample's tokens under `wanted`."""
    assert session.tokenizer is not None
    request = Request(
        tuple(session.tokenizer.encode(prompt)),
        most,
        Sampling(temperature=temperature, seed=seed),
        Stop(eos=eos, **stop),  # type: ignore[arg-type]
        samples=samples,
        grammar=wanted,
    )
    return by_sample(list(session.generate(request)), samples)


def by_sample(tokens: Sequence[Token], samples: int) -> list[list[Token]]:
    return [[one for one in tokens if one.sample == sample] for sample in range(samples)]


def text_of(tokens: Sequence[Token]) -> str:
    return "".join(one.text for one in tokens)
