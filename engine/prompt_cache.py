"""A prompt's keys and values in a file, for the next run to begin with.

It is a safetensors file: the prompt's ids, what each layer holds of them, and the logits after
them. The same prompt isn't read at all then: its answer is what it was, to the bit. Of another
prompt that begins alike, whole steps are reused, and steps end at the same positions in every
prompt: so it, too, is answered to the bit as in a run that found no file.
"""

from __future__ import annotations

import ctypes
import json
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from .. import ModelError, __version__
from .cache.static import StaticCache, held_shapes
from .device import to_host
from .kept import Maker, alike, last_border, next_border
from .loop import CHUNK
from .sequence import Sequence
from .spec import ModelSpec
from .weights.load import mapped
from .weights.shards import METADATA, Shard, open_shard

FORMAT = "lmtool prompt cache 1"
STORED = {
    torch.int64: "I64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int8: "I8",
}
PARTS = ("keys", "values", "key_scales", "value_scales")
IDS, LOGITS = "ids", "logits"
PIECE = 1 << 20
"""Bytes whose checksum is reckoned at once."""

Layout = dict[str, tuple[torch.dtype, tuple[int, ...]]]
"""Dtype and shape of tensors by name, in the order that they lie in."""

Write = Callable[[Path], AbstractContextManager[IO[bytes]]]
"""Opens a file that takes the place of another once it is complete."""


@dataclass(frozen=True)
class Key:
    """All that decides what a prompt's keys and values are, besides its ids.

    `model`, `adapters` and `ablated` are digests.
    """

    model: str
    adapters: str
    ablated: str
    dtype: str
    kv_dtype: str
    quant: str
    device: str
    lmtool: str = __version__


@dataclass(frozen=True)
class _Stored:
    """A file that has been checked."""

    shard: Shard
    ids: tuple[int, ...]
    dtypes: dict[str, torch.dtype]

    def tensor(self, name: str) -> Tensor:
        return mapped(self.shard, self.shard.entries[name], self.dtypes[name])

    def held(self, layers: int) -> list[tuple[Tensor, ...]]:
        names = ([f"layers.{i}.{part}" for part in PARTS] for i in range(layers))
        return [tuple(self.tensor(n) for n in own if n in self.dtypes) for own in names]


class PromptCache:
    """A `Keeper` for a file: see `Session.prompt_cache`.

    `found` tokens are in the file at first, `reused` of the prompt came from there, and `written`
    are the bytes of the new file, None if none was needed. `kept` tells how many tokens are in
    the file.
    """

    border = staticmethod(next_border)

    def __init__(self, path: Path, model: str, key: Key, spec: ModelSpec, write: Write | None):
        self.path = path
        self.reused = 0
        self.written: int | None = None
        self._key = key
        self._model = model
        self._spec = spec
        self._write = write
        self._stored = _open(path, model, key, spec) if path.exists() else None
        self.found = self.kept = len(self._stored.ids) if self._stored else 0

    def open(self, spec: ModelSpec, rows: int, longest: int, make: Maker) -> StaticCache:
        """See `Keeper`."""
        assert spec is self._spec, "a prompt cache is a session's own"
        return make(rows, longest)

    def begin(self, text: Sequence, cache: StaticCache) -> int:
        """See `Keeper`."""
        stored, request = self._stored, text.request
        if stored is None or request.prompt_logprobs:
            return 0
        length = len(request.ids)
        count = alike(stored.ids, request.ids, self._spec, len(stored.ids), length)
        if count < length or len(stored.ids) > length or LOGITS not in stored.dtypes:
            count = last_border(min(count, length - 1))
        if count == 0:
            return 0
        held = stored.held(len(self._spec.layers))
        cache.hold(0, held, len(stored.ids), count)
        if not cache.goes_on_at(0, count):
            cache.begin_anew(0)
            return 0
        self.reused = text.cached = count
        if count == length and request.max_new == 0:
            text.finish = "length"
        elif count == length:
            text.opening.logits = stored.tensor(LOGITS).to(cache.device)[None].clone()
        return count

    def read(self, text: Sequence, cache: StaticCache, logits: Tensor) -> None:
        """See `Keeper`: the prompt goes to the file, unless it is there already."""
        stored, ids = self._stored, text.request.ids
        if self._write is None:
            return
        known = stored is not None and stored.ids[: len(ids)] == ids
        if stored is not None and known and (self.found > len(ids) or LOGITS in stored.dtypes):
            return
        tensors = {IDS: torch.tensor(ids)}
        if not text.request.prompt_logprobs:  # or else they come from a product of another shape
            tensors[LOGITS] = logits[0]
        for place, parts in enumerate(cache.held(text.row, len(ids))):
            for name, part in zip(PARTS, parts, strict=False):
                tensors[f"layers.{place}.{name}"] = part
        metadata = {"format": FORMAT, "name": self._model, **asdict(self._key)}
        with self._write(self.path) as file:
            self.written = _save(file, tensors, metadata)
        self.kept = len(ids)

    def end(self, text: Sequence) -> None:
        """See `Keeper`. All is in the file since the prompt was read."""


