"""The pipelines of well-known models as their tokenizer.json have them, over small vocabularies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from lmtool.tokenizer.recipe import PATTERNS

from .small_tokenizers import ALL, byte_fallback

# ruff: noqa: RUF001  these are the letters that the models have

_LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())


def _byte_level(
    *splits: Any, specials: tuple[Any, ...] = ("<|endoftext|>",), use_regex: bool = False
) -> Any:
    made: Any = Tokenizer(models.BPE())
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    made.pre_tokenizer = pre_tokenizers.Sequence([*splits, to_bytes]) if splits else to_bytes
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=_LETTERS, show_progress=False, special_tokens=[]
    )
    made.train_from_iterator([ALL], trainer)
    made.add_special_tokens(list(specials))
    return made


def _split(pattern: str, behavior: str = "isolated") -> Any:
    return pre_tokenizers.Split(Regex(pattern), behavior=behavior)


def _begins(made: Any, token: str) -> Any:
    made.post_processor = processors.TemplateProcessing(
        single=f"{token} $A", special_tokens=[(token, made.token_to_id(token))]
    )
    return made


def _llama_3() -> Any:
    made = _byte_level(_split(PATTERNS["gpt4"]), specials=("<|begin_of_text|>", "<|eot_id|>"))
    made.model.ignore_merges = True
    template = _begins(made, "<|begin_of_text|>").post_processor
    made.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return made


def _qwen_2() -> Any:
    added = [AddedToken("<tool_call>", special=False, normalized=False), "<|im_start|>"]
    made = _byte_level(_split(PATTERNS["qwen2"]), specials=("<|endoftext|>", added[1]))
    made.add_tokens([added[0]])
    made.normalizer = normalizers.NFC()
    return made


def _deepseek() -> Any:
    splits = (
        _split(r"[\r\n]"),
        _split(r"\s?\p{L}+"),
        _split(r"\s?\p{P}+"),
        _split(r"[一-龥ࠀ-一가-퟿]+"),
        pre_tokenizers.Digits(individual_digits=True),
    )
    return _begins(
        _byte_level(*splits, specials=("<｜begin▁of▁sentence｜>",)), "<｜begin▁of▁sentence｜>"
    )


def _falcon() -> Any:
    made = _byte_level(
        pre_tokenizers.Punctuation(behavior="contiguous"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        pre_tokenizers.Digits(individual_digits=False),
        _split(r"[0-9][0-9][0-9]"),
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Punctuation(behavior="contiguous"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            pre_tokenizers.Digits(individual_digits=False),
            _split(r"[0-9][0-9][0-9]"),
        ]
    )
    return made


def _gpt_neox() -> Any:
    made = _byte_level(use_regex=True, specials=("<|endoftext|>", "<|padding|>"))
    made.normalizer = normalizers.NFC()
    made.add_tokens([AddedToken(" " * n, normalized=True, special=False) for n in range(8, 1, -1)])
    return made


def _gemma() -> Any:
    made: Any = byte_fallback()
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return made


def _mistral() -> Any:
    made: Any = byte_fallback()
    made.normalizer = None
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return made


def _roberta() -> Any:
    specials = ("<s>", "</s>", AddedToken("<mask>", lstrip=True))
    made = _byte_level(use_regex=True, specials=specials)
    ids = [(token, made.token_to_id(token)) for token in ("</s>", "<s>")]
    made.post_processor = processors.RobertaProcessing(*ids, True, False)
    return made


def _xlm_r() -> Any:
    made: Any = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    made.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=400,
        unk_token="<unk>",
        show_progress=False,
        special_tokens=["<s>", "</s>", "<unk>"],
    )
    made.train_from_iterator([ALL], trainer)
    return _begins(made, "<s>")


PUBLISHED: dict[str, Callable[[], Any]] = {
    "GPT-2": lambda: _byte_level(use_regex=True),
    "GPT-NeoX": _gpt_neox,
    "Llama 2": byte_fallback,
    "Llama 3": _llama_3,
    "Mistral": _mistral,
    "Qwen 2": _qwen_2,
    "Gemma": _gemma,
    "DeepSeek": _deepseek,
    "Falcon": _falcon,
    "BLOOM": lambda: _byte_level(_split(r" ?[^(\s|[.,!?…。，、।۔،])]+")),
    "StarCoder": lambda: _byte_level(pre_tokenizers.Digits(individual_digits=True), use_regex=True),
    "RoBERTa": _roberta,
    "XLM-R": _xlm_r,
}
