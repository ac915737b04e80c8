"""Every family that lmtool knows, by the `model_type` of its config.json."""

from __future__ import annotations

from typing import Any

from ... import ModelError
from .alibi import ALIBI
from .cohere import COHERE
from .deepseek import DEEPSEEK
from .experts import EXPERTS
from .family import Family
from .fused import FUSED
from .gemma import GEMMA
from .gpt_early import GPT_EARLY
from .gpt_oss import GPT_OSS
from .llama import LLAMA, MISTRAL, QWEN2, QWEN3
from .neox import NEOX
from .olmo import OLMO
from .recurrent import RECURRENT
from .relatives import RELATIVES

# fmt: off
FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        LLAMA, MISTRAL, QWEN2, QWEN3,
        *RELATIVES, *GEMMA, *OLMO, *COHERE, *FUSED,
        *GPT_EARLY, *NEOX, *ALIBI,
        *EXPERTS, *DEEPSEEK, *GPT_OSS,
    )
}
# fmt: on


def find_family(config: dict[str, Any], where: str) -> Family:
    """The family of a config. Raises `ModelError` naming an unknown one and those we know."""
    name = config.get("model_type")
    if not isinstance(name, str):
        raise ModelError(
            f"{where} has no `model_type`, so its architecture is unknown",
            hint=f"lmtool runs {', '.join(FAMILIES)}",
        )
    family = FAMILIES.get(name)
    if name in RECURRENT:
        raise ModelError(
            f"{where} is of architecture `{name}`, {RECURRENT[name]}, which lmtool doesn't run",
            hint="it runs models whose layers all attend to the tokens themselves",
        )
    if family is None:
        raise ModelError(
            f"{where} is of architecture `{name}`, which lmtool doesn't run",
            hint=f"it runs {', '.join(FAMILIES)}",
        )
    return family
