"""GPT-2's vocab.json and merges.txt, and what other models made of that pair of files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from ... import ModelError
from ..contents import parse_json, read_contents, read_utf8
from ..pieces import gpt2_alphabet
from ..recipe import PATTERNS
from .built import Built, Source, add_specials, place_specials, unknown_kind
from .config_tokens import resolve_roles

NAMES = (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe"))
"""A vocabulary and its merges; the second pair has the names under which GPT-2 came out."""

_END_OF_WORD = "</w>"


@dataclass(frozen=True)
class Kind:
    """How a model splits a text, and the special tokens that it has unless its files differ."""

    splits: Literal["gpt2", "qwen2", "clip"] = "gpt2"
    roles: Mapping[str, str] = field(default_factory=dict[str, str])
    around: tuple[str, str] | None = None
    """Roles of the tokens that stand before and after each text."""


_END = "<|endoftext|>"
_GPT2 = Kind(roles={"bos_token": _END, "eos_token": _END, "unk_token": _END})
_ROBERTA = Kind(
    roles={
        **{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>"},
        **{"pad_token": "<pad>", "cls_token": "<s>", "mask_token": "<mask>"},
    },
    around=("cls_token", "sep_token"),
)
_QWEN2 = Kind("qwen2", {"eos_token": _END, "unk_token": _END, "pad_token": _END})
_CLIP = Kind(
    "clip",
    {
        **{"bos_token": "<|startoftext|>", "eos_token": _END},
        **{"unk_token": _END, "pad_token": _END},
    },
    ("bos_token", "eos_token"),
)

# transformers: the classes that read these two files byte by byte, and the models that use them.
KINDS = {
    **{"GPT2Tokenizer": _GPT2, "CodeGenTokenizer": _GPT2, "WhisperTokenizer": _GPT2},
    **{"RobertaTokenizer": _ROBERTA, "BartTokenizer": _ROBERTA, "LongformerTokenizer": _ROBERTA},
    **{"LEDTokenizer": _ROBERTA, "Qwen2Tokenizer": _QWEN2, "CLIPTokenizer": _CLIP},
}
FAMILIES = {
    **dict.fromkeys(("gpt2", "gpt_neo", "gptj", "opt", "codegen", "phi", "whisper"), _GPT2),
    **dict.fromkeys(("gpt_bigcode", "starcoder2", "granite", "blip-2", "dbrx"), _GPT2),
    **dict.fromkeys(("roberta", "bart", "longformer", "led", "xlm-roberta-xl"), _ROBERTA),
    **dict.fromkeys(("qwen2", "qwen2_moe", "qwen2_vl", "qwen2_5_vl", "qwen3"), _QWEN2),
    **dict.fromkeys(("qwen3_moe", "qwen3_next", "qwen3_vl", "qwen2_audio"), _QWEN2),
    **dict.fromkeys(("clip", "clip_text_model"), _CLIP),
}


def read_gpt2(source: Source) -> Built:
    """The tokenizer of a vocab.json, `source.file`, and the merges.txt beside it.

    Raises `ModelError` where one is missing or damaged, where they don't belong together, or for
    a model that is known to split its text otherwise.
    """
    file = source.file
    names = next((pair for pair in NAMES if file.name == pair[0]), NAMES[0])
    merges_file = file.with_name(names[1])
    kind = _kind(source)
    vocabulary = read_vocabulary(file)
    if not merges_file.exists():
        raise ModelError(f"`{file}` has no {names[1]} beside it, which says how pieces are merged")
    suffix = _END_OF_WORD if kind.splits == "clip" else ""
    merges = read_merges(merges_file, vocabulary)
    _check_letters(file, vocabulary)
    specials = resolve_roles(source, vocabulary, kind.roles)
    specials = place_specials(file, vocabulary, specials)
    pipeline = _pipeline(source, kind, vocabulary, merges, suffix)
    add_specials(pipeline, specials)
    if kind.around is not None:
        before, after = (source.role(role) or kind.roles[role] for role in kind.around)
        _put_around(pipeline, before, after)
    return Built(pipeline, f"{names[0]} and {names[1]}", dict(kind.roles))


def read_vocabulary(file: Path) -> dict[str, int]:
    """A vocab.json: pieces and their ids. Raises `ModelError` for two of a name or of an id."""
    data = read_contents(file)
    value = parse_json(file, data)
    entries = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if not entries or not all(
        isinstance(id, int) and not isinstance(id, bool) and 0 <= id < 1 << 31
        for id in entries.values()
    ):
        raise ModelError(f"`{file}` is no vocabulary: an object of pieces and their ids")
    if len(set(entries.values())) < len(entries):
        owners: dict[int, str] = {}
        for piece, id in entries.items():
            if owners.setdefault(id, piece) != piece:
                raise ModelError(f"`{file}`: {owners[id]!r} and {piece!r} have the same id {id}")
    repeated = _repeated(data)
    if repeated is not None:
        raise ModelError(f"`{file}` has {repeated!r} twice")
    return entries


def _repeated(data: bytes) -> str | None:
    """A key that stands twice in an object; a JSON reader would keep the last and say nothing."""
    found: list[str] = []

    def keep(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        found.extend(key for key, _ in pairs if key in seen or seen.add(key))

    json.loads(data, object_pairs_hook=keep)
    return found[0] if found else None


def read_merges(file: Path, vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """A merges.txt. Raises `ModelError` for a line that merges what the vocabulary hasn't."""
    merges: list[tuple[str, str]] = []
    for number, line in enumerate(read_utf8(file).split("\n"), 1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        left, space, right = line.partition(" ")
        if not left or not space or not right or " " in right:
            raise ModelError(f"`{file}` line {number} is not two pieces: {line[:60]!r}")
        for piece in (left, right, left + right):
            if piece not in vocabulary:
                raise ModelError(
                    f"`{file}` line {number}: the vocabulary has no {piece[:60]!r}",
                    hint="the two files are not of the same tokenizer",
                )
        merges.append((left, right))
    if len(set(merges)) < len(merges):
        seen: set[tuple[str, str]] = set()
        twice = next(merge for merge in merges if merge in seen or seen.add(merge))
        raise ModelError(f"`{file}` has the merge {' '.join(twice)!r} twice")
    return merges


def _kind(source: Source) -> Kind:
    if source.kind in KINDS:
        return KINDS[source.kind]
    if source.kind is not None and source.kind not in ("PreTrainedTokenizer", "AutoTokenizer"):
        raise unknown_kind(source)
    return FAMILIES.get(source.family or "", _GPT2)


def _check_letters(file: Path, vocabulary: Mapping[str, int]) -> None:
    lacking = [letter for letter in gpt2_alphabet() if letter not in vocabulary]
    if len(lacking) > 128:
        raise ModelError(
            f"`{file}` is no byte-level vocabulary: of GPT-2's 256 letters for bytes it lacks "
            f"{len(lacking)}"
        )


def _pipeline(
    source: Source,
    kind: Kind,
    vocabulary: dict[str, int],
    merges: list[tuple[str, str]],
    suffix: str,
) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    unknown = source.role("unk_token") or kind.roles.get("unk_token")
    options: dict[str, Any] = {"end_of_word_suffix": suffix, "unk_token": unknown} if suffix else {}
    pipeline: Any = Tokenizer(models.BPE(vocabulary, merges, **options))
    spaced = source.config.get("add_prefix_space") is True
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=spaced, use_regex=kind.splits != "qwen2")
    pipeline.decoder = decoders.ByteLevel()
    if kind.splits == "gpt2":
        pipeline.pre_tokenizer = to_bytes
    elif kind.splits == "qwen2":
        pipeline.normalizer = normalizers.NFC()
        split = pre_tokenizers.Split(Regex(PATTERNS["qwen2"]), behavior="isolated")
        pipeline.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    else:
        pipeline.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        words = (
            r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]"
            r"|[^\s\p{L}\p{N}]+"
        )
        split = pre_tokenizers.Split(Regex(words), behavior="removed", invert=True)
        pipeline.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
        pipeline.decoder = decoders.Sequence(
            [
                decoders.ByteLevel(),
                decoders.Replace(suffix, " "),
                # `Strip` panics where there is no text.
                decoders.Replace(Regex(r"\A\s+|\s+\z"), ""),
            ]
        )
    return pipeline


def _put_around(pipeline: Any, before: str, after: str) -> None:
    from tokenizers import processors

    ids = {text: pipeline.token_to_id(text) for text in (before, after)}
    if None not in ids.values():
        pipeline.post_processor = processors.TemplateProcessing(
            single=f"{before} $A {after}",
            pair=f"{before} $A {after} {after} $B {after}",
            special_tokens=list(ids.items()),
        )
