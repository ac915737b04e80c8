"""The parts of a pipeline in words: what is done to a text, one step after the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

from ..formats.encodings import ENCODINGS
from ..pieces import steps_of
from ..recipe import PATTERNS
from ..tokenizer import Tokenizer

Step = dict[str, Any]


def pattern_name(pattern: str) -> str | None:
    """What a pre-tokenization pattern is called, if it is a known one."""
    for name, known in PATTERNS.items():
        if known == pattern:
            return name
    return next((one.name for one in ENCODINGS if one.pattern == pattern), None)


def pipeline_in_words(tokenizer: Tokenizer) -> dict[str, list[str]]:
    """What each part does: "normalizer", "pre_tokenizer", "post_processor", "decoder"."""
    parts = cast("Any", tokenizer.pipeline)
    return {
        "normalizer": _told(steps_of(parts.normalizer, "normalizers"), NORMALIZERS),
        "pre_tokenizer": _told(steps_of(parts.pre_tokenizer, "pretokenizers"), PRE_TOKENIZERS),
        "post_processor": _told(steps_of(parts.post_processor, "processors"), POST_PROCESSORS),
        "decoder": _told(steps_of(parts.decoder, "decoders"), DECODERS),
    }


def patterns_of(tokenizer: Tokenizer) -> list[str]:
    """The regular expressions that a text is split by."""
    steps = steps_of(cast("Any", tokenizer.pipeline).pre_tokenizer, "pretokenizers")
    found: list[str] = []
    for step in steps:
        if step["type"] == "ByteLevel" and step["use_regex"]:
            found.append(PATTERNS["gpt2"])
        elif step["type"] == "Split" and "Regex" in step["pattern"]:
            found.append(step["pattern"]["Regex"])
    return found


def model_settings(tokenizer: Tokenizer) -> dict[str, Any]:
    """What the model's file sets besides vocabulary and merges, where it sets anything."""
    state = model_state(tokenizer)
    left_out = ("type", "vocab", "merges")
    return {key: value for key, value in state.items() if key not in left_out and value}


def model_state(tokenizer: Tokenizer) -> dict[str, Any]:
    """The model as tokenizer.json has it, without vocabulary and merges if it is a BPE."""
    model = cast("Any", tokenizer.pipeline).model
    if type(model).__name__ != "BPE":
        return json.loads(model.__getstate__())
    names = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")
    names += ("fuse_unk", "byte_fallback", "ignore_merges")
    return {"type": "BPE"} | {name: getattr(model, name) for name in names}


def _told(steps: list[Step], words: dict[str, Callable[[Step], str]]) -> list[str]:
    told = (words.get(step["type"], _by_name)(step) for step in steps)
    return [one for one in told if one]


def _by_name(step: Step) -> str:
    return step["type"]


def _always(words: str) -> Callable[[Step], str]:
    return lambda step: words


def _pattern(step: Step) -> str:
    pattern = step["pattern"]
    return quoted(pattern["String"]) if "String" in pattern else f"/{pattern['Regex']}/"


def quoted(text: str) -> str:
    """`text` in quotation marks, with escapes for what isn't seen."""
    return json.dumps(text, ensure_ascii=False)


def _replace(step: Step) -> str:
    content = step["content"]
    return f"{_pattern(step)} becomes {quoted(content)}" if content else f"{_pattern(step)} goes"


def _strip(step: Step) -> str:
    if "content" in step:
        sides = [f"{step[side]} at the {side}" for side in ("start", "stop") if step[side]]
        return f"{quoted(step['content'])} goes: {', '.join(sides).replace('stop', 'end')}"
    sides = [side for side in ("left", "right") if step[f"strip_{side}"]]
    return f"white space goes: {' and '.join(sides)}"


def _bert(step: Step) -> str:
    words = ["control characters go"] if step["clean_text"] else []
    words += ["Chinese characters stand alone"] if step["handle_chinese_chars"] else []
    words += ["lower case"] if step["lowercase"] else []
    strips = step["strip_accents"]
    words += ["accents go"] if strips or (strips is None and step["lowercase"]) else []
    return ", ".join(words)


