"""Files of other formats, made small, once for the session."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from lmtool.tokenizer.pieces import gpt2_alphabet
from reference.small_tokenizers import ALL, byte_level


def _learn(size: int) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, show_progress=False, min_frequency=2
    )
    made.train_from_iterator(
        [ALL, "aaaaaaaaaaa abababababab 11112222      \n\n\n\n  \n" * 9], trainer
    )
    return made


@pytest.fixture(scope="session")
def ranks() -> dict[bytes, int]:
    """Small tiktoken ranks: 256 bytes and what was learned."""
    letters = gpt2_alphabet()
    pieces = sorted(_learn(700).get_vocab().items(), key=lambda item: item[1])
    return {bytes(letters[letter] for letter in piece): id for piece, id in pieces}


def rank_lines(ranks: dict[bytes, int]) -> bytes:
    """A rank file's contents."""
    pairs = ranks.items()
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in pairs)


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GPT-2's two files."""
    folder = tmp_path_factory.mktemp("gpt2")
    described = json.loads(byte_level().to_str())
    vocabulary = described["model"]["vocab"]
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    merges = "".join(f"{left} {right}\n" for left, right in described["model"]["merges"])
    (folder / "merges.txt").write_text("#version: 0.2\n" + merges, "utf-8")
    return folder
