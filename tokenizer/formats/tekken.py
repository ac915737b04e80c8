"""Mistral's tekken.json: tiktoken ranks with the pattern and the special tokens beside them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, cast

from ... import ModelError
from ..contents import read_object
from .built import Built, Source, Special
from .config_tokens import declared_tokens
from .ranks import rank_pipeline

# mistral_common, tokens/tokenizers/tekken.py: what files without a list of their own have.
_BEFORE_V8 = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]"),
    *("[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    "[TOOL_CONTENT]",
)
_MOST = 1 << 24


def is_tekken(fields: dict[str, Any]) -> bool:
    """Whether a JSON object is a tekken.json."""
    config = fields.get("config")
    return (
        isinstance(fields.get("vocab"), list) and isinstance(config, dict) and ("pattern" in config)
    )


def read_tekken(source: Source) -> Built:
    """The tokenizer of a tekken.json: special tokens have the first ids, then come the ranks.

    Raises `ModelError` for what is missing or of another shape.
    """
    file = source.file
    fields = read_object(file)
    if not is_tekken(fields):
        raise ModelError(f"`{file}` is no tekken.json: it has no vocab, or no pattern")
    config = cast("dict[str, Any]", fields["config"])
    pattern = config["pattern"]
    size = _number(file, config, "default_vocab_size")
    count = _number(file, config, "default_num_special_tokens")
    if not isinstance(pattern, str):
        raise ModelError(f"`{file}`: its pattern is no text")
    specials = _specials(file, fields, config, count)
    ranks = _ranks(file, cast("list[object]", fields["vocab"]), size - count)
    shifted = {token: rank + count for token, rank in ranks.items()}
    placed = {special.id: special for special in specials}
    placed |= {special.id: special for special in declared_tokens(source)}
    pipeline = rank_pipeline(file, shifted, pattern, placed.values())
    roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    spelled = {special.text for special in placed.values()}
    said: dict[str, Any] = {role: text for role, text in roles.items() if text in spelled}
    if "<s>" in spelled:
        said["add_bos_token"] = True
    return Built(pipeline, "tekken", said)


def _number(file: Path, config: dict[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or not 0 <= value <= _MOST:
        raise ModelError(f"`{file}`: {name} is {str(value)[:40]}")
    return value


def _ranks(file: Path, vocab: list[object], size: int) -> dict[bytes, int]:
    """The first `size` tokens, as mistral_common takes them."""
    if not 0 < size <= len(vocab):
        raise ModelError(f"`{file}` has {len(vocab)} tokens where {size} are needed")
    ranks: dict[bytes, int] = {}
    for place, entry in enumerate(vocab[:size]):
        fields = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
        try:
            token = base64.b64decode(fields["token_bytes"], validate=True)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"`{file}`: the token {place} has no bytes in base64") from error
        if fields.get("rank") != place:
            raise ModelError(f"`{file}`: the token {place} has the rank {fields.get('rank')}")
        if token in ranks:
            raise ModelError(f"`{file}`: the tokens {ranks[token]} and {place} are the same")
        ranks[token] = place
    return ranks


def _specials(
    file: Path, fields: dict[str, Any], config: dict[str, Any], count: int
) -> list[Special]:
    listed = fields.get("special_tokens")
    if listed is None:
        version = str(config.get("version", ""))
        if version not in {"v1", "v2", "v3", "v7"}:
            raise ModelError(f"`{file}` has no special_tokens, which version {version[:20]} needs")
        found = [Special(text, id) for id, text in enumerate(_BEFORE_V8)]
    else:
        entries = cast("list[object]", listed) if isinstance(listed, list) else []
        found = [_special(file, place, entry) for place, entry in enumerate(entries)]
    if len(found) > count:
        raise ModelError(f"`{file}` has {len(found)} special tokens where {count} are announced")
    return found + [Special(f"<SPECIAL_{id}>", id) for id in range(len(found), count)]


def _special(file: Path, place: int, entry: object) -> Special:
    fields = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
    text = fields.get("token_str")
    if not isinstance(text, str) or not text or fields.get("rank") != place:
        raise ModelError(f"`{file}`: the special token {place} has no token_str, or another rank")
    return Special(text, place)
