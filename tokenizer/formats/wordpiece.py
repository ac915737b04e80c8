"""BERT's vocab.txt: a piece a line, its id the line's number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ... import ModelError
from ..contents import read_utf8
from .built import Built, Source, add_specials, place_specials, unknown_kind
from .config_tokens import resolve_roles

_ROLES = {
    **{"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]"},
    **{"cls_token": "[CLS]", "mask_token": "[MASK]"},
}
# transformers: the classes that read a vocab.txt as BERT's does.
KINDS = {
    *("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer"),
    *("ConvBertTokenizer", "SqueezeBertTokenizer", "LayoutLMTokenizer", "RetriBertTokenizer"),
    *("DPRQuestionEncoderTokenizer", "DPRContextEncoderTokenizer", "FunnelTokenizer"),
}


def read_wordpiece(source: Source) -> Built:
    """The tokenizer of a vocab.txt. Raises `ModelError` where it is damaged, or not of that kind.

    `do_lower_case`, `strip_accents` and `tokenize_chinese_chars` are those of the config beside.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    if source.kind is not None and source.kind not in KINDS:
        raise unknown_kind(source)
    vocabulary = _read_pieces(source.file)
    unknown = source.role("unk_token") or _ROLES["unk_token"]
    if unknown not in vocabulary:
        raise ModelError(
            f"`{source.file}` is not a vocabulary, a piece a line: it has no {unknown!r}, which "
            "stands for unknown words",
            hint="-m names a tokenizer or a model, not a text",
        )
    lower = _flag(source, "do_lower_case")
    if lower is None and source.kind is None and _has_capitals(vocabulary):
        raise ModelError(
            f"`{source.file}` has words with capitals, but nothing says whether a text keeps them",
            hint='a tokenizer_config.json beside it says it: {"do_lower_case": false}',
        )
    specials = place_specials(source.file, vocabulary, resolve_roles(source, vocabulary, _ROLES))
    chinese = _flag(source, "tokenize_chinese_chars")
    pipeline: Any = Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    pipeline.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=chinese is not False,
        strip_accents=_flag(source, "strip_accents"),
        lowercase=lower is not False,
    )
    pipeline.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pipeline.decoder = decoders.WordPiece(prefix="##")
    add_specials(pipeline, specials)
    _put_around(source, pipeline)
    return Built(pipeline, "WordPiece, vocab.txt", dict(_ROLES))


def _read_pieces(file: Path) -> dict[str, int]:
    lines = read_utf8(file).split("\n")
    if lines and not lines[-1]:
        lines.pop()
    vocabulary: dict[str, int] = {}
    for id, line in enumerate(lines):
        piece = line.removesuffix("\r")
        if piece in vocabulary:
            first = vocabulary[piece] + 1
            raise ModelError(f"`{file}` line {id + 1} is that of line {first}: {piece[:60]!r}")
        vocabulary[piece] = id
    if not vocabulary:
        raise ModelError(f"`{file}` is empty")
    return vocabulary


def _flag(source: Source, name: str) -> bool | None:
    value = source.config.get(name)
    if value is not None and not isinstance(value, bool):
        where = source.file.parent / "tokenizer_config.json"
        raise ModelError(f"`{where}`: {name} is neither true nor false")
    return value


def _has_capitals(vocabulary: dict[str, int]) -> bool:
    words = (piece for piece in vocabulary if piece[:1] not in "[<")
    return any(letter.isupper() for piece in words for letter in piece)


def _put_around(source: Source, pipeline: Any) -> None:
    from tokenizers import processors

    before, after = (source.role(role) or _ROLES[role] for role in ("cls_token", "sep_token"))
    ids = {text: pipeline.token_to_id(text) for text in (before, after)}
    if None not in ids.values():
        pipeline.post_processor = processors.TemplateProcessing(
            single=f"{before}:0 $A:0 {after}:0",
            pair=f"{before}:0 $A:0 {after}:0 $B:1 {after}:1",
            special_tokens=list(ids.items()),
        )
