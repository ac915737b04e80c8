"""gpt-oss: attention with sinks, every other layer in a window, experts with a clamped SwiGLU.

Reference: transformers' modeling_gpt_oss.
"""

from __future__ import annotations

import math
from dataclasses import replace

from ..spec import MlpSpec, ModelSpec, RopeSpec, RouterSpec, YarnScaling
from .family import Family
from .fields import Fields
from .llama import NAMES as LLAMA_NAMES
from .mixture import read_attention, read_experts, read_stack
from .naming import NameMap, Part, chain, every_other, expert_of, transposed
from .stack import all_but_every, read_kinds, read_norm, read_windows

_THEIRS = "model.layers.{}.mlp.experts."
_OURS = "layers.{}.feed.experts.{e}."


def _packed(name: str) -> tuple[str, str]:
    return f"{_THEIRS}{name}_blocks", f"{_THEIRS}{name}_scales"


NAMES = NameMap(
    LLAMA_NAMES.parts
    | {
        "layers.{}.mixer.sinks": "model.layers.{}.self_attn.sinks",
        "layers.{}.feed.router": "model.layers.{}.mlp.router",
        # Gate and up projection take turns, whole as [E, M, 2 F], packed as [E, 2 F, M].
        **{
            f"{_OURS}{ours}.weight": (
                Part((f"{_THEIRS}gate_up_proj",), expert_of(chain(transposed, every_other(turn)))),
                Part(_packed("gate_up_proj"), expert_of(every_other(turn)), packing="mxfp4"),
            )
            for turn, ours in enumerate(("gate", "up"))
        },
        **{
            f"{_OURS}{ours}.bias": Part(
                (f"{_THEIRS}gate_up_proj_bias",), expert_of(every_other(turn))
            )
            for turn, ours in enumerate(("gate", "up"))
        },
        f"{_OURS}down.weight": (
            Part((f"{_THEIRS}down_proj",), expert_of(transposed)),
            Part(_packed("down_proj"), expert_of(), packing="mxfp4"),
        ),
        f"{_OURS}down.bias": Part((f"{_THEIRS}down_proj_bias",), expert_of()),
    }
)


def read_gpt_oss(fields: Fields) -> ModelSpec:
    """gpt-oss; packed experts need no field of their own, they are known by their names."""
    fields.respell(num_experts="num_local_experts")
    fields.assume(
        vocab_size=201088,
        hidden_size=2880,
        intermediate_size=2880,
        num_hidden_layers=36,
        num_attention_heads=64,
        num_key_value_heads=8,
        head_dim=64,
        max_position_embeddings=131072,
        num_experts_per_tok=4,
        num_local_experts=128,
    )
    # The activation is fixed, and the other two say again what other fields say.
    fields.ignore("hidden_act", "initial_context_length", "experts_per_token")
    if quantization := fields.inside("quantization_config"):
        quantization.word("quant_method", "mxfp4", ("mxfp4",))
    count, bias = fields.integer("num_hidden_layers"), fields.flag("attention_bias", True)
    mixer = replace(read_attention(fields, 150000.0), bias=bias, out_bias=bias, sinks=True)
    if not fields.has("rope_scaling") and not fields.has("rope_parameters"):
        mixer = replace(mixer, rope=_usual_rope(mixer.head_dim, fields))
    windows = read_windows(fields, read_kinds(fields, all_but_every(2)), 128)
    expert = MlpSpec(
        fields.integer("intermediate_size"),
        bias=True,
        clamp=fields.number("swiglu_limit", 7.0),
        slope=fields.number("swiglu_alpha", 1.702),
    )
    router = RouterSpec(normalize=True, bias=True)
    feed = read_experts(fields, "num_local_experts", expert, router)
    mixers = [replace(mixer, window=window) for window in windows]
    return read_stack(fields, mixers, [feed] * count, read_norm(fields, 1e-5))


def _usual_rope(width: int, fields: Fields) -> RopeSpec:
    """What transformers takes for a config that says nothing of a rope but perhaps its base."""
    scaling = YarnScaling(32.0, 4096, attention_factor=0.1 * math.log(32.0) + 1.0, truncate=False)
    return RopeSpec(width, fields.number("rope_theta", 150000.0), scaling)


GPT_OSS = (Family("gpt_oss", read_gpt_oss, NAMES),)
