"""From our names for weights to a checkpoint's, with the surgery some checkpoints need.

Our names are those of the model's parts: `embed.weight`, `layers.3.mixer.q.weight`,
`layers.3.feed.experts.5.up.weight`, `norm.weight`, `head.weight`. Weights are [outputs, inputs].
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from ..spec import AttentionSpec, LayerSpec, ModelSpec

Cut: TypeAlias = Callable[[Sequence[Any], LayerSpec, int], Any]
"""Makes one of our weights out of stored tensors; also gets the layer's spec and the expert's
number. Tensors are only sliced and reshaped by their own methods, so nothing here sees torch."""


Packing: TypeAlias = Literal["mxfp4"]
"""How weights of fewer bits are stored."""


@dataclass(frozen=True)
class Part:
    """Where a weight comes from when a mere change of name won't do.

    `names` are templates as in `NameMap`. With `copies`, each stands for as many tensors as that
    says of the layer, numbered by `{n}`. `cut` makes our weight of all of them; with `packing`, it
    cuts each by itself, and what is left is unpacked by the function that quant has for that word.
    """

    names: tuple[str, ...]
    cut: Cut
    copies: Callable[[LayerSpec], int] | None = None
    packing: Packing | None = None


Spelling: TypeAlias = str | Part


@dataclass(frozen=True)
class Found:
    """What to read for one of our weights, and how to make it from that; `cut` None: as it is.

    With `packing` the cut gives a list of tensors to unpack.
    """

    names: tuple[str, ...]
    cut: Callable[[Sequence[Any]], Any] | None
    packing: Packing | None = None

    def bare(self) -> Found:
        """The same in a stack that was saved without its head: the first prefix is left out."""
        return replace(self, names=tuple(name.partition(".")[2] for name in self.names))


@dataclass(frozen=True)
class NameMap:
    """How a family spells our names.

    `parts` pairs a prefix of ours with theirs; `{}` stands for the layer's number, `{e}` for the
    expert's. The longest prefix that fits wins, and the rest of the name (`.weight`, `.bias`) is
    appended to theirs. Several spellings are alternatives: the first that the checkpoint holds is
    taken. `ignored` are patterns of tensors that checkpoints hold and nobody needs. `drafter` is
    a pattern of those of a layer past the last, with its number as the group.
    """

    parts: dict[str, Spelling | tuple[Spelling, ...]]
    ignored: tuple[str, ...] = (r".*rotary_emb\.inv_freq",)
    drafter: str | None = None

    def find(self, ours: str, layers: Sequence[LayerSpec]) -> list[Found]:
        """The alternatives for one of our weights, likeliest first."""
        layer, expert, general = _generalized(ours)
        prefixes = [p for p in self.parts if general == p or general.startswith(p + ".")]
        assert prefixes, f"the family has no name for {ours}"
        prefix = max(prefixes, key=len)
        rest = general[len(prefix) :]
        spellings = self.parts[prefix]
        if not isinstance(spellings, tuple):
            spellings = (spellings,)

        def filled(template: str, copy: int | None = None) -> str:
            name = template.replace("{}", str(layer)).replace("{e}", str(expert)) + rest
            return name if copy is None else name.replace("{n}", str(copy))

        found: list[Found] = []
        for spelling in spellings:
            if isinstance(spelling, str):
                found.append(Found((filled(spelling),), None))
                continue
            spec, cut = layers[layer], spelling.cut
            copies = [None] if spelling.copies is None else range(spelling.copies(spec))
            names = tuple(filled(name, copy) for name in spelling.names for copy in copies)
            if spelling.packing is None:
                found.append(Found(names, lambda stored, cut=cut, s=spec: cut(stored, s, expert)))
                continue
            found.append(
                Found(
                    names,
                    lambda stored, cut=cut, s=spec: [cut([t], s, expert) for t in stored],
                    spelling.packing,
                )
            )
        return found

    def spelled(self, ours: str, layers: Sequence[LayerSpec]) -> str:
        """The checkpoint's likeliest name of one of our weights, for messages."""
        return self.find(ours, layers)[0].names[0]

    def needless(self, theirs: str, spec: ModelSpec) -> bool:
        """Whether a tensor of the checkpoint may be left unread."""
        if self.drafter and (match := re.fullmatch(self.drafter, theirs)):
            depth = len(spec.layers)
            return depth <= int(match.group(1)) < depth + spec.drafters
        return any(re.fullmatch(pattern, theirs) for pattern in self.ignored)


