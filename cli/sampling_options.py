"""How each next token is chosen: a dataclass for `unfold`."""

# ruff: noqa: RUF009  # a setting() is a frozen declaration, safe to share

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from .. import ModelError
from .settings import Number, Setting, Source, Whole, declared_in, setting

LARGEST_SEED = (1 << 63) - 1


@dataclass(frozen=True)
class SamplingSettings:
    """How each next token is chosen."""

    panel: ClassVar[str] = "Sampling"

    temp: Setting[float] = setting(
        *("--temp", "--temperature"),
        kind=Number(at_least=0),
        default=0.0,
        metavar="X",
        help="Randomness; 0 is greedy. Default: the checkpoint's, else 0.",
    )
    top_k: Setting[int] = setting(
        "--top-k", kind=Whole(0), default=0, metavar="N", help="Only the N likeliest; 0 is off."
    )
    top_p: Setting[float] = setting(
        "--top-p",
        kind=Number(at_least=0, at_most=1),
        default=1.0,
        metavar="X",
        help="Only the likeliest that make up X together; 1 is off.",
    )
    min_p: Setting[float] = setting(
        "--min-p",
        kind=Number(at_least=0, at_most=1),
        default=0.0,
        metavar="X",
        help="Only those at least X times as likely as the likeliest; 0 is off.",
    )
    repeat_penalty: Setting[float] = setting(
        *("--repeat-penalty", "--repetition-penalty"),
        kind=Number(above=0),
        default=1.0,
        metavar="X",
        help="Make tokens of the recent text X times less likely; 1 is off.",
    )
    repeat_last_n: Setting[int] = setting(
        "--repeat-last-n",
        kind=Whole(-1),
        default=64,
        metavar="N",
        help="How many tokens are recent; -1: the whole text.",
    )
    seed: Setting[int] = setting(
        "--seed",
        kind=Whole(-LARGEST_SEED, LARGEST_SEED),
        default=0,
        metavar="N",
        help="The same seed gives the same text. Default, or below 0: random, and reported.",
    )
    samples: Setting[int] = setting(
        "--samples", kind=Whole(1), default=1, metavar="N", help="Continue the prompt N times."
    )

    def completed(self, checkpoint: Mapping[str, Any]) -> SamplingSettings:
        """These, with what nobody set taken from generation_config.json, and a seed drawn.

        At temperature 0 the other settings are put to what they then amount to: off. A repetition
        penalty acts on greedy choices too, so it is only put off where the checkpoint, which means
        it for sampling, brings it.
        """
        chosen = replace(self, **self._from(checkpoint))
        greedy: Source = "greedy"
        if chosen.temp.value == 0:
            off = SamplingSettings()
            chosen = replace(
                chosen,
                top_k=Setting(off.top_k.value, greedy),
                top_p=Setting(off.top_p.value, greedy),
                min_p=Setting(off.min_p.value, greedy),
            )
            if chosen.repeat_penalty.source == "generation_config.json":
                chosen = replace(chosen, repeat_penalty=Setting(off.repeat_penalty.value, greedy))
        if chosen.seed.source == "default" or chosen.seed.value < 0:
            if chosen.temp.value == 0:
                return replace(chosen, seed=Setting(0, greedy))
            import secrets  # slow to import, and seldom needed

            return replace(chosen, seed=Setting(secrets.randbelow(1 << 32), "random"))
        return chosen

    def without_effect(self, completed: SamplingSettings) -> list[str]:
        """The flags that somebody set here and that temperature 0 put off in `completed`."""
        declared = declared_in(SamplingSettings)
        return [
            declared[name].flag
            for name in ("top_k", "top_p", "min_p")
            if getattr(self, name).source != "default"
            if getattr(self, name).value != getattr(completed, name).value
        ]

    def _from(self, checkpoint: Mapping[str, Any]) -> dict[str, Setting[Any]]:
        """What generation_config.json says of settings that nobody set.

        Its numbers count only where it means sampling: `do_sample` true, or a temperature and no
        `do_sample`. Without a temperature they are meant for 1, as transformers reads them.
        """
        temperature = checkpoint.get("temperature")
        samples = checkpoint.get("do_sample")
        if samples is False or (samples is None and temperature is None):
            return {}
        declared = declared_in(SamplingSettings)
        offered = {"temp": 1.0 if temperature is None else temperature}
        offered |= {name: checkpoint.get(name) for name in ("top_k", "top_p", "min_p")}
        offered["repeat_penalty"] = checkpoint.get("repetition_penalty")
        found: dict[str, Setting[Any]] = {}
        for name, raw in offered.items():
            if raw is None or getattr(self, name).source != "default":
                continue
            key = {"temp": "temperature", "repeat_penalty": "repetition_penalty"}.get(name, name)
            try:
                value = declared[name].kind.accept(raw)
            except (ValueError, OverflowError):
                raise ModelError(
                    f"`{key}` in the checkpoint's generation_config.json must be "
                    f"{declared[name].kind.says}, not `{raw}`",
                    hint=f"{declared[name].flag} overrules it",
                ) from None
            found[name] = Setting(value, "generation_config.json")
        return found
