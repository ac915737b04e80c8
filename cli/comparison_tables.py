"""A comparison of tokenizers as tables: aligned text for people, Markdown for pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from .comparison_report import (
    Report,
    faulty_lines,
    share_in_words,
    size_in_words,
    spelled,
    unknown_share,
)
from .text_table import Table, as_markdown, as_text, display_width, fitted, printable

if TYPE_CHECKING:
    from ..tokenizer.contrast import Contrast
    from ..tokenizer.subject import Subject

WIDTH = 80
_NAME = 24
"""Columns that a table leaves for what its rows are about."""
_LABEL = 23
"""Columns of the longest title that a table's rows stand under."""
_SIZE = 10
_MOST_ROWS = 40
_WORDS = 5
_PIECES = 25
"""Columns for a word's pieces."""
_FAULTS = 5


def write_text(report: Report, bold: bool) -> str:
    """Tables for people, at most 80 columns wide with up to four tokenizers."""
    return "".join(as_text(table, bold) for table in _Tables(report).tables()).removesuffix("\n")


def write_markdown(report: Report) -> str:
    """The same tables for a page."""
    return "".join(as_markdown(table) for table in _Tables(report).tables()).removesuffix("\n")


@dataclass(frozen=True)
class _Tables:
    """The tables of a report."""

    report: Report

    @property
    def heads(self) -> list[str]:
        """The tokenizers' names as columns, or letters where names would be too wide."""
        names = [printable(name) for name in self.report.names]
        widths = [2 + max(9, display_width(name)) for name in names]
        groups = [display_width(printable(group.name)) for group in self.report.groups]
        first = min(_NAME, max(_LABEL, *groups, 0))
        if first + _SIZE + sum(widths) <= WIDTH:
            return names
        return [_letter(place) for place in range(len(names))]

    def tables(self) -> list[Table]:
        """What there is to show."""
        tables = [self._legend(), self._summary()]
        if len(self.report.groups) > 1 or self.report.by == "script":
            tables.append(self._groups())
        if len(self.report.names) > 1:
            tables.append(self._overlaps())
        faults = self._faults()
        if faults.rows:
            tables.append(faults)
        for contrast in self.report.comparison.contrasts:
            tables += self._words(contrast)
        return tables

    def _legend(self) -> Table:
        rows: list[list[str]] = []
        for head, name, source, subject in zip(
            self.heads,
            self.report.names,
            self.report.sources,
            self.report.comparison.subjects,
            strict=True,
        ):
            own = [head] if head == printable(name) else [f"{head}  {printable(name)}"]
            facts = f"{subject.kind}, {subject.tokenizer.vocab_size:,} ids"
            rows.append(
                [
                    *own,
                    facts,
                    "" if source == name else fitted(printable(source), 40, keep_end=True),
                ]
            )
        return Table("tokenizers", ("tokenizer", "", ""), rows, left=3)

    def _summary(self) -> Table:
        subjects, total = self.report.comparison.subjects, self.report.total
        places = range(len(subjects))
        rows = [["tokens", *(f"{count:,}" for count in total.tokens)]]
        if len(subjects) > 1:
            first = fitted(self.heads[0], _NAME - 10)
            rows.append([f"beside {first}", "", *(_change(total.change(p)) for p in places[1:])])
        rows += [
            ["bytes a token", *(_ratio(total.bytes_per_token(p)) for p in places)],
            ["characters a token", *(_ratio(total.characters_per_token(p)) for p in places)],
            ["tokens a word", *(_ratio(total.tokens_per_word(p)) for p in places)],
            ["unused tokens", *(f"{len(one.unused):,}" for one in subjects)],
            ["  of the vocabulary", *(share_in_words(_unused_share(one)) for one in subjects)],
            [
                "text in lone bytes",
                *(share_in_words(one.lone_bytes / (one.bytes or 1)) for one in subjects),
            ],
            ["unknown tokens", *(f"{one.unknown_tokens:,}" for one in subjects)],
            [
                "  share of the text",
                *(share_in_words(unknown_share(one)) for one in subjects),
            ],
            ["lines changed", *(f"{faulty_lines(one):,}" for one in subjects)],
            ["MB/s, roughly", *(_speed(one) for one in subjects)],
        ]
        if any(one.encoder != "tokenizers" for one in subjects):
            rows.append(["  by", *(one.encoder for one in subjects)])
        if not any(one.unknown_tokens for one in subjects):
            rows = [row for row in rows if row[0] not in ("unknown tokens", "  share of the text")]
        files = len(self.report.comparison.paths)
        about = (
            f"{size_in_words(total.bytes)}, {total.characters:,} characters, {total.words:,} words"
        )
        notes = [f"text: {files:,} file{'s' * (files != 1)}, {about}"]
        notes += [
            f"{head} loses {share_in_words(lost)} of the text to unknown tokens, "
            "and looks thriftier for it"
            for head, lost in zip(self.heads, map(unknown_share, subjects), strict=True)
            if lost > 0.001
        ]
        return Table("all of the text", ("", *self.heads), rows, notes=notes)

    def _groups(self) -> Table:
        rows = [
            [
                fitted(printable(group.name), _NAME, keep_end=self.report.by in ("file", "folder")),
                size_in_words(group.bytes),
                *(_ratio(group.bytes_per_token(place)) for place in range(len(self.report.names))),
            ]
            for group in self.report.groups[:_MOST_ROWS]
        ]
        more = len(self.report.groups) - _MOST_ROWS
        notes = [f"and {more:,} more, which --json and --format csv list"] if more > 0 else []
        title = f"bytes a token by {self.report.by}"
        return Table(title, (self.report.by, "text", *self.heads), rows, notes=notes)

    def _overlaps(self) -> Table:
        rows = [
            [
                f"{self.heads[first]}, {self.heads[second]}",
                f"{overlap.shared:,}",
                share_in_words(overlap.jaccard),
                share_in_words(overlap.shared / (overlap.first or 1)),
                share_in_words(overlap.shared / (overlap.second or 1)),
            ]
            for first, second, overlap in self.report.comparison.overlaps()
        ]
        heads = ("pair", "tokens", "of either", "of first", "of second")
        return Table("shared vocabulary", heads, rows)

    def _faults(self) -> Table:
        from ..tokenizer.grouping import file_names

        names = file_names(self.report.comparison.paths)
        rows: list[list[str]] = []
        for head, subject in zip(self.heads, self.report.comparison.subjects, strict=True):
            for place, fault in list(subject.faults.items())[:_FAULTS]:
                name = fitted(printable(names[place]), 34, keep_end=True)
                rows.append([head, name, f"{fault.lines:,}", f"{fault.offset:,}"])
            more = len(subject.faults) - _FAULTS
            if more > 0:
                rows.append([head, f"and {more:,} more files"])
        heads = ("tokenizer", "file", "lines", "first at byte")
        return Table("text that doesn't come back", heads, rows, left=2)

    def _words(self, contrast: Contrast) -> list[Table]:
        first, second = self.heads[0], self.heads[contrast.second]
        sides = (("more", contrast.dearer), ("fewer", contrast.cheaper))
        return [
            Table(
                f"words {second} takes {kind} tokens for",
                ("word", first, second, "times"),
                [
                    [
                        fitted(printable(word.word), 16),
                        fitted(_pieces(word.first), _PIECES),
                        fitted(_pieces(word.second), _PIECES),
                        f"{word.count:,}",
                    ]
                    for word in words[:_WORDS]
                ],
                left=3,
                under=True,
            )
            for kind, words in sides
            if words
        ]


def _pieces(pieces: Sequence[bytes]) -> str:
    """How many pieces a word has, and the pieces with bars between; runs of lone bytes counted."""
    shown: list[str] = []
    for lone, run in groupby(pieces, lambda piece: len(piece) == 1 and piece[0] >= 0x80):
        texts = [printable(spelled(piece)) or "?" for piece in run]
        shown += [f"<{len(texts)} bytes>"] if lone and len(texts) > 2 else texts
    if shown:
        shown[0] = shown[0].removeprefix(" ") or "_"
    return f"{len(pieces):>2}  {'|'.join(shown)}"


def _letter(place: int) -> str:
    return chr(ord("A") + place) if place < 26 else f"T{place + 1}"


def _unused_share(subject: Subject) -> float:
    return len(subject.unused) / (len(subject.ordinary) or 1)


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _change(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:+.1f} %"


def _speed(subject: Subject) -> str:
    if not subject.timed_bytes:
        return "-"
    return f"{subject.timed_bytes / subject.seconds / 1e6:.1f}"
