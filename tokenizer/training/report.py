"""What a tokenizer was made from and what came of it; nothing in it differs from run to run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import fsum
from typing import TYPE_CHECKING

from ... import __version__
from ..plain import plain_pipeline
from ..recipe import PATTERNS
from .samples import Measured, measure

if TYPE_CHECKING:
    from .blocks import FileCount
    from .train import Training

SHOWN = 10
"""How many tokens or merges are named."""


@dataclass(frozen=True)
class FileReport:
    """What was read of one file, and how well it is packed: None where that wasn't measured.

    Where only a sample of the corpus is learned from, no file is `counted` by itself.
    """

    count: FileCount
    counted: bool
    measured: Measured | None

    @property
    def tokens(self) -> float:
        """How many tokens it takes, about."""
        return self.bytes / self.measured.bytes_per_token if self.measured else 0.0

    @property
    def bytes(self) -> int:
        """What it weighs among the others: its bytes if counted, else those that were measured."""
        if self.measured is None:
            return 0
        return self.count.bytes if self.counted else self.measured.bytes


@dataclass(frozen=True)
class RareMerge:
    """A merge as the vocabulary spells it, the text it stands for, and how often it occurred."""

    left: str
    right: str
    text: str
    count: int


def file_reports(training: Training) -> tuple[FileReport, ...]:
    """A report for each file, in the order of the corpus's paths."""
    samples = training.samples.files
    counted = training.corpus.sample_bytes is None
    plain = plain_pipeline(training.tokenizer)
    return tuple(
        FileReport(
            count,
            counted,
            measure(samples[place], plain) if place in samples else None,
        )
        for place, count in enumerate(training.text.files)
    )


def bytes_per_token(reports: Sequence[FileReport]) -> float | None:
    """Bytes of text for each token over all files that were measured; None without one."""
    tokens = fsum(one.tokens for one in reports)  # exact, so that their order is nothing to it
    return sum(one.bytes for one in reports) / tokens if tokens else None


def rarest_merges(training: Training, count: int = SHOWN) -> list[RareMerge]:
    """Merges whose pairs were rarest when they were made: rarest first, of equals the latest."""
    merges = training.merges
    if merges is None:
        return []
    ranked = sorted(range(len(merges.pairs)), key=lambda place: (merges.counts[place], -place))
    found: list[RareMerge] = []
    for place in ranked[:count]:
        left, right = merges.pairs[place]
        text = training.tokenizer.decode([merges.ids[left], merges.ids[right]])
        found.append(RareMerge(left, right, text, merges.counts[place]))
    return found


def report(training: Training) -> dict[str, object]:
    """What training.json has."""
    from tokenizers import __version__ as tokenizers_version

    return {
        "made_by": {"lmtool": __version__, "tokenizers": tokenizers_version},
        "recipe": _recipe(training),
        "text": _text(training),
        "vocab_size": training.vocab_size,
        "bytes_per_token": _rounded(bytes_per_token(training.files)),
        "longest_tokens": training.longest(SHOWN),
        "rarest_merges": [asdict(merge) for merge in rarest_merges(training)],
    }


def _recipe(training: Training) -> dict[str, object]:
    recipe, base = training.recipe, training.base
    if base is not None:  # which decides all the rest
        return {
            "extend" if base.extend else "from": base.tokenizer.name,
            "vocab_size": recipe.vocab_size,
            "min_frequency": recipe.min_frequency,
            "max_token_length": recipe.max_token_length,
        }
    expression = PATTERNS.get(recipe.pattern, recipe.pattern)
    alphabet = None if recipe.kind == "bytes" else recipe.characters
    return {**asdict(recipe), "expression": expression, "alphabet": alphabet}


def _text(training: Training) -> dict[str, object]:
    """The corpus; its files are sorted, and with all that is said of them: names may be equal."""
    corpus, text, merges = training.corpus, training.text, training.merges
    sampled = corpus.sample_bytes is not None
    files = [_file(one) for one in training.files]
    return {
        "files": sorted(files, key=lambda file: json.dumps(file, ensure_ascii=False)),
        "separators": sorted(corpus.separators),
        "errors": corpus.errors,
        "sample_bytes": corpus.sample_bytes,
        "documents": None if sampled else text.documents,
        "characters": text.characters,
        "bytes": text.bytes,
        "distinct_words": None if merges is None else merges.words + merges.dropped_words,
        "dropped_words": {
            "distinct": 0 if merges is None else merges.dropped_words,
            "occurrences": 0 if merges is None else merges.dropped,
        },
    }


def _file(file: FileReport) -> dict[str, object]:
    count, measured = file.count, file.measured
    entry: dict[str, object] = {"file": count.path.name}
    if file.counted:
        entry |= {
            "documents": count.documents,
            "characters": count.characters,
            "bytes": count.bytes,
        }
    if measured is not None:
        entry["bytes_per_token"] = _rounded(measured.bytes_per_token)
        entry["measured_bytes"] = measured.bytes
    if count.bad:
        entry["not_utf8"] = {
            "count": count.bad,
            "first_offset": count.bad_offset,
            "first_line": count.bad_line,
        }
    return entry


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
