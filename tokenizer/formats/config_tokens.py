"""Tokens that the files beside a vocabulary declare: their ids, and how they are matched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from ... import ModelError
from ..contents import read_object
from .built import Source, Special

_FLAGS = ("lstrip", "rstrip", "normalized", "single_word", "special")
_ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_LISTS = ("additional_special_tokens", "extra_special_tokens")
HIGHEST = 1 << 31
"""Ids lie below this."""


def declared_tokens(source: Source) -> list[Special]:
    """tokenizer_config.json's `added_tokens_decoder` and what added_tokens.json adds to it.

    Raises `ModelError` for an entry that is no token.
    """
    folder = source.file.parent
    found: dict[str, Special] = {}
    decoder = source.config.get("added_tokens_decoder")
    where = folder / "tokenizer_config.json"
    if decoder is not None and not isinstance(decoder, dict):
        raise ModelError(f"`{where}`: added_tokens_decoder is not an object")
    for key, value in cast("dict[str, object]", decoder or {}).items():
        one = described(value, _id(key, where), where)
        found[one.text] = one
    where = folder / "added_tokens.json"
    for text, id in read_object(where, optional=True).items():
        if text and text not in found:
            found[text] = Special(text, _id(id, where), special=False)
    return list(found.values())


def resolve_roles(
    source: Source, vocabulary: Mapping[str, int], roles: Mapping[str, str]
) -> list[Special]:
    """Every token that is matched before the vocabulary's own, each once.

    Those with a role, by the config or else by `roles`, are special. Where no file gives one an
    id, the config's get the next free ones; those of `roles` alone are left out.
    """
    found = {one.text: one for one in declared_tokens(source)}
    highest = max((*vocabulary.values(), *(one.id for one in found.values())), default=-1)
    where = source.file.parent / "tokenizer_config.json"
    for value, default in _with_roles(source, roles):
        one = described(value, 0, where, special=True)
        id = found[one.text].id if one.text in found else vocabulary.get(one.text)
        if id is None:
            if default:
                continue
            highest = id = highest + 1
        known = found.get(one.text, one)
        flags = {name: getattr(known, name) for name in _FLAGS if name != "special"}
        found[one.text] = Special(one.text, id, special=True, **flags)
    return list(found.values())


def described(value: object, id: int, where: Path, special: bool = False) -> Special:
    """A token as the config spells one: its text, or an object that says how it is matched."""
    if isinstance(value, str):
        value = {"content": value}
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    text = fields.get("content")
    if not isinstance(text, str) or not text:
        raise ModelError(f"`{where}`: the added token {id} has no content")
    flags = {name: fields[name] for name in _FLAGS if isinstance(fields.get(name), bool)}
    return Special(text, id, **({"special": special} | flags))


def _with_roles(source: Source, roles: Mapping[str, str]) -> Iterator[tuple[object, bool]]:
    """What has a role, in transformers' order, and whether only `roles` says so."""
    for role in _ROLES:
        value = source.config.get(f"{role}_token")
        if value is not None:
            yield value, False
        elif f"{role}_token" in roles and f"{role}_token" not in source.config:
            yield roles[f"{role}_token"], True
    for name in _LISTS:
        value = source.config.get(name)
        if isinstance(value, list):
            yield from ((one, False) for one in cast("list[object]", value))


def _id(value: object, where: Path) -> int:
    try:
        id = -1 if isinstance(value, (bool, float)) else int(cast("Any", value))
    except (TypeError, ValueError):
        id = -1
    if not 0 <= id < HIGHEST:
        raise ModelError(f"`{where}`: {str(value)[:40]!r} is no token's id")
    return id
