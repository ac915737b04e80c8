"""What a checkpoint's generation_config.json says of sampling, as transformers means it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NARROWING = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "typical": "typical_p",
}
"""Settings that act on draws alone, and what the file calls them."""

PENALTIES = {"repeat_penalty": "repetition_penalty", "no_repeat_ngram": "no_repeat_ngram_size"}
"""Those that act on greedy choices too."""

DRAWS_OTHERWISE: dict[str, tuple[Any, ...]] = {
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "top_h": (1,),
}
CHOOSES_OTHERWISE: dict[str, tuple[Any, ...]] = {
    "num_beams": (1,),
    "penalty_alpha": (0,),
    "dola_layers": (),
    "guidance_scale": (1,),
    "sequence_bias": (),
    "bad_words_ids": (),
    "force_words_ids": (),
    "suppress_tokens": (),
    "begin_suppress_tokens": (),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "encoder_repetition_penalty": (1,),
    "encoder_no_repeat_ngram_size": (0,),
    "exponential_decay_length_penalty": (),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "watermarking_config": (),
}
"""Keys that change what transformers chooses and that lmtool has nothing for, with the values
besides null and empty lists that change nothing; the first ones change only what is drawn."""


def means_sampling(checkpoint: Mapping[str, Any]) -> bool:
    """Whether the file means its numbers for draws.

    It does with `do_sample` true, or with a temperature and no `do_sample`.
    """
    samples = checkpoint.get("do_sample")
    return bool(samples) or (samples is None and checkpoint.get("temperature") is not None)


def offered(checkpoint: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """What the file says of settings: by the setting's name its own key and the value.

    One that doesn't mean sampling has penalties alone to say. One that does, and has no
    temperature, means 1.
    """
    samples = means_sampling(checkpoint)
    keys = {**NARROWING, **PENALTIES} if samples else PENALTIES
    found = {name: (key, checkpoint.get(key)) for name, key in keys.items()}
    if samples and found["temp"][1] is None:
        found["temp"] = ("temperature", 1.0)
    return {name: pair for name, pair in found.items() if pair[1] is not None}


def not_heeded(checkpoint: Mapping[str, Any], greedy: bool) -> list[str]:
    """The file's keys that change what transformers chooses, and not what lmtool does."""
    keys = dict(CHOOSES_OTHERWISE)
    if means_sampling(checkpoint) and not greedy:
        keys |= DRAWS_OTHERWISE
    return [
        key for key, neutral in keys.items() if checkpoint.get(key) not in (None, [], {}, *neutral)
    ]
