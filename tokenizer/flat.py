"""Corpora as flat ids on disk: `corpus.bin`, the ids; `corpus.idx`, its documents; `corpus.json`.

While they are being written they are called `.partial`, and `corpus.bin.progress` says how far
they can be relied on. Each step is flushed to disk before the record that speaks of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from .. import UsageError
from .files import lock, replacing, writing

INDEX_WIDTH = 8
"""Bytes of an offset in the index."""


class FlatFiles:
    """The three files of one corpus, as they grow."""

    def __init__(self, output: Path) -> None:
        """For the ids in `output`; the others lie beside it."""
        self.output = output
        self.index = output.with_suffix(".idx")
        self.facts = output.with_suffix(".json")
        self.progress = output.with_name(output.name + ".progress")
        self._ids_partial = output.with_name(output.name + ".partial")
        self._index_partial = self.index.with_name(self.index.name + ".partial")
        self._streams: tuple[IO[bytes], IO[bytes]] | None = None

    def check(self, inputs: Iterable[Path]) -> None:
        """Raise `UsageError` where writing would take the place of an input or a file of others."""
        ours = {path.resolve() for path in (self.output, self.index, self.facts)}
        for path in inputs:
            if path.resolve() in ours:
                raise UsageError(
                    f"`{path}` would be overwritten: it is read for `{self.output}`",
                    hint="-o takes another name",
                )
        for path in ours:
            if path.exists() and not path.is_file():
                raise UsageError(f"`{path}` is not a plain file")
        if self.facts.exists() and not _is_ours(self.facts):
            raise UsageError(
                f"`{self.facts}` is there, and was not written with a corpus",
                hint="-o takes another name",
            )

    @contextmanager
    def opened(self, fresh: bool) -> Generator[dict[str, Any] | None]:
        """The partial files, this run's alone; gives what an earlier run recorded, if anything.

        Raises `UsageError` while another run writes them, `LmtoolError` where the disk refuses.
        """
        with writing(self.output), self._ids_partial.open("a+b") as ids:
            lock(ids.fileno(), self._ids_partial, self.output)
            with self._index_partial.open("a+b") as index:
                self._streams = ids, index
                if fresh:
                    self.progress.unlink(missing_ok=True)
                yield self._recorded()

    def add(self, ids: bytes, offsets: bytes) -> None:
        """Put these behind what is there."""
        streams = self._opened()
        streams[0].write(ids)
        streams[1].write(offsets)

    def cut(self, ids: int, offsets: int) -> None:
        """Keep so many bytes of the ids and of the index. Raises `UsageError` if there are less."""
        for stream, size in zip(self._opened(), (ids, offsets), strict=True):
            if os.fstat(stream.fileno()).st_size < size:
                raise UsageError(
                    f"`{stream.name}` is shorter than its record says", hint="--fresh begins again"
                )
            stream.truncate(size)
            stream.seek(size)

    def record(self, state: dict[str, Any]) -> None:
        """Make what was added durable, and then `state`, which speaks of it."""
        for stream in self._opened():
            stream.flush()
            os.fsync(stream.fileno())
        with replacing(self.progress) as stream:
            stream.write(json.dumps(state, ensure_ascii=False).encode())

    def finish(self, facts: dict[str, Any]) -> None:
        """Give the files their names. A run that was killed in here can do it again."""
        with replacing(self.facts) as stream:
            stream.write((json.dumps(facts, ensure_ascii=False, indent=2) + "\n").encode())
        for partial, final in (
            (self._index_partial, self.index),
            (self._ids_partial, self.output),
        ):
            # The files made by opening them are empty where the true ones have their names already.
            if partial.stat().st_size or not final.exists():
                os.replace(partial, final)
            else:
                partial.unlink()
        self.progress.unlink(missing_ok=True)

    def forget_record(self) -> None:
        """What was recorded holds no longer."""
        self.progress.unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove what no run can go on from."""
        for path in (self.progress, self._index_partial, self._ids_partial):
            with suppress(OSError):
                path.unlink()

    def _opened(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self._streams is not None
        return self._streams

    def _recorded(self) -> dict[str, Any] | None:
        try:
            return json.loads(self.progress.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise UsageError(
                f"`{self.progress}` is damaged", hint="--fresh begins again"
            ) from error


def _is_ours(facts: Path) -> bool:
    try:
        found: Any = json.loads(facts.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and {"dtype", "byte_order", "documents"} <= found.keys()
