"""What config.json says of a checkpoint that `lmtool quantize` wrote. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from ..families.fields import Fields
from ..quant.kinds import BITS, EMBEDDING, GROUP, HEAD, Quant, kind_of

FIELD = "quantization_config"
METHOD = "lmtool"
FORMAT = 1
"""Raised when what is stored changes so that earlier lmtools would misread it."""

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Quantization:
    """How weights are held: the kind, and the dtype that everything else was stored in."""

    quant: Quant
    dtype: str

    def as_config(self) -> dict[str, Any]:
        """The field of config.json that describes it."""
        parts = {"embed": EMBEDDING, "head": HEAD, "mixer": "", "feed": ""}
        return {
            "quant_method": METHOD,
            "format": FORMAT,
            "bits": BITS[self.quant],
            "group_size": GROUP if self.quant == "int4" else None,
            "dtype": self.dtype,
            "bits_by_part": {part: BITS[kind_of(name, self.quant)] for part, name in parts.items()},
        }


def quant_method(config: dict[str, Any]) -> str | None:
    """The method that a config names, if its checkpoint is quantized at all."""
    field: Any = config.get(FIELD)
    if not field:
        return None
    said = cast("dict[str, Any]", field) if isinstance(field, dict) else {}
    method = said.get("quant_method")
    return method if isinstance(method, str) else "an unknown method"


def read_quantization(config: dict[str, Any], where: str) -> Quantization | None:
    """What a config says of our own quantization; None if there is none, or another's.

    Raises `ModelError` for a description that we don't understand.
    """
    if quant_method(config) != METHOD:
        return None
    fields = Fields({FIELD: config[FIELD]}, where).inside(FIELD)
    assert fields is not None
    fields.ignore("quant_method")
    if (form := fields.integer("format")) != FORMAT:
        raise fields.wrong("format", form, f"{FORMAT}, the only one that this lmtool reads")
    bits = fields.integer("bits")
    kinds: dict[int, Quant] = {number: quant for quant, number in BITS.items()}
    if bits not in kinds:
        raise fields.wrong("bits", bits, " or ".join(map(str, sorted(kinds))))
    found = Quantization(kinds[bits], fields.word("dtype", "float32", DTYPES))
    for name, value in found.as_config().items():
        if fields.take(name) != value:
            raise fields.wrong(name, fields.take(name), f"{value}, as `bits` {bits} implies")
    fields.refuse_rest()
    return found
