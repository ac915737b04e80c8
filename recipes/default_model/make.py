"""Makes the default model: tokenizer, corpus, training, export, evaluation, card.

    python recipes/default_model/make.py --data ../shared/data --out models/default --hours 2

Every stage keeps what it made in the folder `--work`; run again after an interruption, the command
goes on where it stopped. `--stages` runs some alone, in the order given here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

STAGES = ("tokenizer", "corpus", "train", "export", "evaluate", "card")


def main() -> None:
    """Parses the command line and runs the stages that are asked for.

    Each stage imports what it needs when it runs: making a tokenizer shouldn't ask for torch.
    """
    options = _parse()
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    if "tokenizer" in options.stages and not (work / "tokenizer" / "tokenizer.json").exists():
        from tokenizer_stage import train_tokenizer

        train_tokenizer(options.data, work / "tokenizer")
    if "corpus" in options.stages and not (work / "corpus").exists():
        from tokenizers import Tokenizer

        from corpus import encode_sources

        tokenizer = Tokenizer.from_file(str(work / "tokenizer" / "tokenizer.json"))
        encode_sources(options.data, tokenizer, work / "corpus")
    if "train" in options.stages:
        from model import ModelConfig
        from train import Trainer

        Trainer(work, ModelConfig(), options.hours).run()
    if "export" in options.stages:
        from export import export

        export(work, options.out, work / "tokenizer")
    if "evaluate" in options.stages:
        from evaluate import evaluate

        evaluate(options.data, options.out, work / "corpus", work / "evaluation.json")
    if "card" in options.stages:
        from card import write_card

        write_card(options.data, work, options.out)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the texts")
    parser.add_argument("--out", type=Path, default=Path("models/default"), help="the model")
    runs = Path(__file__).parent / "runs"
    parser.add_argument("--work", type=Path, default=runs, help="what the stages keep")
    parser.add_argument("--hours", type=float, default=2.0, help="time spent in training steps")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    return parser.parse_args()


if __name__ == "__main__":
    main()
