"""What fewer bits cost: perplexity and bytes of a model as stored, in int8 and in int4.

    python benchmarks/quantization.py valid.txt more.txt.xz --tokens 100000

Texts are files that the model was not trained on, plain or packed by xz; a line `<|endoftext|>`
parts their documents. The same number of tokens is taken of each. Log-likelihoods are those of
lmtool's own engine, in windows of the model's context.

Small weights in int8 are multiplied by bfloat16, large ones by bytes; the row "int8, bytes"
multiplies all of them by bytes, as a large model does.
"""

from __future__ import annotations

import argparse
import lzma
import math
from collections.abc import Iterator
from pathlib import Path
from statistics import stdev

import torch

from contest import machine, table, tell
from lmtool.engine.cache.static import StaticCache
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.quant import int8
from lmtool.engine.quant.kinds import Quant
from lmtool.engine.step import Piece, Step
from lmtool.engine.weights.checkpoint import open_checkpoint
from lmtool.engine.weights.load import load_decoder
from lmtool.tokenizer.tokenizer import Tokenizer

CPU = torch.device("cpu")
DEFAULT = Path(__file__).resolve().parents[1] / "models" / "default"
FORMS: dict[str, Quant | None] = {
    "as stored": None,
    "int8": "int8",
    "int8, bytes": "int8",
    "int4": "int4",
}
SMALL = int8.SMALL


def main() -> None:
    """Measure every form and print the table."""
    options = parse()
    torch.set_num_threads(options.threads)
    windows = list(read_windows(options.texts, options.model, options.tokens))
    predicted = [len(window) - 1 for window in windows]
    rows: list[list[str]] = []
    base: list[float] = []
    for name, quant in FORMS.items():
        int8.SMALL = 0 if name.endswith("bytes") else SMALL
        decoder, reader = load_decoder(open_checkpoint(options.model), None, CPU, quant=quant)
        losses = [loss_of(decoder, window) for window in windows]
        base = base or losses
        rows.append([name, f"{reader.nbytes:,}", *compared(losses, base, predicted)])
        tell(" | ".join(rows[-1]))
    print(f"### {options.model.name}, {sum(predicted):,} tokens of {len(options.texts)} texts\n")
    print(table(["weights", "bytes", "perplexity", "change", "standard error"], rows))
    print(f"\n{machine(options.threads)}; torch {torch.__version__}.")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("texts", nargs="+", type=Path, help="files of held-out text")
    parser.add_argument("--model", type=Path, default=DEFAULT, help="a checkpoint folder")
    parser.add_argument("--tokens", type=int, default=100_000, help="of all texts together")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


def read_windows(texts: list[Path], model: Path, tokens: int) -> Iterator[list[int]]:
    """Documents as ids, cut into pieces of the model's context, until there are enough."""
    tokenizer = Tokenizer.load(model)
    length = open_checkpoint(model).spec.max_positions
    for path in texts:
        left = tokens // len(texts)
        opened = lzma.open if path.suffix == ".xz" else open
        with opened(path, "rt", encoding="utf-8") as file:
            documents = file.read().split("<|endoftext|>\n")
        for document in documents:
            ids = tokenizer.encode(document)[:left]
            for begin in range(0, len(ids) - 1, length):
                yield ids[begin : begin + length]
            left -= len(ids)
            if left < 2:
                break


def loss_of(decoder: Decoder, ids: list[int]) -> float:
    """The sum of -log p of all ids but the first, in nats."""
    cache = StaticCache(decoder.spec, 1, len(ids), len(ids), decoder.dtype, CPU)
    cache.reserve(0, len(ids))
    logits = decoder(Step.of([Piece(0, 0, ids, len(ids), "all")], CPU), cache)
    found = logits[:-1].log_softmax(-1).gather(-1, torch.tensor(ids[1:])[:, None])
    return -found.double().sum().item()


def compared(losses: list[float], base: list[float], predicted: list[int]) -> list[str]:
    """Cells: perplexity, how much higher than the base's, and how sure that is.

    Both are of the same texts, so that the error is that of their difference.
    """
    count = sum(predicted)
    perplexity = math.exp(sum(losses) / count)
    if losses is base:
        return [f"{perplexity:.4f}", "", ""]
    change = math.exp((sum(losses) - sum(base)) / count) - 1
    rest = [
        loss - other - number * math.log1p(change)
        for loss, other, number in zip(losses, base, predicted, strict=True)
    ]
    error = stdev(rest) * math.sqrt(len(rest)) / count
    return [f"{perplexity:.4f}", f"{change:+.3%}", f"{error:.3%}"]


if __name__ == "__main__":
    main()
