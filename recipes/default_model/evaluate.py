"""Bits per byte on text that was not trained on, beside what needs no network."""

from __future__ import annotations

import json
import lzma
import math
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from corpus import SOURCES, read_text, split_documents
from export import load_decoder
from model import Decoder
from ngram import Trigram

STRIDE = 512
ROWS = 8


def evaluate(data: Path, model: Path, corpus: Path, report: Path) -> None:
    """Measures the exported `model` on every valid text of `data`; writes and prints the report.

    The figures count the bits of each document's text given that it begins; the end mark counts
    neither as bits nor as bytes.
    """
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    decoder = load_decoder(model).eval()
    arrays = [np.load(corpus / f"{source.file}.ids.npy") for source in SOURCES]
    trigram = Trigram(np.concatenate(arrays).astype(np.int64), decoder.config.vocab)
    rows = {}
    for file in sorted(data.glob("*.valid.txt.xz")):
        documents = split_documents(read_text(file))
        encoded = [np.array(tokenizer.encode(text).ids) for text in documents]
        size = sum(len(text.encode("utf-8")) for text in documents)
        packed = len(lzma.compress("\n".join(documents).encode("utf-8"), preset=9))
        rows[file.name.removesuffix(".valid.txt.xz")] = row = {
            "bytes": size,
            "tokens": sum(len(ids) - 1 for ids in encoded),
            "xz": 8 * packed / size,
            "trigram": sum(trigram.bits(ids) for ids in encoded) / size,
            "model": bits(decoder, [torch.from_numpy(ids) for ids in encoded]) / size,
        }
        print(file.name, {name: round(value, 3) for name, value in row.items()}, flush=True)
    report.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def bits(decoder: Decoder, documents: list[Tensor]) -> float:
    """Bits for each document's ids[1:].

    Long documents go through in windows that overlap, so that every token but a document's first
    ones is predicted from at least max_positions - STRIDE before it.
    """
    length = decoder.config.max_positions
    windows: list[tuple[Tensor, Tensor]] = []
    for ids in documents:
        done = 1  # the first token whose prediction hasn't been counted
        while done < len(ids):
            start = max(0, done + STRIDE - length - 1) if done > 1 else 0
            window = ids[start : start + length + 1]
            targets = window[1:].clone()
            targets[: done - start - 1] = -100
            windows.append((window[:-1], targets))
            done = start + len(window)
    windows.sort(key=lambda window: len(window[0]))  # so that little is padded
    total = 0.0
    for first in range(0, len(windows), ROWS):
        inputs, targets = zip(*windows[first : first + ROWS], strict=True)
        padded = pad_sequence(list(inputs), batch_first=True)
        wanted = pad_sequence(list(targets), True, padding_value=-100)
        logits = decoder.logits(padded).flatten(0, 1)
        total += cross_entropy(logits, wanted.flatten(), reduction="sum").item()
    return total / math.log(2)
