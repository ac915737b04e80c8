"""A batch from start to end: what it is, how it goes on where it was stopped, how it is finished.

While it runs, answers are in `OUT.partial`. Once all rows have one, `OUT` is put together beside
and renamed, `OUT.job` says what it was made of, and `OUT.partial` goes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

from ... import UsageError
from ...tokenizer.files import replacing
from ..sink import check_target
from .log import KEY_BYTES, RowLog
from .rows import Scan

FRESH = "--fresh begins again"


@dataclass(frozen=True)
class Counts:
    """How many rows there are, and how many of them failed."""

    rows: int
    failed: int


@dataclass(frozen=True)
class Files:
    """Where the answers lie, and what says what they are."""

    output: Path
    timings: Path | None = None

    @property
    def partial(self) -> Path:
        """The answers until all are there."""
        return self.output.with_name(self.output.name + ".partial")

    @property
    def facts(self) -> Path:
        """What the finished answers were made of."""
        return self.output.with_name(self.output.name + ".job")

    @property
    def beside(self) -> Path:
        """What the finished answers are called while they are put together."""
        return self.output.with_name(self.output.name + ".whole")

    def check(self, source: Path) -> None:
        """Raise `LmtoolError` where nothing could be written, or would be in the input's place."""
        check_target(self.output)
        if self.output.exists() and not self.output.is_file():
            raise UsageError(f"`{self.output}` is no plain file", hint="-o takes one")
        ours = [self.output, self.partial, self.facts, self.beside]
        ours = [path.resolve() for path in ours]
        for path in (source, self.timings):
            if path is not None and path.resolve() in ours:
                raise UsageError(f"`{path}` and `{self.output}` get in each other's way")


class Job:
    """A job whose log is open.

    `about` is all that its answers depend on besides its rows, `scan` what the rows come to, None
    if only reading them can tell.
    """

    def __init__(self, files: Files, log: RowLog, about: dict[str, Any], scan: Scan | None) -> None:
        self.log = log
        self._files = files
        self.about = about
        self._scan = scan
        known = json.dumps(about, sort_keys=True).encode()
        self._digest = blake2b(known, digest_size=32).digest()

    @property
    def rows(self) -> int | None:
        """How many rows there are, if that is known."""
        return None if self._scan is None else self._scan.rows

    def key(self, row: bytes) -> str:
        """What tells a row, under the settings and the model of this job, from any other."""
        return blake2b(row, digest_size=KEY_BYTES, key=self._digest).hexdigest()

    @property
    def began(self) -> str:
        """The time at which the finished job was begun."""
        return str(json.loads(self._files.facts.read_bytes())["began"])

    def done(self) -> Counts | None:
        """What an earlier run has finished, None if there is something to do.

        Raises `UsageError` where what is there belongs to another job.
        """
        finished = self._finished() if self.log.header is None else None
        return None if finished is None else Counts(finished["rows"], finished["failed"])

    def take_up(self, fresh: bool, retry_errors: bool, now: str) -> str:
        """Go on where an earlier run stopped, or begin; gives the time at which that was.

        Raises `UsageError` where what is there belongs to another job.
        """
        log = self.log
        finished = None
        if not fresh and log.header is not None:
            self._check(log.header, f"`{self._files.partial}` was begun")
        elif not fresh:
            finished = self._finished()
        if fresh or log.header is None:
            began = now if finished is None else finished["began"]
            scan = None if self._scan is None else asdict(self._scan)
            log.begin({"began": began, "about": self.about, "input": scan})
        if finished is not None:
            # For some rows to be run again, the answers become a log once more.
            with self._files.output.open("rb") as stream:
                log.take_over(stream)
        if retry_errors:
            log.drop_errors()
        assert log.header is not None
        return str(log.header["began"])

    def _finished(self) -> dict[str, Any] | None:
        """What is said of finished answers; None if there are none."""
        files = self._files
        if not files.output.exists():
            return None
        try:
            found: Any = json.loads(files.facts.read_bytes())
            size = found["size"]
        except (OSError, ValueError, TypeError, KeyError):
            raise UsageError(
                f"`{files.output}` is there, and `{files.facts}` doesn't say what of",
                hint=FRESH,
            ) from None
        if files.output.stat().st_size != size:
            raise UsageError(f"`{files.output}` was changed after it was finished", hint=FRESH)
        self._check(found, f"`{files.output}` was made")
        return found

    def finish(self, scan: Scan, ordered: bool) -> Counts:
        """Give the answers to the rows of `scan` their name, once all are there.

        A run that was killed in here can do it again. Raises `UsageError` where the rows are others
        than before.
        """
        if self.log.last > scan.rows or self._scan not in (None, scan):
            raise UsageError("the rows have changed since they were begun with", hint=FRESH)
        counts = Counts(self.log.rows, self.log.failed)
        self.log.sync()
        files = self._files
        with replacing(files.output, files.beside) as stream:
            for line in self.log.lines(ordered):
                stream.write(line)
            size = stream.tell()
        header = self.log.header
        assert header is not None
        facts = header | {"input": asdict(scan), "size": size, **asdict(counts)}
        with replacing(files.facts, files.beside) as stream:
            stream.write((json.dumps(facts, ensure_ascii=False, indent=2) + "\n").encode())
        files.partial.unlink()
        return counts

    def _check(self, theirs: dict[str, Any], was: str) -> None:
        difference = changed(theirs.get("about", {}), self.about)
        if difference is None and self._scan is not None and theirs.get("input") is not None:
            difference = changed(theirs["input"], asdict(self._scan))
        if difference is not None:
            raise UsageError(f"{was} with {difference}", hint=FRESH)


def changed(theirs: dict[str, Any], ours: dict[str, Any]) -> str | None:
    """The first thing that differs between what two jobs are about, in words."""
    for name, value in ours.items():
        other = theirs.get(name)
        if other == value:
            continue
        if isinstance(value, dict) and isinstance(other, dict):
            return changed(cast("dict[str, Any]", other), cast("dict[str, Any]", value))
        if name in _IN_WORDS:
            return _IN_WORDS[name]
        if name == "rows":
            return f"{other:,} rows, not {value:,}"
        return f"{name} {_shown(cast('object', other))}, not {_shown(cast('object', value))}"
    return None


_IN_WORDS = {
    "sha256": "other rows",
    "weights": "other weights",
    "tokenizer": "another tokenizer",
    "adapters": "other adapters",
}


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:60] + "…"
