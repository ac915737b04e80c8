"""Fetches what is wanted of a repository into Hugging Face's cache, and goes on where it broke off.

huggingface_hub knows the hub: its API, tokens, proxies, locks. The bytes are streamed here, since
it throws away what an interrupted download had (https://github.com/huggingface/huggingface_hub,
pull request 4228). The layout of the cache is its own, so that other tools find the files too.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from .. import LmtoolError, ModelError, __version__
from .refusals import Refusal, explain, is_broken_connection
from .repository import (
    ADAPTER_FILES,
    INDEX,
    SINGLE,
    Repository,
    Wanted,
    choose,
    has_tokenizer,
    repository_folder,
    shards_named,
)

RETRIES = 3
"""How often in a row a connection may break without a new byte, once some came."""
PAUSE_S = 1.0
ANSWER_S = 10.0
"""How long the hub may take to say what it has."""
SILENCE_S = 30.0
"""How long the hub may send nothing before the connection counts as broken."""
_BLOCK = 1 << 20


class Watch(Protocol):
    """Sees a download go on."""

    def begin(self, repository: str, files: int, size: int, there: int) -> None:
        """So many `files` of `size` bytes together are fetched; `there` bytes came earlier."""
        ...

    def file(self, name: str) -> None:
        """The file `name` is next."""
        ...

    def advance(self, count: int) -> None:
        """`count` more bytes have come; fewer than 0 where a file begins again."""
        ...


class Unwatched:
    """Nobody sees it."""

    def begin(self, repository: str, files: int, size: int, there: int) -> None:
        """See `Watch`."""

    def file(self, name: str) -> None:
        """See `Watch`."""

    def advance(self, count: int) -> None:
        """See `Watch`."""


def fetch(repository: Repository, wanted: Wanted, watch: Watch | None = None) -> Path:
    """The snapshot folder of a repository, once it holds what is `wanted`.

    Each file appears there when it is whole. Raises `ModelError` where the hub refuses, can't be
    reached or has no such thing, and `LmtoolError` where the disk refuses.
    """
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    refusal = Refusal(repository, endpoint)
    # Or it would ask the hub for more than the model, and tell it what it finds in our environment.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)  # errors say it all
        return _Fetching(repository, endpoint, watch or Unwatched()).run(wanted)
    except LmtoolError:
        raise
    except ImportError as error:
        raise ModelError(
            f"fetching `{repository}` needs huggingface_hub, which can't be imported: {error}",
            hint="pip install huggingface_hub",
        ) from error
    except Exception as error:  # whatever the network and its libraries raise
        raise explain(error, refusal) from error


@dataclass(frozen=True)
class _File:
    """A file as the hub describes it: its name, where it lies, and the name of its content."""

    name: str
    url: str
    etag: str
    size: int | None
    sha256: str | None


class _Fetching:
    """One repository's files on their way into the cache."""

    def __init__(self, repository: Repository, endpoint: str, watch: Watch) -> None:
        import huggingface_hub
        from huggingface_hub import utils

        self._hub: Any = huggingface_hub  # whose own types are not whole
        self._utils: Any = utils
        self._repository = repository
        self._endpoint = endpoint
        self._watch = watch
        lmtool = {"library_name": "lmtool", "library_version": __version__}
        self._api: Any = self._hub.HfApi(endpoint, **lmtool)
        self._headers: dict[str, str] = self._utils.build_hf_headers(**lmtool)
        self._folder = repository_folder(repository.name)
        self._checksums: dict[str, str] = {}
        self._commit = ""

    def run(self, wanted: Wanted) -> Path:
        """Fetch what isn't there yet, and let the revision's name mean this snapshot."""
        names = self._list()
        chosen = choose(names, wanted)
        self._check(names, chosen, wanted)
        if INDEX in chosen:
            self._fetch(chosen)
            chosen = self._shards(names)
        self._fetch(chosen)
        with self._writing():
            ref = self._folder / "refs" / self._repository.revision
            if self._repository.revision != self._commit:
                ref.parent.mkdir(parents=True, exist_ok=True)
                ref.write_text(self._commit, "utf-8")
        return self._snapshot

    @property
    def _snapshot(self) -> Path:
        return self._folder / "snapshots" / self._commit

    def _list(self) -> set[str]:
        """The names of all files; sets the commit and what the hub says of their contents."""
        name, revision = self._repository
        info = self._api.model_info(name, revision=revision, files_metadata=True, timeout=ANSWER_S)
        commit = str(info.sha or "")
        if not commit.isalnum():
            raise ModelError(f"the hub at {self._endpoint} names no commit of `{self._repository}`")
        self._commit = commit
        siblings = cast("list[Any]", info.siblings or [])
        for sibling in siblings:
            lfs = getattr(sibling, "lfs", None)
            if lfs is not None and getattr(lfs, "sha256", None):
                self._checksums[sibling.rfilename] = str(lfs.sha256)
        if siblings:
            return {str(sibling.rfilename) for sibling in siblings}
        tree = self._api.list_repo_tree(name, revision=commit)
        return {str(entry.path) for entry in tree}

    def _check(self, names: set[str], chosen: list[str], wanted: Wanted) -> None:
        """Refuse what can't be of use, before it is fetched."""
        if wanted is Wanted.TOKENIZER:
            if not has_tokenizer(names):
                raise ModelError(
                    f"the repository `{self._repository}` has no tokenizer.json or other tokenizer"
                )
            return
        if wanted is Wanted.ADAPTER:
            for name in ADAPTER_FILES:
                if name not in names:
                    raise ModelError(
                        f"the repository `{self._repository}` is no adapter that can be added: "
                        f"it has no {name}"
                    )
            return
        if "config.json" not in names:
            raise ModelError(
                f"the repository `{self._repository}` is no language model: it has no config.json"
            )
        if SINGLE in chosen or INDEX in chosen:
            return
        for ending, what in _OTHER_WEIGHTS:
            if others := sorted(name for name in names if name.endswith(ending)):
                raise ModelError(
                    f"the repository `{self._repository}` has its weights as `{others[0]}`, {what}",
                    hint="look for a safetensors version of the model",
                )
        raise ModelError(f"the repository `{self._repository}` has no {SINGLE} nor {INDEX}")

    def _shards(self, names: set[str]) -> list[str]:
        try:
            shards = shards_named(self._snapshot / INDEX)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{INDEX} of `{self._repository}` is damaged: {error}") from error
        if lacking := [name for name in shards if name not in names]:
            raise ModelError(
                f"the repository `{self._repository}` lacks `{lacking[0]}`, which {INDEX} names"
            )
        return shards

    def _fetch(self, names: list[str]) -> None:
        """Fetch the files that aren't there yet, one after the other."""
        files = [self._ask(name) for name in names if not (self._snapshot / name).exists()]
        sizes = sum(file.size or 0 for file in files)
        there = sum(self._there(file) for file in files)
        if files:
            self._check_room(sizes - there)
            self._watch.begin(str(self._repository), len(files), sizes, there)
        for file in files:
            self._watch.file(file.name)
            with self._writing(), self._locked(file):
                blob = self._folder / "blobs" / file.etag
                if not blob.exists():
                    self._download(file, blob)
                _link(blob, self._snapshot / file.name)

    def _ask(self, name: str) -> _File:
        repository, endpoint = self._repository.name, self._endpoint
        url = self._hub.hf_hub_url(repository, name, revision=self._commit, endpoint=endpoint)
        described = self._hub.get_hf_file_metadata(
            url, headers=self._headers, endpoint=endpoint, timeout=ANSWER_S
        )
        etag = str(described.etag or "")
        if not etag or not etag.replace("-", "").replace("_", "").isalnum():
            raise ModelError(f"the hub at {self._endpoint} gives `{name}` no usable ETag")
        return _File(name, url, etag, described.size, self._checksums.get(name))

    def _there(self, file: _File) -> int:
        """How many bytes of a file are on the disk already."""
        blob = self._folder / "blobs" / file.etag
        return _size(blob) or min(_size(_partial(blob)), file.size or 0)

    def _check_room(self, needed: int) -> None:
        folder = next(path for path in (self._folder, *self._folder.parents) if path.exists())
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise LmtoolError(
                f"`{self._repository}` takes {needed / 1e9:,.2f} GB more, and in `{folder}` "
                f"{free / 1e9:,.2f} GB are free",
                hint="HF_HOME names another folder for what is fetched",
            )

    def _download(self, file: _File, blob: Path) -> None:
        """All bytes of a file, over as many connections as it takes."""
        partial = _partial(blob)
        partial.parent.mkdir(parents=True, exist_ok=True)
        came, fruitless = False, 0
        while True:
            before = _size(partial)
            try:
                self._continue(file, partial)
                break
            except Exception as error:
                grown = _size(partial) > before
                came, fruitless = came or grown, 0 if grown else fruitless + 1
                if not is_broken_connection(error):
                    raise
                if not came or fruitless > RETRIES:
                    raise self._broken_off(file, partial, error) from error
            time.sleep(PAUSE_S)
        self._verify(file, partial)
        os.replace(partial, blob)

    def _continue(self, file: _File, partial: Path) -> None:
        """One connection: the bytes that are still lacking, or all if the hub wants it so."""
        there = _size(partial)
        if file.size is not None and there == file.size:
            partial.touch()
            return
        if file.size is not None and there > file.size:
            there = 0
        headers = self._headers | {"Accept-Encoding": "identity"}
        if there:
            headers["Range"] = f"bytes={there}-"
        session = self._utils.get_session()
        with session.stream("GET", file.url, headers=headers, timeout=SILENCE_S) as response:
            if response.status_code >= 400:
                response.read()
            self._utils.hf_raise_for_status(response)
            goes_on = response.status_code == 206
            if there and not goes_on:
                self._watch.advance(-there)
            with partial.open("ab" if there and goes_on else "wb") as stream:
                for block in response.iter_bytes():  # as they come, or a cut would lose some
                    stream.write(block)
                    self._watch.advance(len(block))
                stream.flush()
                os.fsync(stream.fileno())
        if file.size is not None and _size(partial) < file.size:
            raise ConnectionError("it ended too early")

    def _verify(self, file: _File, partial: Path) -> None:
        """Raise `ModelError` for a file that isn't what the hub has, and forget it."""
        problem = None
        if file.size is not None and _size(partial) != file.size:
            problem = f"{_size(partial):,} bytes instead of {file.size:,}"
        elif file.sha256 is not None and _sha256(partial) != file.sha256:
            problem = "its checksum is another"
        if problem:
            partial.unlink()
            raise ModelError(
                f"`{file.name}` of `{self._repository}` came damaged: {problem}",
                hint="run it again, to fetch it anew",
            )

    def _broken_off(self, file: _File, partial: Path, error: Exception) -> ModelError:
        there = _size(partial)
        if not there:
            return explain(error, Refusal(self._repository, self._endpoint))
        total = f" of {file.size / 1e6:,.1f}" if file.size else ""
        return ModelError(
            f"the download of `{self._repository}` broke off, with {there / 1e6:,.1f}{total} MB "
            f"of {file.name} there",
            hint="run it again: it goes on from where it was",
        )

    @contextmanager
    def _locked(self, file: _File) -> Generator[None]:
        """Let no second process fetch the same file meanwhile, another tool's neither."""
        locks = self._folder.parent / ".locks" / self._folder.name
        locks.mkdir(parents=True, exist_ok=True)
        with self._utils.WeakFileLock(locks / f"{file.etag}.lock"):
            yield

    @contextmanager
    def _writing(self) -> Generator[None]:
        """Turn what the disk refuses into an `LmtoolError`."""
        try:
            yield
        except OSError as error:
            if error.errno is None or hasattr(error, "response"):  # the hub's own kind of OSError
                raise
            where = error.filename or self._folder
            raise LmtoolError(
                f"cannot write `{where}`: {error.strerror or error}",
                hint="HF_HOME names another folder for what is fetched",
            ) from error


_OTHER_WEIGHTS = (
    (".bin", "pickle, which could run code and is never fetched"),
    (".pt", "pickle, which could run code and is never fetched"),
    (".pth", "pickle, which could run code and is never fetched"),
    (".gguf", "which lmtool doesn't read"),
    (".onnx", "which lmtool doesn't read"),
    (".h5", "which lmtool doesn't read"),
    (".safetensors", f"under neither of the names {SINGLE} and {INDEX}"),
)


def _partial(blob: Path) -> Path:
    """Where a file is until it is whole."""
    return blob.with_name(f"{blob.name}.incomplete")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _link(blob: Path, pointer: Path) -> None:
    """Let the snapshot show a file; where links aren't to be had it moves there itself."""
    pointer.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        pointer.unlink()  # a link that leads nowhere
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:
        os.replace(blob, pointer)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
