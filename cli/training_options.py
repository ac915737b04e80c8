"""What train-tokenizer can be told, under the headings of its help page."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from .. import UsageError
from .completion import choices_of, complete_model
from .corpus_options import ErrorsHow
from .settings import Choice

_TEXT = "Text"
_WORDS = "Words"
_VOCABULARY = "Vocabulary"
_SPECIALS = "Special tokens"
_OTHER = "From another tokenizer"
_EFFORT = "Effort"


class NormalForm(str, Enum):
    """Unicode's normal forms."""

    none = "none"
    NFC = "NFC"
    NFD = "NFD"
    NFKC = "NFKC"
    NFKD = "NFKD"


_PATTERNS = Choice(("gpt2", "gpt4", "llama3", "qwen2", "o200k", "digits", "scripts"))

Files = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE",
        help="Text files, .jsonl, .parquet, packed ones, folders, patterns; none or `-`: stdin.",
        show_default=False,
    ),
]


def _folder(name: str) -> Path:
    """An empty name, as an unset variable gives, would else be the current folder."""
    if not name:
        raise UsageError("-o names no folder: it is empty", hint="`-o .` is the current folder")
    return Path(name)


Output = Annotated[
    Path,
    typer.Option(
        *("-o", "--output"),
        parser=_folder,
        metavar="DIR",
        help="Folder for tokenizer.json and its config.",
    ),
]
DocSeparator = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TEXT",
        help="What parts documents in a file; special tokens do so too. Repeat for more.",
        rich_help_panel=_TEXT,
    ),
]
Errors = Annotated[
    ErrorsHow,
    typer.Option(
        metavar="HOW",
        help="Bytes that aren't UTF-8: strict (an error), replace (by U+FFFD) or skip.",
        rich_help_panel=_TEXT,
    ),
]
TextField = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The field of .jsonl, or column of .parquet, with the text.",
        rich_help_panel=_TEXT,
    ),
]
SampleBytes = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Learn from about N bytes, spread over the text.",
        rich_help_panel=_TEXT,
    ),
]
Pattern = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        autocompletion=choices_of(_PATTERNS),
        help="Where no token may reach across: gpt2, gpt4 (as without it), llama3, qwen2, o200k, "
        "digits (each alone), scripts (for text without spaces), or a regular expression.",
        rich_help_panel=_WORDS,
    ),
]
Normalization = Annotated[
    NormalForm | None,
    typer.Option(
        metavar="FORM",
        help="Bring text into a normal form first: NFC, NFD, NFKC, NFKD or none, as without it.",
        rich_help_panel=_WORDS,
    ),
]
VocabSize = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Ids in all, special tokens among them. Default: 32768, or as many as --from has.",
        rich_help_panel=_VOCABULARY,
    ),
]
MinFrequency = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Merge no pair that is rarer. Default: 2.", rich_help_panel=_VOCABULARY
    ),
]
MaxTokenLength = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Learn no token of more bytes, or of more characters where it starts from these.",
        rich_help_panel=_VOCABULARY,
    ),
]
ByteFallback = Annotated[
    bool,
    typer.Option(
        "--byte-fallback",
        help="Start from characters, not bytes, as SentencePiece does; bytes for rare ones.",
        show_default=False,
        rich_help_panel=_VOCABULARY,
    ),
]
Unigram = Annotated[
    bool,
    typer.Option(
        "--unigram",
        help="A unigram model over characters instead of merges; bytes for rare ones.",
        show_default=False,
        rich_help_panel=_VOCABULARY,
    ),
]
Alphabet = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Characters with an id of their own, for both. Default: a quarter of the vocabulary.",
        rich_help_panel=_VOCABULARY,
    ),
]
SpecialTokens = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TOKEN",
        help="A special token; repeat for more. Default: <|endoftext|>.",
        rich_help_panel=_SPECIALS,
    ),
]
BosToken = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN", help="The one to put before every text.", rich_help_panel=_SPECIALS
    ),
]
EosToken = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN",
        help="The one that ends a text. Default: the first.",
        rich_help_panel=_SPECIALS,
    ),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="TOKENIZER",
        autocompletion=complete_model,
        help="Learn its pipeline anew: the same words and special tokens, a new vocabulary.",
        rich_help_panel=_OTHER,
    ),
]
Extend = Annotated[
    str | None,
    typer.Option(
        metavar="TOKENIZER",
        autocompletion=complete_model,
        help="Add merges to it; all its ids stay. --vocab-size counts them too.",
        rich_help_panel=_OTHER,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        *("-t", "--threads"),
        metavar="N",
        min=1,
        help="Count on so many cores. Default: on every one.",
        rich_help_panel=_EFFORT,
    ),
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Memory to take, about: 2G, 800M. Default: 1280M, or half of what is free.",
        rich_help_panel=_EFFORT,
    ),
]
