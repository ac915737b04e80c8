"""What the family reads: English stories, shuffled once, so that no model reads a word twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from corpus import END_OF_TEXT, read_text, split_documents

VOCAB = 2048  # small, so that the smallest models aren't mostly embedding
SOURCES = (
    "tinystories.train",
    "stories-en.child.train",
    "stories-en.slice-of-life.train",
    "stories-en.stories.train",
    "stories-en.bedtime.train",
    "stories-en.campfire.train",
)
SEED = 1


def files(data: Path) -> list[Path]:
    """The training texts."""
    return [data / f"{source}.txt.xz" for source in SOURCES]


def train_tokenizer(data: Path, out: Path) -> None:
    """Runs `lmtool train-tokenizer` over every source; the result lies in the folder `out`."""
    command = [sys.executable, "-m", "lmtool", "train-tokenizer", *map(str, files(data))]
    command += ["-o", str(out), "--vocab-size", str(VOCAB), "--special", END_OF_TEXT]
    command += ["--bos", END_OF_TEXT, "--doc-separator", END_OF_TEXT, "--pattern", "gpt4"]
    subprocess.run(command, check=True)


def encode(data: Path, tokenizer_file: Path, out: Path) -> None:
    """Writes all documents in a random order, each after END_OF_TEXT, as one array of uint16."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    documents = [text for file in files(data) for text in split_documents(read_text(file))]
    np.random.default_rng(SEED).shuffle(documents)
    begin = tokenizer.token_to_id(END_OF_TEXT)
    encoded = tokenizer.encode_batch(documents, add_special_tokens=False)
    ids = np.concatenate([np.array([begin, *one.ids], dtype=np.uint16) for one in encoded])
    # Under its own name only when it is whole: an interrupted run encodes again.
    beside = out.with_suffix(".new.npy")
    np.save(beside, ids)
    beside.rename(out)
    print(f"{len(documents):,} documents, {len(ids):,} tokens", flush=True)
