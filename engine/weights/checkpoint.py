"""A checkpoint folder opened and understood, before a byte of its weights is read. No torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from os.path import exists  # unlike Path's, false also for a name that no file can have
from pathlib import Path
from typing import Any, cast

from ... import ModelError, UsageError
from ..families.family import Family
from ..families.naming import OwnNames
from ..families.table import find_family
from ..quant.kinds import Quant
from ..spec import ModelSpec
from .quantization import FIELD, Quantization, read_quantization
from .shards import LFS_POINTER, Entry, Shard, open_shard

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Checkpoint:
    """A Hugging Face-format folder: its config, what family and spec it has, its shards.

    `quantization` is None unless lmtool quantized it.
    """

    folder: Path
    config: dict[str, Any]
    generation: dict[str, Any]
    family: Family
    spec: ModelSpec
    shards: tuple[Shard, ...]
    quantization: Quantization | None = None

    def tensors(self) -> dict[str, tuple[Shard, Entry]]:
        """Every tensor by the checkpoint's own name."""
        return {name: (s, entry) for s in self.shards for name, entry in s.entries.items()}

    def as_stored(self) -> Checkpoint:
        """With a head of its own if one is stored, whatever the config says.

        transformers doesn't tie it then either.
        """
        head = self.family.names.spelled("head.weight", self.spec.layers)
        if self.spec.tied and head in self.tensors():
            return replace(self, spec=replace(self.spec, tied=False))
        return self

    def eos(self) -> frozenset[int]:
        """The ids that end a text, by config.json and generation_config.json together.

        Where the first has a model of text among others, its own count too.
        """
        inner = self.config.get("text_config")
        text = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
        sources = (self.config, text, self.generation)
        return frozenset(id for source in sources for id in _ids(source, "eos_token_id"))


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open `folder` and check all that can be checked without its weights.

    Raises `ModelError`, saying what is missing, damaged or unsupported, and where.
    """
    config = read_config(folder)
    family, spec, quantization = understand(config, f"`{folder / CONFIG}`")
    generation = read_json(folder / "generation_config.json", needed=False)
    shards = _open_shards(folder)
    return Checkpoint(folder, config, generation, family, spec, shards, quantization).as_stored()


def understand(config: dict[str, Any], where: str) -> tuple[Family, ModelSpec, Quantization | None]:
    """What a parsed config.json says; `where` names it in errors.

    Raises `ModelError` for what is unknown, missing or senseless.
    """
    quantization = read_quantization(config, where)
    if quantization is not None:
        config = {name: value for name, value in config.items() if name != FIELD}
    family = find_family(config, where)
    spec = family.spec(config, where)
    if quantization is not None:
        family = replace(family, names=OwnNames(theirs=family.names))
    return family, spec, quantization


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Raises `ModelError` if there is no such folder or file."""
    try:
        folder.stat()
    except FileNotFoundError as error:
        raise ModelError(f"no such model folder: `{folder}`") from error
    except OSError as error:  # a name too long, a folder above that may not be searched
        raise ModelError(f"cannot open `{folder}`: {error.strerror or error}") from error
    if not folder.is_dir():
        raise ModelError(
            f"`{folder}` is a file, not a model folder",
            hint=f"name the folder that holds {CONFIG}",
        )
    return read_json(folder / CONFIG, needed=True)


def read_places(folder: Path) -> dict[str, str] | None:
    """Which shard holds which tensor, by the index; None for weights in a single file.

    Raises `ModelError` if there are no weights that we read, or the index is damaged.
    """
    index = folder / INDEX
    if (folder / SINGLE).exists():
        return None  # as in transformers, an index beside it is what an earlier save left
    if not index.exists():
        raise _no_weights(folder)
    weight_map = read_json(index, needed=True).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError(f"`{index}` has no weight_map", hint="download it again")
    places = cast("dict[str, Any]", weight_map)
    for name in places.values():
        if not isinstance(name, str) or Path(name).name != name or name in ("", ".."):
            raise ModelError(f"`{index}` names a shard outside its folder: {name!r}")
    return places