def _save(file: IO[bytes], tensors: dict[str, Tensor], metadata: dict[str, str]) -> int:
    """Write a safetensors file and say how long it is. Wide numbers come first, for alignment."""
    order = sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize)
    header: dict[str, Any] = {METADATA: metadata | {"crc32": "0" * 8}}
    begin = 0
    for name in order:
        tensor = tensors[name]
        end = begin + tensor.nbytes
        header[name] = {
            "dtype": STORED[tensor.dtype],
            "shape": tuple(tensor.shape),
            "data_offsets": (begin, end),
        }
        begin = end
    size = file.write(_header(header))
    checksum = 0
    for name in order:
        tensor = tensors[name].contiguous().cpu()
        if tensor.nbytes:
            data = memoryview((ctypes.c_char * tensor.nbytes).from_address(tensor.data_ptr()))
            checksum = zlib.crc32(data, checksum)
            file.write(data)
    file.seek(0)
    header[METADATA]["crc32"] = f"{checksum:08x}"
    file.write(_header(header))
    return size + begin


def _header(header: dict[str, Any]) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _open(path: Path, model: str, key: Key, spec: ModelSpec) -> _Stored:
    """The file at `path`, checked. Raises `ModelError`."""
    hint = "delete it, or let --prompt-cache name another file"
    try:
        if not path.is_file():
            raise ModelError(f"`{path}` is not a file")
        shard = open_shard(path)
    except ModelError as error:
        raise ModelError(error.message, hint) from error
    if shard.metadata.get("format") != FORMAT:
        # Whatever it is, it may be dear to somebody: don't advise to delete it.
        raise ModelError(f"`{path}` is not a prompt cache", "let --prompt-cache name another file")
    if refusal := _refusal(shard.metadata, model, key):
        raise ModelError(f"`{path}` is the prompt cache of {refusal}", hint)
    try:
        dtypes = _check(shard, key, spec)
        checksum = _checksum(shard)
    except ValueError as error:
        raise ModelError(f"`{path}` is damaged: {error}", hint) from None
    if f"{checksum:08x}" != shard.metadata.get("crc32"):
        raise ModelError(f"`{path}` is damaged: its bytes are not those that were written", hint)
    ids = to_host(mapped(shard, shard.entries[IDS], torch.int64))
    if (
        LOGITS in dtypes
        and not mapped(shard, shard.entries[LOGITS], torch.float32).sum().isfinite()
    ):
        raise ModelError(f"`{path}` is damaged: its logits are not numbers", hint)
    return _Stored(shard, tuple(ids), dtypes)


def _refusal(found: dict[str, str], model: str, key: Key) -> str | None:
    """Whose a file is instead, or None where it is this model's."""
    if found.get("model") != key.model:
        other = found.get("name") or "another model"
        if other == model:
            return f"another `{model}`: its weights or its config.json were others"
        return f"another model, `{other}`, not of `{model}`"
    for name, own in asdict(key).items():
        theirs = found.get(name, "")
        if theirs == own:
            continue
        if name == "adapters":
            return f"`{model}` with other LoRA adapters"
        if name == "ablated":
            return f"`{model}` with {'something else' if theirs else 'nothing'} ablated"
        words = {"kv_dtype": "with keys and values in", "quant": "with --quant", "device": "on"}
        what = words.get(name, "in")
        if name == "lmtool":
            return f"lmtool {theirs}, and this is {own}"
        return f"`{model}` {what} {theirs}, not {own}"
    return None


def _check(shard: Shard, key: Key, spec: ModelSpec) -> dict[str, torch.dtype]:
    """Each tensor's dtype. Raises `ValueError` unless the file has just what the model holds."""
    entries = shard.entries
    length = entries[IDS].shape[0] if IDS in entries and len(entries[IDS].shape) == 1 else 0
    if length == 0:
        raise ValueError("it has no ids")
    wanted: Layout = {IDS: (torch.int64, (length,))}
    if LOGITS in entries:
        wanted[LOGITS] = torch.float32, (spec.vocab,)
    stored = next(dtype for dtype in STORED if str(dtype) == f"torch.{key.kv_dtype}")
    for place, shapes in enumerate(held_shapes(spec, length, CHUNK, stored)):
        for part, (shape, dtype) in zip(PARTS, shapes, strict=False):
            wanted[f"layers.{place}.{part}"] = dtype, shape
    for name, (dtype, shape) in wanted.items():
        entry = entries.get(name)
        if entry is None:
            raise ValueError(f"it lacks `{name}`")
        if (entry.dtype, entry.shape) != (STORED[dtype], shape):
            raise ValueError(
                f"`{name}` is {entry.dtype} {list(entry.shape)}, not {STORED[dtype]} {list(shape)}"
            )
    if more := entries.keys() - wanted.keys():
        raise ValueError(f"it holds `{min(more)}`, which is nothing of a prompt's")
    return {name: dtype for name, (dtype, _) in wanted.items()}


def _checksum(shard: Shard) -> int:
    data = memoryview(shard.bytes_of_file())
    begin = min(entry.begin for entry in shard.entries.values())
    checksum = 0
    for place in range(begin, len(data), PIECE):
        checksum = zlib.crc32(data[place : place + PIECE], checksum)
    return checksum
