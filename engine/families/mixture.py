"""The fields that families with experts share, read once for all of them.

References: transformers' modeling_mixtral, modeling_qwen2_moe, modeling_deepseek_v3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..spec import (
    AttentionSpec,
    ExpertsSpec,
    Feed,
    LayerSpec,
    Mixer,
    MlpSpec,
    ModelSpec,
    NormSpec,
    RouterSpec,
)
from .fields import Fields
from .naming import Part, Spelling, expert_of, rows
from .rope import read_rope
from .stack import read_heads, read_mlp, read_model, read_positions

TRAINING = ("router_aux_loss_coef", "output_router_logits", "router_jitter_noise")
"""Fields about experts that change losses and what is returned, not logits."""


DRAFTER = r"model\.layers\.(\d+)\..*"
"""Where a checkpoint keeps the layers that `read_drafters` counts."""


def read_attention(
    fields: Fields, theta: float = 10000.0, partial: float | None = None
) -> AttentionSpec:
    """Heads and their rope; `theta` and `partial` are the family's defaults, as in `read_rope`."""
    heads = read_heads(fields)
    rope = read_rope(fields, heads.head_dim, read_positions(fields), theta, partial=partial)
    return replace(heads, rope=rope)


def read_experts(fields: Fields, count: str, expert: MlpSpec, router: RouterSpec) -> ExpertsSpec:
    """As many experts as the field `count` says, `num_experts_per_tok` of them for each token."""
    fields.ignore(*TRAINING)
    total, active = fields.integer(count), fields.integer("num_experts_per_tok")
    if active > total:
        raise fields.wrong("num_experts_per_tok", active, f"at most {total}, the `{count}`")
    return ExpertsSpec(total, active, expert, router)


def grouped(
    fields: Fields, experts: ExpertsSpec, groups: int, top_groups: int, least: int
) -> ExpertsSpec:
    """The same experts chosen from their best groups only, which have at least `least` members."""
    if experts.count % groups or experts.count < least * groups:
        wanted = f"a divisor of {experts.count} experts that leaves {least} or more in each group"
        raise fields.wrong("n_group", groups, wanted)
    if top_groups > groups:
        raise fields.wrong("topk_group", top_groups, f"at most {groups}, the `n_group`")
    router = replace(experts.router, groups=groups, top_groups=top_groups)
    return replace(experts, router=router)


def read_sigmoid_feeds(fields: Fields) -> list[Feed]:
    """DeepSeek-V3's experts after `first_k_dense_replace` dense layers (arXiv:2412.19437)."""
    router = RouterSpec(
        scores="sigmoid",
        normalize=fields.flag("norm_topk_prob", True),
        scale=fields.number("routed_scaling_factor", 1.0),
        wide=True,
        correction=True,
        group_score="top2",
    )
    expert = read_mlp(fields, width="moe_intermediate_size")
    feed = read_experts(fields, "n_routed_experts", expert, router)
    groups, top_groups = fields.integer("n_group"), fields.integer("topk_group")
    feed = grouped(fields, feed, groups, top_groups, least=2)
    if feed.active > feed.count // groups * top_groups:
        wanted = f"at most {feed.count // groups * top_groups}, as many as `topk_group` leaves"
        raise fields.wrong("num_experts_per_tok", feed.active, wanted)
    shared = replace(expert, width=expert.width * fields.count("n_shared_experts"))
    return dense_first(fields, read_mlp(fields), replace(feed, shared=shared))


def dense_first(fields: Fields, dense: MlpSpec, feed: Feed) -> list[Feed]:
    """`first_k_dense_replace` dense layers, then the other kind."""
    count, first = fields.integer("num_hidden_layers"), fields.count("first_k_dense_replace")
    return [dense if i < first else feed for i in range(count)]


def read_drafters(fields: Fields) -> int:
    """Layers for drafting that checkpoints hold past the last (arXiv:2412.19437, 2.2)."""
    fields.respell(num_mtp_layers="num_nextn_predict_layers")
    return fields.count("num_nextn_predict_layers", 1)


def read_stack(
    fields: Fields, mixers: Sequence[Mixer], feeds: Sequence[Feed], norm: NormSpec
) -> ModelSpec:
    """Mixers and feeds, one of each for every layer, under embedding and head."""
    pairs = zip(mixers, feeds, strict=True)
    return read_model(fields, [LayerSpec(mixer, feed, norm) for mixer, feed in pairs], norm)


def expert_names(
    alone: tuple[str, str, str] | None, *together: tuple[str, str]
) -> dict[str, Spelling | tuple[Spelling, ...]]:
    """Names for expert weights: gate, up and down `alone` for each expert, or all `together`.

    Together, a tensor holds all experts' gates above their up projections, [E, 2 F, M], and
    another their down projections, [E, M, F].
    """
    cuts = expert_of(rows(0, _halves)), expert_of(rows(1, _halves)), expert_of()
    found: dict[str, Spelling | tuple[Spelling, ...]] = {}
    for place, (ours, cut) in enumerate(zip(("gate", "up", "down"), cuts, strict=True)):
        spellings: list[Spelling] = [] if alone is None else [alone[place]]
        spellings += [
            Part((down if ours == "down" else gate_up,), cut) for gate_up, down in together
        ]
        found[f"layers.{{}}.feed.experts.{{e}}.{ours}.weight"] = tuple(spellings)
    return found


def shared_names(prefix: str) -> dict[str, Spelling | tuple[Spelling, ...]]:
    """Names of the expert that every token passes."""
    return {f"layers.{{}}.feed.shared.{n}": f"{prefix}.{n}_proj" for n in ("gate", "up", "down")}


def _halves(layer: LayerSpec) -> Sequence[int]:
    """Rows of an expert's gate and up projection."""
    assert isinstance(layer.feed, ExpertsSpec)
    return layer.feed.expert.width, layer.feed.expert.width