def unlisted(folder: Path, places: dict[str, str], shards: dict[str, Shard]) -> ModelError | None:
    """The error if a shard lacks a tensor that the index says it holds."""
    for tensor, name in places.items():
        if name in shards and tensor not in shards[name].entries:
            return ModelError(f"`{folder / name}` lacks `{tensor}`, which {INDEX} says it holds")
    return None


def _open_shards(folder: Path) -> tuple[Shard, ...]:
    places = read_places(folder)
    if places is None:
        return (open_shard(folder / SINGLE),)
    names = sorted(set(places.values()))
    missing = [name for name in names if not exists(folder / name)]
    if missing:
        raise ModelError(
            f"`{folder}` lacks {len(missing)} of the {len(names)} shards that {INDEX} names: "
            f"{', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}",
            hint="download them again",
        )
    shards = {name: open_shard(folder / name) for name in names}
    if error := unlisted(folder, places, shards):
        raise error
    return tuple(shards.values())


def _no_weights(folder: Path) -> ModelError:
    def there(*patterns: str) -> list[str]:
        return sorted(path.name for pattern in patterns for path in folder.glob(pattern))

    if pickles := there("*.bin", "*.pt", "*.pth", "*.bin.index.json"):
        return ModelError(
            f"`{folder}` holds its weights as pickle (`{pickles[0]}`), "
            "which could run code and is never opened",
            hint="convert it to safetensors, or look for a safetensors version of the model",
        )
    if others := there("*.gguf", "*.h5", "*.msgpack", "*.onnx"):
        return ModelError(
            f"`{folder}` holds its weights as `{others[0]}`, which lmtool doesn't read",
            hint="it reads safetensors",
        )
    if others := there("*.safetensors"):
        return ModelError(
            f"`{folder}` has neither {SINGLE} nor {INDEX}, only `{others[0]}`",
            hint="with several shards the index must be there too",
        )
    return ModelError(
        f"`{folder}` has no weights: neither {SINGLE} nor {INDEX}", hint="download it again"
    )


def read_json(path: Path, needed: bool) -> dict[str, Any]:
    """A file's JSON object; {} for one that is neither there nor `needed`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        if not needed:
            return {}
        raise ModelError(f"`{path.parent}` is not a model folder: it has no {path.name}") from error
    except OSError as error:
        raise ModelError(f"cannot read `{path}`: {error.strerror or error}") from error
    if data.startswith(LFS_POINTER):
        raise ModelError(
            f"`{path}` is a Git LFS pointer, not the file itself",
            hint="run `git lfs pull` in its folder",
        )
    try:
        parsed: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"`{path}` is not JSON: {error}", hint="download it again") from error
    if not isinstance(parsed, dict):
        raise ModelError(f"`{path}` is not a JSON object")
    return cast("dict[str, Any]", parsed)


def _ids(source: dict[str, Any], name: str) -> list[int]:
    value = source.get(name)
    values: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
    for id in values:
        if id is not None and (not isinstance(id, int) or isinstance(id, bool)):
            raise ModelError(f"`{name}` of the checkpoint is {value!r}, not a token id or several")
    return [id for id in values if id is not None]


def context_of(checkpoint: Checkpoint, asked: int | None) -> int:
    """Tokens of the context, `asked` for or what the model was made for.

    Raises `UsageError` where it has fewer positions.
    """
    limit = checkpoint.spec.learned_positions
    if asked is None:
        return checkpoint.spec.max_positions
    if asked < 2:  # a token of prompt and one of answer
        raise UsageError(f"a context of {asked} tokens is too small")
    if limit is not None and asked > limit - checkpoint.spec.position_offset:
        raise UsageError(
            f"a context of {asked} tokens is too large: the model has learned "
            f"{limit - checkpoint.spec.position_offset} positions"
        )
    return asked


def check_quant(checkpoint: Checkpoint, asked: Quant | None) -> None:
    """Raise `UsageError` if a checkpoint is quantized already, and not to what is asked."""
    stored = checkpoint.quantization
    if stored is not None and asked not in (None, stored.quant):
        raise UsageError(
            f"`{checkpoint.folder}` is quantized to {stored.quant} already, not to {asked}",
            hint="name the checkpoint that it was made from",
        )
