"""SentencePiece's models: tokenizer.model, spiece.model, sentencepiece.bpe.model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ... import ModelError
from ..contents import read_contents
from .built import Built, Source, Special, add_specials
from .config_tokens import resolve_roles
from .ranks import cuts
from .spm_encoder import Layout, SentencePieceEncoder
from .spm_model import BPE, MATCHED, SPACE, Kind, Model, read_model

# transformers' classes that give a model's pieces other ids, or change a text before it.
_OTHERS = {
    *("PegasusTokenizer", "CamembertTokenizer", "MBartTokenizer", "MBart50Tokenizer"),
    *("NllbTokenizer", "M2M100Tokenizer", "MarianTokenizer", "XGLMTokenizer", "BarthezTokenizer"),
    *("Speech2TextTokenizer", "PLBartTokenizer", "CpmTokenizer", "SeamlessM4TTokenizer"),
    *("AlbertTokenizer", "XLNetTokenizer", "RemBertTokenizer", "SiglipTokenizer", "FNetTokenizer"),
    *("XLMProphetNetTokenizer", "BartphoTokenizer", "MLukeTokenizer", "LayoutXLMTokenizer"),
    *("ReformerTokenizer", "BigBirdTokenizer", "UdopTokenizer", "ErnieMTokenizer"),
}
_BEGIN = {"LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer"}
_BEGIN_FAMILIES = {"llama", "mistral", "mixtral", "gemma", "gemma2", "gemma3", "gemma3_text"}
_FAIRSEQ = {"XLMRobertaTokenizer"}
_FAIRSEQ_FAMILIES = {"xlm-roberta", "xlm-roberta-xl", "trocr"}
_T5 = {"T5Tokenizer"}
_T5_FAMILIES = {"t5", "mt5", "umt5", "longt5"}


@dataclass
class _Numbering:
    """A checkpoint's ids: of pieces by SentencePiece's, of tokens beside them by their text."""

    shift: int = 0
    moved: dict[int, int] | None = None
    extra: dict[str, int] | None = None

    def __call__(self, id: int) -> int:
        moved = self.moved or {}
        return moved.get(id, id + self.shift)


def read_sentencepiece(source: Source) -> Built:
    """The tokenizer of a SentencePiece model, BPE or unigram.

    Its ids are SentencePiece's, unless the config beside it names a class that numbers them
    otherwise. Raises `ModelError` for what is damaged, and for classes that lmtool doesn't know.
    """
    file = source.file
    if source.kind in _OTHERS:
        raise ModelError(
            f"`{file}` is of a {source.kind}, which changes its ids or the text before it",
            hint="`AutoTokenizer.from_pretrained(…).save_pretrained(…)` of transformers makes a "
            "tokenizer.json, which lmtool reads",
        )
    model = read_model(file, read_contents(file))
    number = _numbering(source, model)
    plain = number.shift == 0 and not number.moved
    roles = _roles(model)
    specials = _specials(source, model, number, roles)
    vocabulary = _vocabulary(model, number, specials)
    layout = Layout(
        specials,
        int if plain else number,
        model.remove_extra_whitespaces or source.config.get("legacy") is True,
    )
    encoder = SentencePieceEncoder(file, model, layout)
    try:
        pipeline = _pipeline(model, vocabulary)
    except Exception as error:  # the binding raises a bare Exception
        reason = " ".join(str(error).split())
        raise ModelError(f"`{file}` can't be made a pipeline of: {reason[:200]}") from error
    add_specials(pipeline, specials)
    config: dict[str, Any] = dict(roles)
    if source.kind in _BEGIN or (source.kind is None and source.family in _BEGIN_FAMILIES):
        config["add_bos_token"] = True
    _put_around(source, pipeline, config)
    kind = "BPE" if model.type == BPE else "unigram"
    return Built(pipeline, f"SentencePiece, {kind}", config, encoder)


def _roles(model: Model) -> dict[str, str]:
    """The model's own tokens for beginning, end, the unknown and padding."""
    ids = {"unk": model.unk_id, "bos": model.bos_id, "eos": model.eos_id, "pad": model.pad_id}
    pieces = model.pieces
    return {
        f"{role}_token": pieces[id].text
        for role, id in ids.items()
        if 0 <= id < len(pieces) and pieces[id].kind in (Kind.CONTROL, Kind.UNKNOWN)
    }


def _numbering(source: Source, model: Model) -> _Numbering:
    kind, family, count = source.kind, source.family, len(model.pieces)
    if kind in _FAIRSEQ or (kind is None and family in _FAIRSEQ_FAMILIES):
        # fairseq's order: <s>, <pad>, </s>, <unk>, then the pieces but for the first three.
        by_text = {piece.text: id for id, piece in enumerate(model.pieces)}
        order = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
        moved = {by_text[text]: id for text, id in order.items() if text in by_text}
        return _Numbering(1, moved, {**order, "<mask>": count + 1})
    if kind in _T5 or (kind is None and family in _T5_FAMILIES):
        extra = source.config.get("extra_ids", 100)
        if not isinstance(extra, int) or not 0 <= extra <= 1 << 16:
            raise ModelError(f"`{source.file.parent}`: extra_ids is {str(extra)[:40]}")
        if source.config.get("added_tokens_decoder") is None:
            named = {f"<extra_id_{at}>": count + extra - 1 - at for at in range(extra)}
            return _Numbering(extra=named)
    return _Numbering()


