"""Which texts the model learns from, and how they become flat arrays of ids.

Each source becomes `NAME.ids.npy` (uint16, documents one after another) and `NAME.starts.npy` (the
index at which each document begins). A document is `<|endoftext|>` and then its text: the one
special token is both "a text begins" and "the text is over".
"""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"
TOKENIZER_VOCAB = 6144


@dataclass(frozen=True)
class Source:
    """A training text and its share of the tokens seen, early and in the final decay.

    `titled` marks books whose documents open with a title: it is cut off, because a prompt is the
    beginning of a story, not its name.
    """

    file: str
    share: float
    final_share: float
    titled: bool = False


# Plain language teaches a small model most (Eldan and Li 2023, "TinyStories"), so that it gets far
# more than its share of the bytes, and most of all at the end, which is what stays with the model
# (Hu et al. 2024, "MiniCPM"). Shares are of tokens and need not add up to one.
SOURCES = (
    Source("tinystories.train", 0.08, 0.13),
    Source("storybooks-en", 0.04, 0.04, titled=True),
    Source("stories-en.child.train", 0.18, 0.25),
    Source("stories-en.slice-of-life.train", 0.03, 0.05),
    Source("stories-en.stories.train", 0.14, 0.14),
    Source("stories-en.bedtime.train", 0.14, 0.07),
    Source("stories-en.campfire.train", 0.09, 0.02),
    Source("stories-ja.train", 0.30, 0.30, titled=True),
)


def read_text(path: Path) -> str:
    """The whole text of an `.xz` or plain file."""
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes()).decode("utf-8")
    return path.read_text(encoding="utf-8")


def split_documents(text: str) -> list[str]:
    """The documents of a text whose documents end with a line `<|endoftext|>`.

    >>> split_documents("One.\\n<|endoftext|>\\nTwo.\\n<|endoftext|>\\n")
    ['One.', 'Two.']
    """
    documents = (document.strip("\n") for document in text.split(END_OF_TEXT))
    return [document for document in documents if document]


def without_title(document: str) -> str:
    """The document from its first line of prose on.

    Japanese prose is indented by an ideographic space, which goes too; an English title is a first
    line without an end mark that stands alone.

    >>> without_title("赤い船\\n\\n一\\n\\n　露子は、村の小学校へ上がったとき、音を聞いた。")
    '露子は、村の小学校へ上がったとき、音を聞いた。'
    >>> without_title("A very tall man\\n\\nHis hoe was too short.")
    'His hoe was too short.'
    """
    lines = document.split("\n")
    for number, line in enumerate(lines[:12]):
        if line.startswith("\u3000") and len(line) > 20:
            return "\n".join(lines[number:]).lstrip("\u3000")
    title, _, body = document.partition("\n\n")
    is_title = title.isascii() and len(title) < 80 and not title.endswith((".", '"'))
    return body if body and is_title else document


def encode_sources(data: Path, tokenizer: Tokenizer, out: Path) -> None:
    """Writes the id arrays of every source into `out`."""
    # Under its own name only when it is whole: an interrupted run encodes again.
    beside = out.with_suffix(".new")
    beside.mkdir(parents=True, exist_ok=True)
    begin = tokenizer.token_to_id(END_OF_TEXT)
    for source in SOURCES:
        documents = split_documents(read_text(data / f"{source.file}.txt.xz"))
        if source.titled:
            documents = [without_title(document) for document in documents]
        encoded = tokenizer.encode_batch(documents, add_special_tokens=False)
        pieces = [np.array([begin, *encoding.ids], dtype=np.uint16) for encoding in encoded]
        starts = np.cumsum([0, *(len(piece) for piece in pieces)], dtype=np.int64)
        np.save(beside / f"{source.file}.ids.npy", np.concatenate(pieces))
        np.save(beside / f"{source.file}.starts.npy", starts)
        print(f"{source.file}: {len(pieces):,} documents, {starts[-1]:,} tokens", flush=True)
    beside.rename(out)
