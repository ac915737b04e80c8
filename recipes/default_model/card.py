"""The model card: what the model is, what it learned from, and what was measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors import safe_open

from export import SAMPLING
from train import load_state

NAME = "Llama-lmtool-tales-8M"

CARD = """\
---
license: other
language: [en, ja]
library_name: lmtool
pipeline_tag: text-generation
tags: [llama, tiny, stories]
---

# {name}

A decoder of {parameters:.2f} million parameters that begins, continues and sometimes finishes short
tales in English and Japanese. It is what `lmtool generate` runs when no model is named: small
enough to be shipped inside the package, and made to show an engine at work, not to know anything.

It has read nothing but tales. It doesn't answer questions, follow instructions or state facts; its
people change names, and what happens to them is made up.

English holds together for a paragraph or two. Japanese is weaker: its sentences are sentences, but
seldom follow from one another. Without the repetition penalty of its settings it falls into a loop
after "むかしむかし、", which its books hardly ever open with.

## Why the name begins with Llama

Most of the English text was written by Llama 3.1. The licence of that model asks that a model
trained on its output and given to others carries a name that begins with "Llama", and that this is
said: Built with Llama. The weights were not derived from Meta's; they were trained from scratch by
`recipes/default_model`.

## Use

    lmtool generate "Once upon a time"
    lmtool generate "むかしむかし、"

Its sampling settings are in `generation_config.json`: {sampling}.
Every document began with `<|endoftext|>` in training, and the tokenizer puts it before a prompt by
itself. The context is {context} tokens.

## Shape

Llama architecture ({layers} layers, hidden size {hidden}, {heads} heads of {head_dim}, feed-forward
{feed}, untied embeddings), float32 weights, and a byte-level BPE tokenizer of {vocab} tokens made
with `lmtool train-tokenizer`: any text goes in and comes back byte for byte.

## Training

{tokens:.1f} million tokens in {hours:.2f} hours on two cores of a processor that other work shared
({speed:.0f} tokens a second while training). Hidden matrices were trained with Muon, the rest with
Adam, in bf16 over float32 master weights; the context grew from 256 to 512 to 1024 tokens and the
learning rate fell to zero over the last {decay:.0%} of the time.
The whole way is `recipes/default_model`, run by one command.

| source | share of tokens, at first | in the last part | origin and licence |
|---|---|---|---|
{sources}

Nothing of the valid texts was trained on. Titles were cut off, so that a document begins as a
prompt does. The African storybooks are by many authors, under CC BY or in the public domain:
`storybooks-credits.tsv` beside this file names every story.

## Measured

Bits per byte on text that was not trained on, less is better. `xz -9` compresses the same text; the
trigram (Kneser-Ney) counted the model's own training tokens. `fairytales-en` (Grimm) is of a kind
that the model never read.

| text | bytes | xz -9 | trigram | this model |
|---|---:|---:|---:|---:|
{results}

## Licence

The weights are given under the terms their sources ask for: attribution of the stories (CC BY, see
the credits), CDLA-Sharing-1.0 for TinyStories, and the Llama 3.1 Community License's naming rule.
The code that made them is under Apache-2.0.
"""

ORIGINS = {
    "tinystories.train": "TinyStories (Eldan and Li 2023), CDLA-Sharing-1.0",
    "storybooks-en": "African Storybook, through global-asp/asp-source, CC BY",
    "stories-en": "synthetic, by Llama 3.1, from erikhyrkas/snakes, MIT",
    "stories-ja.train": "Aozora Bunko, public domain in Japan: Ogawa Mimei, Miyazawa Kenji, "
    "Niimi Nankichi, Kusuyama Masao, Suzuki Miekichi, Akutagawa Ryunosuke",
}


def write_card(data: Path, work: Path, out: Path) -> None:
    """Writes README.md and the credits into the exported folder `out`."""
    from corpus import SOURCES
    from schedule import DECAY_FROM

    config = json.loads((out / "config.json").read_text("utf-8"))
    progress = load_state(work / "state.pt")["progress"]
    report = json.loads((work / "evaluation.json").read_text("utf-8"))
    early = sum(source.share for source in SOURCES)
    late = sum(source.final_share for source in SOURCES)
    sources = [
        f"| {s.file} | {s.share / early:.0%} | {s.final_share / late:.0%} | {_origin(s.file)} |"
        for s in SOURCES
    ]
    results = [
        f"| {name} | {row['bytes']:,} | {row['xz']:.2f} | {row['trigram']:.2f} "
        f"| **{row['model']:.2f}** |"
        for name, row in report.items()
    ]
    card = CARD.format(
        name=NAME,
        parameters=_parameters(out / "model.safetensors") / 1e6,
        sampling=", ".join(f"{k} {v}" for k, v in SAMPLING.items() if k != "do_sample" and v),
        context=config["max_position_embeddings"],
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        head_dim=config["head_dim"],
        feed=config["intermediate_size"],
        vocab=config["vocab_size"],
        tokens=progress["tokens"] / 1e6,
        hours=progress["seconds"] / 3600,
        speed=progress["tokens"] / progress["seconds"],
        decay=1 - DECAY_FROM,
        sources="\n".join(sources),
        results="\n".join(results),
    )
    (out / "README.md").write_text(card, encoding="utf-8")
    shutil.copyfile(data / "storybooks-en.credits.tsv", out / "storybooks-credits.tsv")


def _origin(file: str) -> str:
    return next(text for prefix, text in ORIGINS.items() if file.startswith(prefix))


def _parameters(file: Path) -> int:
    with safe_open(file, "pt") as weights:
        shapes = [weights.get_slice(name).get_shape() for name in list(weights.keys())]
    return sum(rows * columns[0] if columns else rows for rows, *columns in shapes)