def _specials(
    source: Source, model: Model, number: _Numbering, roles: dict[str, str]
) -> list[Special]:
    """Control tokens, and what the config adds; user-defined symbols are the model's own matter."""
    known = {
        piece.text: Special(piece.text, number(id))
        for id, piece in enumerate(model.pieces)
        if piece.kind in (Kind.CONTROL, Kind.UNKNOWN)
    }
    known |= {text: Special(text, id) for text, id in (number.extra or {}).items()}
    pieces = {piece.text: number(id) for id, piece in enumerate(model.pieces)}
    pieces |= number.extra or {}
    matched = {piece.text for piece in model.pieces if piece.kind in MATCHED}
    for one in resolve_roles(source, pieces, roles):
        if one.text in matched and not one.special:
            continue
        known[one.text] = one
    return list(known.values())


def _vocabulary(model: Model, number: _Numbering, specials: Iterable[Special]) -> dict[str, int]:
    """Spellings and the checkpoint's ids; a token of the config takes the place of a piece."""
    owners = {number(id): piece.text for id, piece in enumerate(model.pieces)}
    owners |= {special.id: special.text for special in specials}
    return {text: id for id, text in owners.items()}


def _pipeline(model: Model, vocabulary: dict[str, int]) -> Any:
    """The library's own pipeline for such a model: it decodes, and encodes most texts alike."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers

    ids = {piece.text for piece in model.pieces}
    unknown = model.pieces[model.unk_id].text
    spelled = sorted(vocabulary, key=vocabulary.__getitem__)
    if model.type != BPE and vocabulary[spelled[-1]] == len(spelled) - 1:
        scores = {piece.text: piece.score for piece in model.pieces}
        entries = [(text, scores.get(text, 0.0)) for text in spelled]
        unigram: Any = models.Unigram(entries, vocabulary.get(unknown), model.byte_fallback)
        pipeline: Any = Tokenizer(unigram)
    else:
        known = ids & vocabulary.keys()
        merges = _merges(model) if model.type == BPE else []
        bpe = models.BPE(
            vocabulary,
            [(a, b) for a, b in merges if {a, b, a + b} <= known],
            unk_token=unknown if unknown in vocabulary else None,
            fuse_unk=True,
            byte_fallback=model.byte_fallback,
        )
        pipeline = Tokenizer(bpe)
    steps: list[Any] = [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    if model.remove_extra_whitespaces:
        steps += [
            normalizers.Replace(Regex("^ +| +$"), ""),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    if model.add_dummy_prefix and not model.whitespace_as_suffix:
        steps.append(normalizers.Prepend(SPACE))
    if model.escape_whitespaces:
        steps.append(normalizers.Replace(" ", SPACE))
    pipeline.normalizer = normalizers.Sequence(steps)
    back: list[Any] = [decoders.Replace(SPACE, " ")]
    if model.byte_fallback:
        back.append(decoders.ByteFallback())
    back.append(decoders.Fuse())
    if model.add_dummy_prefix and not model.whitespace_as_suffix:
        back.append(decoders.Strip(" ", 1, 0))
    pipeline.decoder = decoders.Sequence(back)
    return pipeline


def _merges(model: Model) -> list[tuple[str, str]]:
    """Every pair of pieces that spells a third, the best score of the third first."""
    scores = {piece.text: piece.score for piece in model.pieces if piece.kind in MATCHED}
    merges: list[tuple[str, str]] = []
    for text in sorted((text for text in scores if len(text) > 1), key=lambda one: -scores[one]):
        merges += [
            (text[:cut], text[cut:])
            for cut in cuts(text)
            if text[:cut] in scores and text[cut:] in scores
        ]
    return merges


def _put_around(source: Source, pipeline: Any, config: dict[str, Any]) -> None:
    """XLM-R's tokens around a text, and T5's after it, which only the library's own encode adds."""
    from tokenizers import processors

    end = source.role("eos_token") or config.get("eos_token")
    before = "<s>" if source.kind in _FAIRSEQ or source.family in _FAIRSEQ_FAMILIES else None
    if before is None and source.kind not in _T5 and source.family not in _T5_FAMILIES:
        return
    ids = {text: pipeline.token_to_id(text) for text in (before, end) if text is not None}
    if ids and None not in ids.values():
        pipeline.post_processor = processors.TemplateProcessing(
            single=f"{before} $A {end}" if before else f"$A {end}", special_tokens=list(ids.items())
        )