NORMALIZERS: dict[str, Callable[[Step], str]] = {
    **{form: _always(f"Unicode's {form}") for form in ("NFC", "NFD", "NFKC", "NFKD")},
    "Lowercase": _always("lower case"),
    "StripAccents": _always("accents go"),
    "Strip": _strip,
    "Nmt": _always("control characters go, white space becomes spaces"),
    "Precompiled": _always("SentencePiece's table of characters"),
    "Replace": _replace,
    "Prepend": lambda step: f"{quoted(step['prepend'])} is put first",
    "ByteLevel": _always("a letter for each byte"),
    "BertNormalizer": _bert,
}


def _split(step: Step) -> str:
    pattern = step["pattern"]
    name = pattern_name(pattern["Regex"]) if "Regex" in pattern else None
    what = f"the pattern of {name}" if name else _pattern(step)
    how = {
        "Isolated": "",
        "Removed": ", which goes",
        "MergedWithPrevious": ", which stays with what comes before",
        "MergedWithNext": ", which stays with what comes after",
        "Contiguous": ", runs of it together",
    }[step["behavior"]]
    turned = ", what doesn't match" if step["invert"] else ""
    return f"parted by {what}{turned}{how}"


def _byte_level(step: Step) -> str:
    words = ["a space is put first"] if step["add_prefix_space"] else []
    words += ["parted by the pattern of gpt2"] if step["use_regex"] else []
    return ", ".join([*words, "a letter for each byte"])


def _metaspace(step: Step) -> str:
    mark = quoted(step["replacement"])
    first = {"always": ", one is put first", "first": ", one is put before the text"}
    parted = ", words begin at it" if step.get("split", True) else ""
    return f"a space becomes {mark}{first.get(step['prepend_scheme'], '')}{parted}"


PRE_TOKENIZERS: dict[str, Callable[[Step], str]] = {
    "Split": _split,
    "ByteLevel": _byte_level,
    "Metaspace": _metaspace,
    "Digits": lambda step: (
        "digits stand alone" if step["individual_digits"] else "numbers stand alone"
    ),
    "Whitespace": _always("parted at white space and around marks"),
    "WhitespaceSplit": _always("parted at white space"),
    "Punctuation": _always("marks stand alone"),
    "BertPreTokenizer": _always("parted at white space, marks stand alone"),
    "CharDelimiterSplit": lambda step: f"parted at {quoted(step['delimiter'])}",
    "UnicodeScripts": _always("parted where the script changes"),
    "FixedLength": lambda step: f"parted after {step['length']} characters each",
}


def _template(step: Step) -> str:
    names = [
        one["SpecialToken"]["id"] if "SpecialToken" in one else "TEXT" for one in step["single"]
    ]
    return " ".join(names) if names != ["TEXT"] else ""


def _between(step: Step) -> str:
    return f"{step['cls'][0]} TEXT {step['sep'][0]}"


POST_PROCESSORS: dict[str, Callable[[Step], str]] = {
    "TemplateProcessing": _template,
    "BertProcessing": _between,
    "RobertaProcessing": _between,
    "ByteLevel": _always(""),  # it trims offsets, no tokens
}

DECODERS: dict[str, Callable[[Step], str]] = {
    "ByteLevel": _always("letters become bytes"),
    "ByteFallback": _always("<0xE3> becomes a byte"),
    "Fuse": _always(""),
    "Strip": _strip,
    "Replace": _replace,
    "Metaspace": lambda step: f"{quoted(step['replacement'])} becomes a space",
    "WordPiece": lambda step: f"{quoted(step['prefix'])} goes, spaces between other tokens",
    "BPEDecoder": lambda step: f"{quoted(step['suffix'])} becomes a space",
    "CTC": _always("repetitions go"),
}