@dataclass(frozen=True)
class OwnNames(NameMap):
    """What lmtool saves itself has our names, and nothing is left to cut.

    `theirs` is how the family spells them elsewhere.
    """

    parts: dict[str, Spelling | tuple[Spelling, ...]] = field(default_factory=dict[str, Any])
    ignored: tuple[str, ...] = ()
    theirs: NameMap = field(default_factory=lambda: NameMap({}))

    def find(self, ours: str, layers: Sequence[LayerSpec]) -> list[Found]:
        """The weight of that name."""
        return [Found((ours,), None)]


def _generalized(ours: str) -> tuple[int, int, str]:
    """The layer's number, the expert's, and the name with `{}` and `{e}` in their places."""
    layer = expert = 0
    if match := re.match(r"layers\.(\d+)\.", ours):
        layer, ours = int(match.group(1)), "layers.{}." + ours[match.end() :]
    if match := re.search(r"\.experts\.(\d+)\.", ours):
        expert = int(match.group(1))
        ours = f"{ours[: match.start()]}.experts.{{e}}.{ours[match.end() :]}"
    return layer, expert, ours


def transposed(stored: Sequence[Any], layer: LayerSpec, expert: int) -> Any:
    """A matrix stored as [inputs, outputs], as GPT-2's Conv1D does; a bias stays as it is."""
    return stored[0].T if stored[0].dim() == 2 else stored[0]


def rows(index: int, sizes: Callable[[LayerSpec], Sequence[int]]) -> Cut:
    """Part `index` of outputs that are stored one below the other, as many rows each as `sizes`."""

    def cut(stored: Sequence[Any], layer: LayerSpec, expert: int) -> Any:
        counts = sizes(layer)
        begin = sum(counts[:index])
        if stored[0].shape[0] != sum(counts):
            return stored[0]  # of the wrong shape, which is said where it is checked
        return stored[0][begin : begin + counts[index]]

    return cut


def every_other(first: int) -> Cut:
    """Every other row, from row `first` on."""

    def cut(stored: Sequence[Any], layer: LayerSpec, expert: int) -> Any:
        return stored[0][first::2]

    return cut


def qkv_sizes(layer: LayerSpec) -> Sequence[int]:
    """Rows of query, key and value."""
    mixer = layer.mixer
    assert isinstance(mixer, AttentionSpec)
    width = mixer.head_dim
    return mixer.heads * width, mixer.kv_heads * width, mixer.kv_heads * width


def by_group(index: int) -> Cut:
    """Query (0), key (1) or value (2) of a fused projection that is laid out head by head.

    Each key-value group has its queries, then its key, then its value (GPT-NeoX, BLOOM, Falcon).
    """

    def cut(stored: Sequence[Any], layer: LayerSpec, expert: int) -> Any:
        mixer = layer.mixer
        assert isinstance(mixer, AttentionSpec)
        share = mixer.heads // mixer.kv_heads
        if stored[0].shape[0] != mixer.kv_heads * (share + 2) * mixer.head_dim:
            return stored[0]
        groups = stored[0].unflatten(0, (mixer.kv_heads, share + 2, mixer.head_dim))
        part = (slice(share), slice(share, share + 1), slice(share + 1, share + 2))[index]
        return groups[:, part].flatten(0, 2)

    return cut


def expert_of(cut: Cut | None = None) -> Cut:
    """One expert out of a tensor that holds all, [E, ...], and then `cut`."""

    def take(stored: Sequence[Any], layer: LayerSpec, expert: int) -> Any:
        own = [tensor[expert] for tensor in stored]
        return own[0] if cut is None else cut(own, layer, expert)

    return take


def chain(first: Cut, then: Cut) -> Cut:
    """One cut after another."""

    def both(stored: Sequence[Any], layer: LayerSpec, expert: int) -> Any:
        return then([first(stored, layer, expert)], layer, expert)

    return both
