"""A corpus to flat ids on disk: over all cores, in bounded memory, and to be gone on with.

What a run has read and written is recorded every few seconds; a run that was killed is gone on
with by the same command, and ends with the same bytes as an undisturbed one.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import InputError, LmtoolError, UsageError, __version__
from .corpus import STDIN, Corpus
from .fast import FastEncoder
from .flat import INDEX_WIDTH, FlatFiles
from .stretches import Task, skipped, tasks
from .tokenizer import Bos, Special, Tokenizer
from .training.shares import cores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RECORD_S = 4.0
"""Seconds between two records of how far we are."""
CHECKED = 64
"""Of so many tasks one is compared with tokenizers as it comes."""
SAMPLE = 1 << 14
"""Characters of a task that are compared."""

_OTHER = {
    "tokenizer": "another tokenizer",
    "special": "another --special",
    "prefix": "another --bos",
    "suffix": "another --append-eos",
    "separators": "another --doc-separator",
    "text_field": "another --text-field",
    "errors": "another --errors",
    "files": "other files, or one was changed",
}


@dataclass(frozen=True)
class Wishes:
    """How documents become ids."""

    special: Special = "text"
    bos: Bos = "auto"
    append_eos: bool = False
    threads: int | None = None
    fresh: bool = False


class _DisagreementError(Exception):
    """The fast encoder gave other ids than tokenizers for a sample of the text."""


def encode_corpus(
    corpus: Corpus,
    tokenizer: Tokenizer,
    output: Path,
    wishes: Wishes,
    on_progress: Callable[[int, int], None] = lambda size, tokens: None,
) -> dict[str, Any]:
    """Write `output` with its .idx and .json, and return what the latter holds.

    `on_progress` hears how many bytes of text are encoded, and to how many tokens, in all. Raises
    `UsageError` where a partial file belongs to other input or settings, `InputError` for text
    that can't be read (then nothing is left), `LmtoolError` where the disk refuses; what was
    recorded before stays.
    """
    files = FlatFiles(output)
    files.check(corpus.paths)
    with files.opened(wishes.fresh) as recorded:
        run = _Run(corpus, tokenizer, wishes, files, on_progress)
        try:
            return run.whole(recorded)
        except InputError:
            files.forget()
            raise
        except BaseException:
            if not files.progress.exists():
                files.forget()
            raise


class _Run:
    """One run, from the record of an earlier one or from the start."""

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: Tokenizer,
        wishes: Wishes,
        files: FlatFiles,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._corpus = corpus
        self._tokenizer = tokenizer
        self._wishes = wishes
        self._files = files
        self._on_progress = on_progress
        self._dtype = "<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4"
        self._prefix = tokenizer.prefix_for(wishes.bos)
        self._suffix = (_end_id(tokenizer),) if wishes.append_eos else ()
        self._settings = self._describe()
        self._state: dict[str, Any] = {}
        self._hashing: tuple[int, Any] = (-1, None)
        """A file, by its place in the corpus, and the hash of its text so far."""

    def whole(self, recorded: dict[str, Any] | None) -> dict[str, Any]:
        """Everything that is still to be done; the facts."""
        if recorded is not None:
            self._check(recorded)
        if recorded is not None and recorded["facts"] is not None:
            self._files.finish(recorded["facts"])
            return recorded["facts"]
        encoder = FastEncoder(self._tokenizer, self._wishes.special, self._corpus.size)
        if recorded is not None and recorded["distrusted"]:
            encoder.distrust(recorded["distrusted"])
        self._begin(recorded)
        try:
            self._encode(encoder)
        except _DisagreementError:
            # What has been written since the last sample may be wrong, and what came before too.
            self._files.forget_record()
            self._begin(None)
            self._state["distrusted"] = encoder.reason
            self._encode(encoder)
        if not self._state["documents"]:
            raise InputError("there is no text in the corpus")
        facts = self._facts(encoder)
        self._files.record({**self._state, "facts": facts})
        self._files.finish(facts)
        return facts

    def _begin(self, recorded: dict[str, Any] | None) -> None:
        """Cut the files to what is recorded, and read on from there."""
        self._state = recorded or {
            "settings": self._settings,
            "facts": None,
            "distrusted": None,
            "tokens": 0,
            "bytes": 0,
            "documents": 0,
            "files": [],
            "place": None,
        }
        ids, documents = self._state["tokens"], self._state["documents"]
        # The index begins with the offset of the first document, 0.
        index = INDEX_WIDTH * (documents + 1) if recorded else 0
        self._files.cut(ids * int(self._dtype[-1]), index)
        if not recorded:
            self._files.add(b"", bytes(INDEX_WIDTH))

    def _encode(self, encoder: FastEncoder) -> None:
        """Read and write what is left, a few tasks ahead of the one that is written."""
        threads = self._wishes.threads or cores()
        ahead: deque[tuple[Task, Future[_Ids]]] = deque()
        recorded = time.monotonic()
        with ThreadPoolExecutor(threads) as pool:
            try:
                for number, task in enumerate(self._left()):
                    if number % CHECKED == 0 and not encoder.agrees(
                        [one[:SAMPLE] for one in task.texts[:1]]
                    ):
                        raise _DisagreementError
                    ahead.append((task, pool.submit(self._ids_of, encoder, task)))
                    while len(ahead) > threads + 1:
                        self._write(*ahead.popleft())
                    if time.monotonic() - recorded > RECORD_S:
                        self._files.record(self._state)
                        recorded = time.monotonic()
                while ahead:
                    self._write(*ahead.popleft())
            except BaseException as error:
                pool.shutdown(cancel_futures=True)
                # Whoever stopped us, what is written can be relied on, unless the input can't.
                if self._state["tokens"] and not isinstance(
                    error, (LmtoolError, OSError, _DisagreementError)
                ):
                    self._files.record(self._state)
                raise

    def _left(self) -> Iterator[Task]:
        """The tasks that are still to be done."""
        done = len(self._state["files"])
        place = self._state["place"]
        for source in range(done, len(self._corpus.paths)):
            parts = self._corpus.parts_of(source)
            inside = False
            if place is not None:
                digest = hashlib.sha256()
                found = skipped(parts, place["characters"], place["documents"], digest.update)
                if found is None or digest.hexdigest() != place["sha256"]:
                    raise _other(self._files, "the text that was read has changed")
                self._hashing = source, digest
                parts, inside, place = found, place["inside"], None
            yield from tasks(parts, source, self._tokenizer.cutter, inside)
            yield Task(source, (), (), (), last=True)

    def _ids_of(self, encoder: FastEncoder, task: Task) -> _Ids:
        """The bytes of a task's ids, and how many ids each of its texts has."""
        import numpy as np

        arrays: list[NDArray[np.uint32]] = []
        lengths: list[int] = []
        prefix, suffix = np.array(self._prefix, np.uint32), np.array(self._suffix, np.uint32)
        for ids, begins, ends in zip(
            encoder.encode(task.texts), task.begins, task.ends, strict=True
        ):
            length = len(ids)
            if begins and len(prefix) and not np.array_equal(ids[: len(prefix)], prefix):
                arrays.append(prefix)
                length += len(prefix)
            arrays.append(ids)
            if ends and len(suffix):
                arrays.append(suffix)
                length += len(suffix)
            lengths.append(length)
        flat = np.concatenate(arrays) if arrays else np.zeros(0, np.uint32)
        text = "".join(task.texts).encode()
        return _Ids(flat.astype(self._dtype).tobytes(), lengths, text)

    def _write(self, task: Task, future: Future[_Ids]) -> None:
        """Put a task's ids behind what is there, and count them."""
        import numpy as np

        found = future.result()
        state = self._state
        totals = np.cumsum([0, *found.lengths], dtype=np.uint64)[1:] + np.uint64(state["tokens"])
        ended = totals[np.array(task.ends, dtype=bool)]
        self._files.add(found.data, ended.astype("<u8").tobytes())
        self._digest_of(task).update(found.text)
        place = state["place"] or {"characters": 0, "documents": 0, "bytes": 0, "tokens": 0}
        tokens = sum(found.lengths)
        state["tokens"] += tokens
        state["bytes"] += len(found.text)
        state["documents"] += len(ended)
        place = {
            "characters": place["characters"] + sum(map(len, task.texts)),
            "documents": place["documents"] + len(ended),
            "bytes": place["bytes"] + len(found.text),
            "tokens": place["tokens"] + tokens,
            "inside": bool(task.ends) and not task.ends[-1],
            "sha256": self._digest_of(task).hexdigest(),
        }
        state["place"] = place
        if task.last:
            self._end_file(task.source, place)
        self._on_progress(state["bytes"], state["tokens"])

    def _end_file(self, source: int, place: dict[str, Any]) -> None:
        path = self._corpus.paths[source]
        faults = self._corpus.faults.get(source)
        self._state["files"].append(
            {
                "name": str(path),
                "size": path.stat().st_size if path.is_file() else None,
                **{name: place[name] for name in ("documents", "bytes", "tokens", "sha256")},
                "bad_bytes": faults.count if faults else 0,
            }
        )
        self._state["place"] = None

    def _digest_of(self, task: Task) -> Any:
        """The hash of a file's text; the reader may be some files ahead of the writer."""
        if self._hashing[0] != task.source:
            self._hashing = task.source, hashlib.sha256()
        return self._hashing[1]

    def _describe(self) -> dict[str, Any]:
        """What must be the same for a run to be gone on with."""
        wishes, corpus = self._wishes, self._corpus
        return {
            "tokenizer": self._tokenizer.fingerprint,
            "special": wishes.special,
            "prefix": list(self._prefix),
            "suffix": list(self._suffix),
            "separators": list(corpus.separators),
            "text_field": corpus.text_field,
            "errors": corpus.errors,
            "files": [_stamp(path) for path in corpus.paths],
        }

    def _check(self, recorded: dict[str, Any]) -> None:
        """Raise `UsageError` if the record is of another tokenizer, other files or settings."""
        for name, value in self._settings.items():
            theirs = recorded.get("settings", {}).get(name)
            if theirs != value:
                raise _other(self._files, f"it was begun with {_OTHER[name]}")

    def _facts(self, encoder: FastEncoder) -> dict[str, Any]:
        settings, state = self._settings, self._state
        return {
            "made_by": {"lmtool": __version__},
            "tokenizer": {
                "name": self._tokenizer.name,
                "sha256": settings["tokenizer"],
                "vocab_size": self._tokenizer.vocab_size,
            },
            "dtype": "uint16" if self._dtype == "<u2" else "uint32",
            "byte_order": "little",
            "tokens": state["tokens"],
            "documents": state["documents"],
            "bytes": state["bytes"],
            "special": self._wishes.special,
            "before_documents": settings["prefix"],
            "after_documents": settings["suffix"],
            "separators": settings["separators"],
            "encoder": encoder.name,
            "encoder_reason": encoder.reason,
            "files": state["files"],
        }


