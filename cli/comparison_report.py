"""A comparison of tokenizers as programs and viewers take it: JSON, CSV, a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bar_chart import Chart, draw_bars
from .progress import megabytes

if TYPE_CHECKING:
    from ..tokenizer.comparison import Comparison
    from ..tokenizer.contrast import Parted
    from ..tokenizer.grouping import By, Group
    from ..tokenizer.subject import Subject


@dataclass(frozen=True)
class Report:
    """A comparison with names for its tokenizers, and the groups of text that were asked for."""

    comparison: Comparison
    names: Sequence[str]
    """What each tokenizer is called, none twice."""
    sources: Sequence[str]
    """Where each tokenizer came from."""
    by: By
    groups: Sequence[Group]
    total: Group

    def chart(self) -> str:
        """Bytes a token as bars, in SVG."""
        total = [] if len(self.groups) == 1 else [self.total]
        groups = [*self.groups, *total]
        places = range(len(self.names))
        about = [f"{size_in_words(self.total.bytes)} of text; longer is fewer tokens"]
        about += [
            f"{name}: {share_in_words(lost)} unknown"
            for name, lost in zip(
                self.names, map(unknown_share, self.comparison.subjects), strict=True
            )
            if lost > 0.001
        ]
        return draw_bars(
            Chart(
                f"Bytes a token by {self.by}",
                "; ".join(about),
                self.names,
                [group.name for group in groups],
                [[group.bytes_per_token(place) for place in places] for group in groups],
            )
        )

    def csv(self) -> str:
        """A line for each group and tokenizer, and for the total."""
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        heads = ("bytes", "characters", "words", "tokenizer", "tokens", "change")
        writer.writerow(
            [self.by, *heads, "bytes_per_token", "characters_per_token", "tokens_per_word"]
        )
        for group in (*self.groups, self.total):
            for place, name in enumerate(self.names):
                sizes = (group.bytes, group.characters, group.words)
                writer.writerow([group.name, *sizes, name, *_figures(group, place).values()])
        return lines.getvalue()

    def json(self) -> dict[str, Any]:
        """Everything, unrounded."""
        comparison = self.comparison
        return {
            "tokenizers": [
                self._subject_as_json(place) for place in range(len(comparison.subjects))
            ],
            "text": {
                "files": [str(path) for path in comparison.paths],
                "bytes": self.total.bytes,
                "characters": self.total.characters,
                "words": self.total.words,
                "bad_bytes": sum(file.bad for file in comparison.files),
            },
            "by": self.by,
            "groups": [self._group_as_json(group) for group in self.groups],
            "total": self._group_as_json(self.total),
            "overlaps": self._overlaps_as_json(),
            "words": [
                {
                    "first": self.names[0],
                    "second": self.names[contrast.second],
                    "dearer": [_word_as_json(word) for word in contrast.dearer],
                    "cheaper": [_word_as_json(word) for word in contrast.cheaper],
                }
                for contrast in comparison.contrasts
            ],
        }

    def _subject_as_json(self, place: int) -> dict[str, Any]:
        subject = self.comparison.subjects[place]
        ordinary = len(subject.ordinary)
        unused = subject.unused
        return {
            "name": self.names[place],
            "source": self.sources[place],
            "kind": subject.kind,
            "vocabulary": subject.tokenizer.vocab_size,
            "tokens": subject.tokens,
            "unused": {
                "count": len(unused),
                "of": ordinary,
                "share": len(unused) / ordinary if ordinary else None,
            },
            "lone_bytes": {
                "count": subject.lone_bytes,
                "share": _part(subject.lone_bytes, subject),
            },
            "unknown": {
                "tokens": subject.unknown_tokens,
                "bytes": subject.unknown_bytes,
                "share": _part(subject.unknown_bytes, subject),
            },
            "round_trip": {
                "lines_changed": faulty_lines(subject),
                "files": [
                    {
                        "file": str(self.comparison.paths[file]),
                        "lines_changed": fault.lines,
                        "first_offset": fault.offset,
                    }
                    for file, fault in subject.faults.items()
                ],
            },
            "encoder": subject.encoder,
            "bytes_per_s": subject.timed_bytes / subject.seconds if subject.timed_bytes else None,
        }

    def _group_as_json(self, group: Group) -> dict[str, Any]:
        return {
            "name": group.name,
            "bytes": group.bytes,
            "characters": group.characters,
            "words": group.words,
            "tokenizers": [
                {"name": name, **_figures(group, place)} for place, name in enumerate(self.names)
            ],
        }

    def _overlaps_as_json(self) -> list[dict[str, Any]]:
        return [
            {
                "first": self.names[first],
                "second": self.names[second],
                "shared": overlap.shared,
                "jaccard": overlap.jaccard,
                "share_of_first": overlap.shared / (overlap.first or 1),
                "share_of_second": overlap.shared / (overlap.second or 1),
            }
            for first, second, overlap in self.comparison.overlaps()
        ]


def distinct_names(sources: Sequence[str]) -> list[str]:
    """Short names for what the command line names: a path's last part, or more where it must."""
    names = [_short(source) for source in sources]
    for place, name in enumerate(names):
        alike = [other for other in range(len(names)) if _short(sources[other]) == name]
        if len({sources[other] for other in alike}) > 1:
            names[place] = sources[place]
    return [
        name if name not in names[:place] else f"{name} ({names[: place + 1].count(name)})"
        for place, name in enumerate(names)
    ]


def _short(source: str) -> str:
    path = Path(source)
    if not path.exists():
        return source
    path = path.resolve()
    return path.parent.name if path.name == "tokenizer.json" else path.name


def _figures(group: Group, place: int) -> dict[str, float | int | None]:
    """What one tokenizer made of a group."""
    return {
        "tokens": group.tokens[place],
        "change": group.change(place),
        "bytes_per_token": group.bytes_per_token(place),
        "characters_per_token": group.characters_per_token(place),
        "tokens_per_word": group.tokens_per_word(place),
    }


def _word_as_json(word: Parted) -> dict[str, Any]:
    return {
        "word": word.word,
        "count": word.count,
        "cost": word.cost,
        "first": [spelled(piece) for piece in word.first],
        "second": [spelled(piece) for piece in word.second],
    }


def spelled(piece: bytes) -> str:
    r"""A token's bytes as text; those that are no UTF-8 as \xe3."""
    return piece.decode("utf-8", "backslashreplace")


def faulty_lines(subject: Subject) -> int:
    """How many lines don't come back, in all the files."""
    return sum(fault.lines for fault in subject.faults.values())


def _part(count: int, subject: Subject) -> float | None:
    return count / subject.bytes if subject.bytes else None


def size_in_words(count: int) -> str:
    """`count` bytes for people."""
    return f"{count} B" if count < 1000 else megabytes(count)


def share_in_words(value: float) -> str:
    """A share of 1 as a percentage of two figures."""
    percent = value * 100
    if 0 < percent < 0.1:
        return "< 0.1 %"
    return f"{percent:.0f} %" if percent >= 10 or percent == 0 else f"{percent:.1f} %"


def unknown_share(subject: Subject) -> float:
    """How much of the text became unknown tokens, as a share of 1."""
    return subject.unknown_bytes / (subject.bytes or 1)
