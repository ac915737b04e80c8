"""How each next token is chosen: a dataclass for `unfold`."""

# ruff: noqa: RUF009  # a setting() is a frozen declaration, safe to share

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from .. import ModelError
from .generation_config import PENALTIES, means_sampling, offered
from .logit_bias import BiasKind, read_bias
from .settings import Many, Number, Setting, Source, Whole, declared_in, setting

if TYPE_CHECKING:
    from ..engine.request import Sampling
    from ..engine.session import Session

LARGEST_SEED = (1 << 63) - 1

FOR_DRAWS = ("top_k", "top_p", "min_p", "typical", "top_nsigma", "xtc_probability")
"""Settings that mean nothing to greedy choices."""

NEEDS = {
    "repeat_last_n": "repeat_penalty",
    "xtc_threshold": "xtc_probability",
    "dry_base": "dry_multiplier",
    "dry_allowed_length": "dry_multiplier",
}
"""Settings that mean nothing where another one is off."""

DRY_BREAKERS = ("\n", ":", '"', "*")
"""Texts that a repetition isn't followed across, llama.cpp's: a token with one of them in it."""


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
    typical: Setting[float] = setting(
        *("--typical", "--typical-p"),
        kind=Number(at_least=0, at_most=1),
        default=1.0,
        metavar="X",
        help="Only the most typical, by surprise, that make up X together; 1 is off.",
    )
    top_nsigma: Setting[float] = setting(
        *("--top-nsigma", "--top-n-sigma"),
        kind=Number(at_least=0),
        default=0.0,
        metavar="X",
        help="Only those whose logit is within X standard deviations of the highest; 0 is off.",
    )
    xtc_probability: Setting[float] = setting(
        "--xtc-probability",
        kind=Number(at_least=0, at_most=1),
        default=0.0,
        metavar="X",
        help="How often to exclude the top choices, all but the least likely; 0 is off.",
    )
    xtc_threshold: Setting[float] = setting(
        "--xtc-threshold",
        kind=Number(at_least=0, at_most=1),
        default=0.1,
        metavar="X",
        help="How likely a top choice is at least; above 0.5 there are never two. Default: 0.1.",
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
    presence_penalty: Setting[float] = setting(
        "--presence-penalty",
        kind=Number(at_least=-2, at_most=2),
        default=0.0,
        metavar="X",
        help="Subtract X from the logit of every token written so far; 0 is off.",
    )
    frequency_penalty: Setting[float] = setting(
        "--frequency-penalty",
        kind=Number(at_least=-2, at_most=2),
        default=0.0,
        metavar="X",
        help="The same, as often as it was written; 0 is off.",
    )
    no_repeat_ngram: Setting[int] = setting(
        "--no-repeat-ngram",
        kind=Whole(0),
        default=0,
        metavar="N",
        help="Never say the same N tokens twice; 0 is off.",
    )
    dry_multiplier: Setting[float] = setting(
        "--dry-multiplier",
        kind=Number(at_least=0),
        default=0.0,
        metavar="X",
        help="Subtract X * base ** (n - allowed length) from what would go on repeating n tokens.",
    )
    dry_base: Setting[float] = setting(
        "--dry-base",
        kind=Number(at_least=1),
        default=1.75,
        metavar="X",
        help="How fast that grows. Default: 1.75.",
    )
    dry_allowed_length: Setting[int] = setting(
        "--dry-allowed-length",
        kind=Whole(1),
        default=2,
        metavar="N",
        help="From how many repeated tokens on. Default: 2.",
    )
    logit_bias: Setting[tuple[str, ...]] = setting(
        *("-l", "--logit-bias"),
        kind=Many(BiasKind()),
        default=(),
        metavar="TOKEN=X",
        help='Add X to the logit of an id or of each token of a "text" (repeatable); -inf bans.',
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

        At temperature 0 what narrows draws is put to what it then amounts to: off. Penalties act on
        greedy choices too, so they are only put off where the checkpoint, which means them for
        sampling, brings them.
        """
        chosen = replace(self, **self._from(checkpoint))
        greedy: Source = "greedy"
        if chosen.temp.value == 0:
            off = [*FOR_DRAWS]
            if means_sampling(checkpoint):
                sources = {name: getattr(chosen, name).source for name in PENALTIES}
                off += [name for name in sources if sources[name] == "generation_config.json"]
            neutral = SamplingSettings()
            put_off = {name: Setting(getattr(neutral, name).value, greedy) for name in off}
            chosen = replace(chosen, **put_off)
        if chosen.seed.source == "default" or chosen.seed.value < 0:
            if chosen.temp.value == 0:
                return replace(chosen, seed=Setting(0, greedy))
            import secrets  # slow to import, and seldom needed

            return replace(chosen, seed=Setting(secrets.randbelow(1 << 32), "random"))
        return chosen

    def without_effect(self, completed: SamplingSettings) -> list[str]:
        """What to say of settings that somebody set here and that do nothing in `completed`."""
        declared, neutral = declared_in(SamplingSettings), SamplingSettings()
        idle = [
            f"{declared[name].flag} has no effect at temperature 0: add --temp"
            for name in FOR_DRAWS
            if getattr(self, name).source != "default"
            if getattr(self, name).value != getattr(completed, name).value
        ]
        for name, needed in NEEDS.items():
            off = getattr(neutral, needed).value
            values = {getattr(one, needed).value for one in (self, completed)}
            if getattr(self, name).source == "command line" and values == {off}:
                idle.append(f"{declared[name].flag} has no effect without {declared[needed].flag}")
        threshold = self.xtc_threshold
        if completed.xtc_probability.value and threshold.value > 0.5:
            idle.append(f"--xtc-threshold {threshold.value:g} turns XTC off: take 0.5 or less")
        return idle

    def for_engine(self, session: Session, escape: bool = False) -> Sampling:
        """What the engine is asked for; `escape` reads escapes in texts of `logit_bias`.

        Raises as `read_bias` does.
        """
        from ..engine.request import Sampling

        breakers = frozenset[int]()
        if self.dry_multiplier.value and session.tokenizer is not None:
            breakers = session.tokenizer.ids_holding(DRY_BREAKERS)
        return Sampling(
            temperature=self.temp.value,
            top_k=self.top_k.value,
            top_p=self.top_p.value,
            min_p=self.min_p.value,
            typical=self.typical.value,
            top_nsigma=self.top_nsigma.value,
            xtc_probability=self.xtc_probability.value,
            xtc_threshold=self.xtc_threshold.value,
            repetition=self.repeat_penalty.value,
            repeat_last=self.repeat_last_n.value,
            presence=self.presence_penalty.value,
            frequency=self.frequency_penalty.value,
            no_repeat_ngram=self.no_repeat_ngram.value,
            dry_multiplier=self.dry_multiplier.value,
            dry_base=self.dry_base.value,
            dry_allowed_length=self.dry_allowed_length.value,
            dry_breakers=breakers,
            logit_bias=read_bias(self.logit_bias, session, escape),
            seed=self.seed.value,
        )

    def _from(self, checkpoint: Mapping[str, Any]) -> dict[str, Setting[Any]]:
        """What generation_config.json says of settings that nobody set."""
        declared = declared_in(SamplingSettings)
        found: dict[str, Setting[Any]] = {}
        for name, (key, raw) in offered(checkpoint).items():
            if getattr(self, name).source != "default":
                continue
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