@dataclass(frozen=True)
class _Ids:
    """What became of a task: flat ids, how many for each text, and its UTF-8."""

    data: bytes
    lengths: list[int]
    text: bytes


def _other(files: FlatFiles, why: str) -> UsageError:
    return UsageError(
        f"`{files.output}` is half done, but {why}",
        hint="--fresh throws away what is there and begins again",
    )


def _end_id(tokenizer: Tokenizer) -> int:
    """The token that ends a document. Raises `UsageError` where the files name none."""
    named = tokenizer.named_specials.get("eos_token")
    id = None if named is None else tokenizer.pipeline.token_to_id(named)
    if id is None and len(tokenizer.eos_ids) == 1:
        (id,) = tokenizer.eos_ids
    if id is None:
        raise UsageError(
            f"`{tokenizer.name}` names no end-of-text token", hint="leave out --append-eos"
        )
    return id


def _stamp(path: Path) -> list[Any]:
    """By which a changed file is known: name, size, time of the last change."""
    if path == STDIN or not path.is_file():
        return [str(path), None, None]
    found = path.stat()
    return [str(path), found.st_size, found.st_mtime_ns]


def made_by_another(tokenizer: Tokenizer, ids: Path) -> bool:
    """Whether the facts beside a file of ids say that it was made with another tokenizer."""
    try:
        facts: Any = json.loads(ids.with_suffix(".json").read_bytes())
        made_by = facts["tokenizer"]["sha256"]
    except (OSError, ValueError, LookupError, TypeError):
        return False  # no such file, or one about something else
    return isinstance(made_by, str) and made_by != tokenizer.fingerprint
