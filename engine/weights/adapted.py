"""LoRA adapters added to a checkpoint's weights, each as it is read: W + scale * B @ A.

References: LoRA (arXiv:2106.09685), rank stabilization (arXiv:2312.03732), DoRA (arXiv:2402.09353),
and peft, whose results these are.

An adapter knows weights by the names of transformers' modules. All spellings that a family has for
one of our weights are looked for, and B is cut as the weight itself would be cut out of that
spelling, whichever of them the checkpoint holds. So a fused, transposed or quantized weight gets
what belongs to it, and nothing larger than that weight is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ... import ModelError
from ..families.naming import Found, NameMap, OwnNames
from ..quant.kinds import EMBEDDING, HEAD
from ..spec import ExpertsSpec, ModelSpec
from .adapter import Adapter, Factors, fingerprint
from .checkpoint import Checkpoint
from .mapped import mapped, readable

SHOWN = 3
"""Names that have no place which are listed; more are counted."""


class Adapted:
    """Several adapters as changes to the weights of one checkpoint.

    `checkpoint` has a head of its own where the adapters change embedding or head alone.
    """

    def __init__(self, adapters: Sequence[Adapter], checkpoint: Checkpoint) -> None:
        self.fingerprint = fingerprint([adapter for adapter in adapters if adapter.scale])
        self._adapters = [adapter for adapter in adapters if adapter.scale]
        names = checkpoint.family.names
        self._names: NameMap = names.theirs if isinstance(names, OwnNames) else names
        self._spec: ModelSpec = checkpoint.spec
        self._was_tied = checkpoint.spec.tied
        self.checkpoint = checkpoint
        self.untied = self._was_tied and any(map(self._unties, self._adapters))
        if self.untied:
            self.checkpoint = replace(checkpoint, spec=replace(checkpoint.spec, tied=False))

    def changes(self, ours: str) -> bool:
        """Whether any adapter changes one of our weights."""
        return any(
            self._whole(adapter, theirs)
            or self._rows(adapter, theirs, ours)
            or adapter.bias_of(theirs)
            or any(factors.names for factors in adapter.factors_of(theirs)[1])
            for name in self._sources(ours)
            for adapter in self._adapters
            for found in self._spelled(name)
            for theirs in found.names
        )

    def apply(self, ours: str, weight: Tensor) -> Tensor:
        """One of our weights as the adapters change it, float32; the given one stays as it is.

        Of a weight without numbers only shapes are checked: torch's arithmetic on such would first
        import seconds' worth of Python.
        Raises `ModelError` for what doesn't fit, and for numbers that aren't finite.
        """
        changed = weight.float()
        for name in self._sources(ours):
            shared_only = name != ours
            changed = self._replaced(name, changed, shared_only)
            if not shared_only:
                changed = self._added(name, changed)
        if not changed.is_meta and not bool(changed.isfinite().all()):
            raise self._not_finite(ours)
        return changed

    def refuse_rest(self) -> None:
        """Raise `ModelError` if an adapter holds tensors that the model has no place for."""
        for adapter in self._adapters:
            left = [name for name in adapter.left() if not self._needless(adapter, name)]
            if not left:
                continue
            shown = ", ".join(f"`{name}`" for name in left[:SHOWN])
            more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
            few = len(left) < len(adapter.shard.entries)
            many = f"{len(left)} of its {len(adapter.shard.entries)} tensors" if few else "it"
            raise ModelError(
                f"`{adapter.folder}` does not belong to `{self.checkpoint.folder}`, "
                f"which has no place for {many}: {shown}{more}",
                hint=_made_for(adapter),
            )

    def _replaced(self, ours: str, weight: Tensor, shared_only: bool) -> Tensor:
        """Weights that an adapter holds whole, and rows of an embedding."""
        by: Adapter | None = None
        for adapter, found in self._found(ours):
            names = [self._whole(adapter, theirs) for theirs in found.names]
            if any(name is None for name in names):
                continue
            held = [name for name in names if name is not None]
            if shared_only and self._apart(adapter, found.names[0]):
                continue
            if by is not None and by is not adapter:
                raise ModelError(
                    f"`{by.folder}` and `{adapter.folder}` both replace `{found.names[0]}`",
                    hint="only one of them can be used at a time",
                )
            by = adapter
            parts = [self._tensor(adapter, name, weight) for name in held]
            whole = parts[0] if found.cut is None else found.cut(parts)
            if whole.shape != weight.shape:
                raise self._misfit(adapter, held[0], list(weight.shape))
            weight = whole.float()
        for adapter, found in self._found(ours):
            if (row := self._rows(adapter, found.names[0], ours)) is not None:
                weight = self._with_rows(adapter, *row, weight)
        return weight

    def _with_rows(
        self, adapter: Adapter, name: str, ids: tuple[int, ...], weight: Tensor
    ) -> Tensor:
        rows = self._tensor(adapter, name, weight)
        if tuple(rows.shape) != (len(ids), *weight.shape[1:]):
            raise self._misfit(adapter, name, [len(ids), *weight.shape[1:]])
        if not all(0 <= id < weight.shape[0] for id in ids):
            raise ModelError(
                f"`{adapter.config.path}`: `trainable_token_indices` names token {max(ids)}, "
                f"but the model has only {weight.shape[0]:,}",
                hint=_made_for(adapter),
            )
        if weight.is_meta:
            return weight
        return weight.index_copy(0, torch.tensor(ids, device=weight.device), rows.float())

    def _added(self, ours: str, weight: Tensor) -> Tensor:
        """The products of factors, and the biases that belong to them."""
        turned: Adapter | None = None
        count = 0
        for adapter, found in self._found(ours):
            theirs = found.names[0]
            if (own := adapter.bias_of(theirs)) is not None:
                scale = adapter.config.scaling(own[0]) * adapter.scale
                bias = self._tensor(adapter, own[1], weight).float()
                bias = bias if found.cut is None else found.cut([bias])
                if bias.shape != weight.shape:
                    raise self._misfit(adapter, own[1], list(weight.shape))
                weight = weight if weight.is_meta else weight + scale * bias
            key, several = adapter.factors_of(theirs)
            several = [factors for factors in several if factors.names]
            if not several or weight.dim() != 2:
                continue
            count += 1
            if adapter.config.dora:
                turned = adapter
            if turned is not None and count > 1:
                raise ModelError(
                    f"`{turned.folder}` is a DoRA adapter, and another one changes `{theirs}` too",
                    hint="use it alone",
                )
            weight = self._with_factors(adapter, found, key, several, ours, weight)
        return weight

    def _with_factors(
        self,
        adapter: Adapter,
        found: Found,
        key: str,
        several: list[Factors],
        ours: str,
        weight: Tensor,
    ) -> Tensor:
        """W + scale * B @ A, scaled to its magnitudes if it is DoRA's."""
        misfit: ModelError | None = None
        for fitting in several:  # the others are of other parameters of the same module
            down, up = self._pair(adapter, fitting, weight)
            experts = self._experts(adapter, key, ours, down)
            if experts is None:
                misfit = misfit or self._of_another_rank(adapter, fitting, key, down)
                continue
            up, down = _share(found, up, down, experts, ours)
            if (up.shape[0], down.shape[1]) == tuple(weight.shape):
                break
        else:
            raise misfit or self._factors_misfit(adapter, several[0], weight)
        adapter.taken.update(fitting.names)
        scale = adapter.config.scaling(key) * adapter.scale
        changed = weight if weight.is_meta else torch.addmm(weight, up, down, alpha=scale)
        if fitting.magnitude is None:
            return changed
        return self._turned(adapter, found, fitting.magnitude, fitting.embedding, changed)

    def _turned(
        self, adapter: Adapter, found: Found, name: str, embedding: bool, weight: Tensor
    ) -> Tensor:
        """DoRA: the weight keeps its directions and gets magnitudes of its own."""
        magnitude = self._tensor(adapter, name, weight).float()
        if not embedding and found.cut is not None:
            magnitude = found.cut([magnitude])
        across = 0 if embedding else 1  # an embedding's rows are its inputs
        wanted = weight.shape[1 - across : 2 - across]
        if magnitude.shape != wanted:
            raise self._misfit(adapter, name, list(wanted))
        if weight.is_meta:
            return weight
        norms = weight.square().sum(across).sqrt()
        return weight.mul_((magnitude / norms).unsqueeze(across))

    def _pair(self, adapter: Adapter, factors: Factors, weight: Tensor) -> tuple[Tensor, Tensor]:
        """A and B of a module, [rank, inputs] and [outputs, rank], float32."""
        assert factors.down is not None
        assert factors.up is not None
        down = self._tensor(adapter, factors.down, weight, taken=False).float()
        up = self._tensor(adapter, factors.up, weight, taken=False).float()
        if down.dim() != 2 or up.dim() != 2 or down.shape[0] != up.shape[1]:
            raise ModelError(
                f"`{adapter.shard.path}`: factors of the shapes {list(up.shape)} and "
                f"{list(down.shape)} make no product for `{factors.module}`",
                hint="download it again",
            )
        # An embedding's rows are its inputs: its weight is the transpose of the product.
        return (up.T, down.T) if factors.embedding else (down, up)

    def _experts(self, adapter: Adapter, key: str, ours: str, down: Tensor) -> int | None:
        """How many experts a pair of factors is for, 0 where it is one matrix's.

        None if its rank is neither's by the config.
        """
        rank, rows = adapter.config.rank_of(key), down.shape[0]
        if rows == rank:
            return 0
        if ".experts." not in ours:
            return None
        feed = self._spec.layers[int(ours.split(".")[1])].feed
        assert isinstance(feed, ExpertsSpec)
        return feed.count if rows == rank * feed.count else None

    def _of_another_rank(
        self, adapter: Adapter, factors: Factors, key: str, down: Tensor
    ) -> ModelError:
        return ModelError(
            f"`{adapter.shard.path}`: the factors of `{factors.module}` have rank {down.shape[0]}, "
            f"but {adapter.config.path.name} says {adapter.config.rank_of(key)}",
            hint="they don't belong together",
        )

    def _sources(self, ours: str) -> tuple[str, ...]:
        """A head that was tied also has what was done to both it and the embedding."""
        return (EMBEDDING, HEAD) if ours == HEAD and self._was_tied else (ours,)

    def _found(self, ours: str) -> Iterator[tuple[Adapter, Found]]:
        for adapter in self._adapters:
            for found in self._spelled(ours):
                yield adapter, found

    def _spelled(self, ours: str) -> list[Found]:
        """Every spelling of one of our weights, that of the bare stack too, each once."""
        if ours.endswith(".scale"):
            return []  # of a quantized embedding
        every: dict[tuple[str, ...], Found] = {}
        for found in self._names.find(ours, self._spec.layers):
            for spelling in (found, found.bare()):
                if spelling.packing is None:
                    every.setdefault(spelling.names, spelling)
        return list(every.values())

    def _whole(self, adapter: Adapter, theirs: str) -> str | None:
        return adapter.whole.get(theirs)

    def _rows(self, adapter: Adapter, theirs: str, ours: str) -> tuple[str, tuple[int, ...]] | None:
        """The tensor of an embedding's own rows, and for which ids they are."""
        name = adapter.rows.get(theirs)
        if name is None:
            return None
        module = theirs.removesuffix(".weight")
        for given, ids in adapter.config.tokens.items():
            if f".{module}".endswith(f".{given}") or (not given and ours == EMBEDDING):
                return name, ids
        return None

    def _apart(self, adapter: Adapter, theirs: str) -> bool:
        """Whether a weight held whole is a copy that only its own module computes with."""
        return adapter.config.replaces(theirs.removesuffix(".weight")) and not adapter.config.ties

    def _unties(self, adapter: Adapter) -> bool:
        """Whether an adapter changes embedding or head, and not both alike."""
        return any(
            any(factors.names for factors in adapter.factors_of(theirs)[1])
            or (theirs in adapter.whole and self._apart(adapter, theirs))
            for ours in (EMBEDDING, HEAD)
            for found in self._spelled(ours)
            for theirs in found.names
        )

    def _needless(self, adapter: Adapter, name: str) -> bool:
        """Whether a tensor is for a part of a larger model that isn't run, or there twice."""
        module = name.removeprefix("base_model.model.").partition(".lora_")[0]
        if self._names.needless(f"{module}.weight", self._spec):
            return True
        tied = self._was_tied and self.checkpoint.spec.tied
        heads = {theirs for found in self._spelled(HEAD) for theirs in found.names} if tied else ()
        return any(adapter.whole.get(theirs) == name for theirs in heads)

    def _tensor(self, adapter: Adapter, name: str, like: Tensor, taken: bool = True) -> Tensor:
        """A tensor of the adapter, on the device of `like`."""
        entry = adapter.entry(name)
        dtype = readable(adapter.shard, entry, name)
        if not dtype.is_floating_point:
            raise ModelError(
                f"`{adapter.shard.path}`: `{name}` is stored as {entry.dtype}, not as numbers"
            )
        if taken:
            adapter.taken.add(name)
        if like.is_meta:
            return torch.empty(entry.shape, dtype=dtype, device="meta")
        return mapped(adapter.shard, entry, dtype).to(like.device)

    def _misfit(self, adapter: Adapter, name: str, wanted: list[int]) -> ModelError:
        return ModelError(
            f"`{adapter.shard.path}`: `{name}` of shape {list(adapter.entry(name).shape)} "
            f"doesn't fit the model's {wanted}",
            hint=_made_for(adapter),
        )

    def _factors_misfit(self, adapter: Adapter, factors: Factors, weight: Tensor) -> ModelError:
        down, up = self._pair(adapter, factors, weight)
        return ModelError(
            f"`{adapter.shard.path}`: the change to `{factors.module}` has shape "
            f"{[up.shape[0], down.shape[1]]}, which doesn't fit the model's {list(weight.shape)}",
            hint=_made_for(adapter),
        )

    def _not_finite(self, ours: str) -> ModelError:
        """Which tensor is to blame, or else all together."""
        for adapter in self._adapters:
            for name in sorted(adapter.taken):
                dtype = readable(adapter.shard, adapter.entry(name), name)
                if not bool(mapped(adapter.shard, adapter.entry(name), dtype).isfinite().all()):
                    return ModelError(
                        f"`{adapter.shard.path}`: `{name}` holds numbers that are not finite",
                        hint="it is damaged: download it again",
                    )
        folders = ", ".join(f"`{adapter.folder}`" for adapter in self._adapters)
        return ModelError(f"adding {folders} gives numbers that are not finite in {ours}")


