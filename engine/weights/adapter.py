"""A LoRA adapter's folder opened: its config, and which tensor belongs to which weight. No torch.

Format: what peft's save_pretrained writes. Names are those of transformers' modules after
`base_model.model.`, then what the tensor is to the module.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ... import ModelError
from .adapter_config import ADAPTER_CONFIG, AdapterConfig, read_adapter_config
from .shards import Entry, Shard, open_shard

ADAPTER_WEIGHTS = "adapter_model.safetensors"
PICKLED = "adapter_model.bin"

_FACTOR = re.compile(
    r"(?P<module>.+?)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B"
    r"|lora_magnitude_vector)(\.default)?(\.(?P<kind>weight|bias))?"
)
_ROWS = re.compile(r"(?P<module>.+)\.token_adapter\.trainable_tokens_delta(\.default)?")
_WRAPPERS = re.compile(r"\.(base_layer|modules_to_save(\.default)?)(?=\.)")


@dataclass(frozen=True)
class Lora:
    """An adapter to add: its folder, and what its scaling is multiplied by."""

    path: Path
    scale: float = 1.0


@dataclass
class Factors:
    """The names of the tensors that together change one weight, as far as they are there."""

    module: str
    down: str | None = None
    """A, [rank, inputs]; of an embedding [rank, rows]."""
    up: str | None = None
    """B, [outputs, rank]; of an embedding [width, rank]."""
    bias: str | None = None
    magnitude: str | None = None
    embedding: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All that are there."""
        parts = self.down, self.up, self.bias, self.magnitude
        return tuple(name for name in parts if name is not None)


@dataclass(frozen=True)
class Adapter:
    """One adapter: `factors` by module, `whole` and `rows` by the name of what they replace.

    A module can have several factors, one for each parameter of its own.
    """

    folder: Path
    scale: float
    config: AdapterConfig
    shard: Shard
    factors: dict[str, list[Factors]]
    whole: dict[str, str]
    rows: dict[str, str]
    taken: set[str] = field(default_factory=set[str])

    def entry(self, name: str) -> Entry:
        """Where a tensor is."""
        return self.shard.entries[name]

    def factors_of(self, theirs: str) -> tuple[str, list[Factors]]:
        """Those that may change the weight of a name, and what patterns know it by."""
        if self.config.targets(theirs):
            module = theirs.rpartition(".")[0]
            return theirs, self.factors.get(module, [])
        if theirs.endswith(".weight"):
            module = theirs.removesuffix(".weight")
            return module, self.factors.get(module, [])
        return theirs, []

    def bias_of(self, theirs: str) -> tuple[str, str] | None:
        """The module and the tensor of the bias that its factors add, if `theirs` is its bias."""
        module = theirs.removesuffix(".bias")
        for factors in self.factors.get(module, []) if module != theirs else []:
            if factors.bias is not None:
                return module, factors.bias
        return None

    def left(self) -> list[str]:
        """Names of tensors that nothing was done with, in the order of the modules."""
        return sorted(name for name in self.shard.entries if name not in self.taken)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of all that the result depends on: both files and the scale."""
        digest = hashlib.sha256(f"{self.scale!r}\n".encode())
        digest.update((self.folder / ADAPTER_CONFIG).read_bytes())
        data = memoryview(self.shard.bytes_of_file())
        for begin in range(0, len(data), 1 << 20):
            digest.update(data[begin : begin + (1 << 20)])
        return digest.hexdigest()


def open_adapter(lora: Lora) -> Adapter:
    """Open an adapter's folder, or the folder of the file that is named.

    Raises `ModelError` for what is missing, damaged, or no LoRA that lmtool can add.
    """
    folder = lora.path.parent if lora.path.name == ADAPTER_WEIGHTS else lora.path
    if folder.is_file() or not (folder / ADAPTER_CONFIG).exists():
        raise _no_adapter(lora.path)
    config = read_adapter_config(folder)
    if not (folder / ADAPTER_WEIGHTS).exists():
        if (folder / PICKLED).exists():
            raise ModelError(
                f"`{folder}` holds its weights as pickle (`{PICKLED}`), "
                "which could run code and is never opened",
                hint="load it with peft and save it again, which writes safetensors",
            )
        raise ModelError(f"`{folder}` has no {ADAPTER_WEIGHTS}", hint="download it again")
    shard = open_shard(folder / ADAPTER_WEIGHTS)
    if not shard.entries:
        raise ModelError(f"`{shard.path}` holds no tensors", hint="download it again")
    adapter = Adapter(folder, lora.scale, config, shard, {}, {}, {})
    for name in shard.entries:
        _sort_in(adapter, name)
    for several in adapter.factors.values():
        for factors in several:
            _check_complete(adapter, factors)
    return adapter


def _no_adapter(path: Path) -> ModelError:
    if not path.exists():
        return ModelError(f"no such adapter: `{path}`")
    if path.is_file():
        return ModelError(
            f"`{path}` is a file, not an adapter's folder",
            hint=f"name the folder that holds {ADAPTER_CONFIG}",
        )
    inside = sorted(found.parent.name for found in path.glob(f"*/{ADAPTER_CONFIG}"))
    return ModelError(
        f"`{path}` is no adapter: it has no {ADAPTER_CONFIG}",
        hint=f"there is one in `{path / inside[0]}`" if inside else None,
    )


def _sort_in(adapter: Adapter, name: str) -> None:
    """Put a tensor's name where its kind says it belongs."""
    theirs = name.replace("_orig_mod.", "").removeprefix("base_model.model.")
    if match := _FACTOR.fullmatch(theirs):
        levels = match["module"].count(".base_layer")
        module = match["module"].replace(".base_layer", "")
        several = adapter.factors.setdefault(module, [])
        while len(several) <= levels:
            several.append(Factors(module))
        factors, part = several[levels], match["part"]
        factors.embedding |= "embedding" in part
        if match["kind"] == "bias":
            factors.bias = name
        elif part.endswith("_A"):
            factors.down = name
        elif part.endswith("_B"):
            factors.up = name
        else:
            factors.magnitude = name
    elif match := _ROWS.fullmatch(theirs):
        adapter.rows[f"{match['module']}.weight"] = name
    else:
        adapter.whole[_WRAPPERS.sub("", theirs)] = name


def _check_complete(adapter: Adapter, factors: Factors) -> None:
    """Raise `ModelError` unless both factors are there, and the magnitude that DoRA needs."""
    if not factors.names:
        return  # a level that a parameter's factors are nested in, but has none of its own
    where = f"`{adapter.shard.path}`: `{factors.module}`"
    for part, name in (("lora_A", factors.down), ("lora_B", factors.up)):
        if name is None:
            raise ModelError(f"{where} lacks its {part}", hint="download it again")
    if adapter.config.dora and factors.magnitude is None:
        raise ModelError(f"{where} lacks its lora_magnitude_vector, which DoRA needs")
    if factors.magnitude is not None and not adapter.config.dora:
        raise ModelError(f"{where} has a lora_magnitude_vector, but `use_dora` isn't set")


def fingerprint(adapters: Sequence[Adapter]) -> str:
    """A digest of several adapters in their order; empty without any."""
    if not adapters:
        return ""
    together = "\n".join(adapter.fingerprint for adapter in adapters)
    return hashlib.sha256(together.encode()).hexdigest()
