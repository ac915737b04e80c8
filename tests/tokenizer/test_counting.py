"""Words of a corpus and their counts: against the pre-tokenizer itself, whatever the way there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from lmtool.tokenizer.corpus import Corpus
from lmtool.tokenizer.recipe import PATTERNS, Recipe, empty_tokenizer
from lmtool.tokenizer.training import blocks
from lmtool.tokenizer.training.counting import Counted, count_words
from lmtool.tokenizer.training.splitting import KNOWN, Splitter
from reference.small_tokenizers import SAMPLES

LETTERS = [
    *"ab zZ1²_'\n\r\t /。あ」!é\u0301\u00a0\u3000\u2028\u0085\u1680\x00\x1c",
    *("  ", " \n", "\n ", "\u017f", "'S", "'ll", "\u212a", "ß", "İ", "ǅ", "ʰ", "\u0295", "\ufeff"),
    *("\U0001f469\u200d", "\U0001e4d0", "\U00031350", "\ua7f1", "\ufffd", "中", "한", "½"),
]
TEXTS = st.lists(st.sampled_from(LETTERS) | st.characters(exclude_categories=["Cs"]), max_size=40)
DOCUMENTS = TEXTS.map("".join)


def pipelines() -> dict[str, Tokenizer]:
    made = {name: empty_tokenizer(Recipe(pattern=name)) for name in PATTERNS}
    made["own regex"] = empty_tokenizer(Recipe(pattern=r"\w+|\W"))
    for name, (normalizer, splitter) in {
        "gpt2's own": (None, pre_tokenizers.ByteLevel(add_prefix_space=False)),
        "prefix space": (None, pre_tokenizers.ByteLevel(add_prefix_space=True)),
        "metaspace": (None, pre_tokenizers.Metaspace()),
        "bert": (normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()),
        "nfkc": (normalizers.NFKC(), pre_tokenizers.Split(Regex(PATTERNS["gpt4"]), "isolated")),
        "removed": (None, pre_tokenizers.Split(Regex(r"\s+"), "removed")),
        "whole": (normalizers.Replace(" ", "▁"), None),
    }.items():
        made[name] = Tokenizer(models.BPE())
        made[name].normalizer = normalizer
        made[name].pre_tokenizer = splitter
    return made


PIPELINES = pipelines()


def expected(pipeline: Tokenizer, texts: list[str]) -> Counter[bytes]:
    """What tokenizers' own parts say, letters for bytes put back by encoding each letter's word."""
    found: Counter[bytes] = Counter()
    for text in texts:
        if pipeline.normalizer is not None:
            text = pipeline.normalizer.normalize_str(text)
        if pipeline.pre_tokenizer is None:
            found.update([text.encode()] if text else [])
            continue
        parts = pipeline.pre_tokenizer.pre_tokenize_str(text)
        if "ByteLevel" in str(pipeline.pre_tokenizer):
            found.update(bytes(map(BYTES.__getitem__, part)) for part, _ in parts)
        else:
            found.update(part.encode() for part, _ in parts)
    return found


def gpt2_bytes() -> dict[str, int]:
    """By asking the library what each byte of two-byte letters becomes."""
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    table: dict[str, int] = {}
    for number in [*range(0x800), *range(0x800, 0x110000, 0x400)]:
        if not 0xD800 <= number < 0xE000:
            spelled = level.pre_tokenize_str(chr(number))[0][0]
            table.update(zip(spelled, chr(number).encode(), strict=True))
    return table


BYTES = gpt2_bytes()


@settings(max_examples=150, deadline=None)
@given(text=DOCUMENTS, name=st.sampled_from(sorted(PIPELINES)))
def test_words_are_those_of_the_pipeline(text: str, name: str) -> None:
    words = Splitter(PIPELINES[name]).words(text)
    assert Counter(words) == expected(PIPELINES[name], [text])
    if Splitter(PIPELINES[name]).pattern is not None:
        assert b"".join(words) == text.encode()


def write(folder: Path, *texts: str) -> tuple[Path, ...]:
    paths = tuple(folder / f"{number}.txt" for number in range(len(texts)))
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text.encode())
    return paths


def count(
    corpus: Corpus, name: str = "gpt4", **how: int
) -> tuple[list[tuple[bytes, int]], Counted]:
    counted = count_words(corpus, Splitter(PIPELINES[name]), **how)
    return list(counted.words), counted


@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(DOCUMENTS, max_size=4),
    name=st.sampled_from(["gpt2", "gpt4", "qwen2", "o200k", "own regex", "nfkc"]),
    size=st.sampled_from([8, 32, 1 << 20]),
)
def test_documents_are_counted_wherever_blocks_end(
    tmp_path_factory, texts: list[str], name: str, size: int
) -> None:
    paths = write(tmp_path_factory.getbasetemp(), "<|end|>".join(texts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "SIZE", size)
        words, counted = count(Corpus(paths, ("<|end|>",)), name)
    stripped = [text.strip("\n") for text in texts]
    assert dict(words) == expected(PIPELINES[name], stripped)
    assert [word for word, _ in words] == sorted(word for word, _ in words)
    file = counted.files[0]
    assert file.bytes == counted.bytes == sum(len(text.encode()) for text in stripped)
    assert file.characters == counted.characters == sum(map(len, stripped))
    assert file.documents == counted.documents == sum(map(bool, stripped))


def test_known_patterns_are_found_in_pipelines_that_have_them() -> None:
    known = {name for name, pipeline in PIPELINES.items() if Splitter(pipeline).parts_at_spaces}
    assert known == {"gpt2", "gpt4", "qwen2", "o200k", "gpt2's own"}
    assert set(PATTERNS.values()) >= KNOWN


def test_the_order_of_files_changes_nothing(tmp_path: Path) -> None:
    paths = write(tmp_path, *SAMPLES.values())
    words, _ = count(Corpus(paths))
    assert count(Corpus(paths[::-1]))[0] == words
    assert dict(words) == expected(PIPELINES["gpt4"], [t.strip("\n") for t in SAMPLES.values()])