def _share(
    found: Found, up: Tensor, down: Tensor, experts: int, ours: str
) -> tuple[Tensor, Tensor]:
    """B and A of one of our weights, out of those of the tensor that it is cut from."""
    if found.cut is None:
        return up, down
    if experts:
        expert = int(ours.split(".experts.")[1].split(".")[0])
        own_up = up.reshape(up.shape[0], -1, experts)[:, :, expert]
        down = down.reshape(experts, -1, down.shape[1])[expert]
        # What cuts one expert out of all gets them as a row of the same one.
        outputs = _cut(found, own_up, lambda own: [own] * experts)
        return outputs, down
    return _cut(found, up, lambda own: own), down


def _cut(found: Found, up: Tensor, dressed: Callable[[Tensor], Any]) -> Tensor:
    """Our rows of B, whichever way round the tensor is stored that they are rows of."""
    assert found.cut is not None
    apart = sum(up.shape) + 1
    probe = found.cut([dressed(torch.empty(up.shape[0], apart, device="meta"))])
    if probe.shape[-1] == apart:
        return found.cut([dressed(up)])
    return found.cut([dressed(up.T)])


def _made_for(adapter: Adapter) -> str:
    base = adapter.config.base
    return f"it was made for `{base}`" if base else "it was made for another model"
