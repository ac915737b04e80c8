"""Trains a family of models that differ in size alone, to show loss falling as a power of it.

    python recipes/scaling_family/make.py --data ../shared/data --work runs/family

One tokenizer, one text in one order, one number of tokens for all: what is left is size. Every
stage keeps what it made in `--work`; run again after an interruption, the command goes on where it
stopped. The decoder, its optimizer and its export are those of the default model's recipe.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# Scripts beside one another import by bare names; these lie one folder further.
sys.path.insert(1, str(Path(__file__).parents[1] / "default_model"))

STAGES = ("tokenizer", "corpus", "train")


def main() -> None:
    """Parses the command line and runs the stages that are asked for.

    Each stage imports what it needs when it runs: making a tokenizer shouldn't ask for torch.
    """
    options = _parse()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    if "tokenizer" in options.stages and not (work / "tokenizer" / "tokenizer.json").exists():
        from reading_matter import train_tokenizer

        train_tokenizer(options.data, work / "tokenizer")
    if "corpus" in options.stages and not (work / "corpus.npy").exists():
        from reading_matter import encode

        encode(options.data, work / "tokenizer" / "tokenizer.json", work / "corpus.npy")
    if "train" in options.stages:
        from sizes import SIZES
        from training import train

        for name in options.sizes or SIZES:
            train(name, work, options.tokens)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the texts")
    runs = Path(__file__).parent / "runs"
    parser.add_argument("--work", type=Path, default=runs, help="what the stages keep")
    parser.add_argument(
        "--tokens", type=int, default=5_000_000, help="read by every model, each once"
    )
    parser.add_argument("--sizes", nargs="+", help="names of sizes to train; all by default")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    return parser.parse_args()


if __name__ == "__main__":
    main()
