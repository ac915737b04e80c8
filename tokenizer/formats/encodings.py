"""Encodings whose files hold ranks alone: what each splits a text by, and its special tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..recipe import PATTERNS

_CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+\z|\s*[\r\n]|\s+(?!\S)|\s"
)
_QWEN = PATTERNS["qwen2"]
_END = "<|endoftext|>"


@dataclass(frozen=True)
class Encoding:
    """A named encoding. `specials` gives the special tokens' ids from the number of ranks."""

    name: str
    pattern: str
    specials: Callable[[int], dict[str, int]]
    config: dict[str, Any]
    """What tokenizer_config.json would say: roles of tokens, whether a text begins with one."""
    nfc: bool = False


def _fixed(**tokens: int) -> Callable[[int], dict[str, int]]:
    spelled = {f"<|{name}|>": id for name, id in tokens.items()}
    return lambda ranks: dict(spelled)


def _after(names: list[str]) -> Callable[[int], dict[str, int]]:
    return lambda ranks: {name: ranks + place for place, name in enumerate(names)}


def _harmony(ranks: int) -> dict[str, int]:
    names = {id: f"<|reserved_{id}|>" for id in (200000, 200001, *range(200004, 201088))}
    names |= {199998: "<|startoftext|>", 199999: _END, 200002: "<|return|>"}
    names |= {200003: "<|constrain|>", 200005: "<|channel|>", 200006: "<|start|>"}
    names |= {200007: "<|end|>", 200008: "<|message|>", 200012: "<|call|>"}
    # tiktoken has two names for the token 200018, of which this is the older.
    names[200018] = "<|endofprompt|>"
    return {name: id for id, name in sorted(names.items())}


def _reserved(start: int, end: int, name: str = "") -> list[str]:
    before = f"{name}_" if name else ""
    return [f"<|{before}reserved_special_token_{place}|>" for place in range(start, end)]


# Meta's llama_models, llama3/tokenizer.py.
_LLAMA3 = [
    *("<|begin_of_text|>", "<|end_of_text|>", *_reserved(0, 2), "<|finetune_right_pad_id|>"),
    *("<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>"),
    *("<|python_tag|>", "<|image|>", *_reserved(2, 246)),
]
# The same, llama4/tokenizer.py.
_LLAMA4_NAMED = [
    *("<|begin_of_text|>", "<|end_of_text|>"),
    *("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"),
    *("<|header_start|>", "<|header_end|>", "<|eom|>", "<|eot|>", "<|step|>"),
    *_reserved(0, 6, "text_post_train"),
    *("<|python_start|>", "<|python_end|>", "<|finetune_right_pad|>"),
    *_reserved(8, 69, "text_post_train"),
    *("<|image_start|>", "<|image_end|>", *_reserved(0, 2, "vision")),
    *("<|tile_x_separator|>", "<|tile_y_separator|>", *_reserved(2, 6, "vision")),
    *("<|image|>", *_reserved(6, 7, "vision"), "<|patch|>", *_reserved(7, 1048, "vision")),
    *_reserved(0, 8, "reasoning"),
    *("<|reasoning_thinking_start|>", "<|reasoning_thinking_end|>"),
]
_LLAMA4 = [*_LLAMA4_NAMED, *_reserved(0, 2048 - len(_LLAMA4_NAMED))]
_QWENS = [_END, "<|im_start|>", "<|im_end|>", *(f"<|extra_{place}|>" for place in range(205))]

_ENDS = {"eos_token": _END}
_LLAMA = {
    "bos_token": "<|begin_of_text|>",
    "eos_token": "<|end_of_text|>",
    "add_bos_token": True,
}

ENCODINGS = (
    # tiktoken_ext/openai_public.py; `$` and possessive counts are spelled for Oniguruma.
    Encoding("gpt2", PATTERNS["gpt2"], _fixed(endoftext=50256), _ENDS),
    Encoding("r50k_base", PATTERNS["gpt2"], _fixed(endoftext=50256), _ENDS),
    Encoding("p50k_base", PATTERNS["gpt2"], _fixed(endoftext=50256), _ENDS),
    Encoding(
        "p50k_edit",
        PATTERNS["gpt2"],
        _fixed(endoftext=50256, fim_prefix=50281, fim_middle=50282, fim_suffix=50283),
        _ENDS,
    ),
    Encoding(
        "cl100k_base",
        _CL100K,
        _fixed(
            endoftext=100257,
            fim_prefix=100258,
            fim_middle=100259,
            fim_suffix=100260,
            endofprompt=100276,
        ),
        _ENDS,
    ),
    Encoding("o200k_base", PATTERNS["o200k"], _fixed(endoftext=199999, endofprompt=200018), _ENDS),
    Encoding("o200k_harmony", PATTERNS["o200k"], _harmony, _ENDS),
    Encoding("llama3", PATTERNS["gpt4"], _after(_LLAMA3), _LLAMA),
    Encoding("llama4", PATTERNS["o200k"], _after(_LLAMA4), _LLAMA),
    # Alibaba's tokenization_qwen.py.
    Encoding("qwen", _QWEN, _after(_QWENS), _ENDS, nfc=True),
)
BY_NAME = {encoding.name: encoding for encoding in ENCODINGS}

CONTENTS = {
    # SHA-256 of the files as they are published: they are known under any name.
    "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930": "r50k_base",
    "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069": "p50k_base",
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7": "cl100k_base",
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d": "o200k_base",
    "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55": "llama3",
    "d0bdbaf59b0762c8c807617e2d8ea51420eb1b1de266df2495be755c8e0ed6ed": "llama4",
    "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186": "qwen",
}
