"""A tokenizer that learns on: its ids and merges stay, and what is added is what was missing."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lmtool import ModelError
from lmtool.tokenizer.training.extending import extended_model, start_of
from lmtool.tokenizer.training.merging import learn_merges
from reference.small_tokenizers import ALL, SAMPLES, byte_fallback

WORDS = Counter(re.findall(r" ?\w+|[^\w\s]+|\s+", ALL))
Words = list[tuple[bytes, int]]


def counted(counts: dict[str, int]) -> Words:
    return sorted((word.encode(), count) for word, count in counts.items())


def model_of(pipeline: Tokenizer) -> dict[str, Any]:
    return json.loads(pipeline.to_str())["model"]


def pipeline_of(kind: str, size: int, words: dict[str, int] = WORDS) -> Tokenizer:
    """A tokenizer trained by the library on words and their counts."""
    pipeline: Any = Tokenizer(models.BPE())
    pipeline.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    options: dict[str, Any] = {}
    if kind == "bytes":
        pipeline.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split("|", "removed"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        pipeline.decoder = decoders.ByteLevel()
        options["initial_alphabet"] = sorted(pre_tokenizers.ByteLevel.alphabet())
    elif kind == "prefix":
        options["continuing_subword_prefix"] = "##"
    elif kind == "suffix":
        options["end_of_word_suffix"] = "</w>"
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<s>"], show_progress=False, **options
    )
    border = "|" if kind == "bytes" else " "
    pipeline.train_from_iterator(
        (f"{word}{border}" * count for word, count in words.items()), trainer
    )
    return pipeline


def extended(pipeline: Tokenizer, words: Words, size: int) -> Tokenizer:
    learned = learn_merges(words, start_of(pipeline), limit=size)
    longer: Any = Tokenizer.from_str(pipeline.to_str())
    longer.model = extended_model(pipeline, learned)
    return longer


@pytest.mark.parametrize("kind", ["prefix", "suffix"])
def test_marks_of_where_a_token_stands_in_a_word(kind: str) -> None:
    words = {word.strip(" "): count for word, count in WORDS.items() if word.strip()}
    # The library numbers such letters another way each time: no two of its tokenizers are alike.
    short = pipeline_of(kind, 1, words)
    base = len(short.get_vocab())
    longer = extended(extended(short, counted(words), base + 40), counted(words), base + 110)
    assert model_of(longer) == model_of(extended(short, counted(words), base + 110))
    longest = max(longer.get_vocab(), key=len).removeprefix("##").removesuffix("</w>")
    assert any(longest in word for word in words)
    texts = sorted(words)
    sizes = [sum(len(each.encode(text).ids) for text in texts) for each in (short, longer)]
    assert sizes[1] < sizes[0] * 0.8


@pytest.mark.parametrize("kind", ["bytes", "characters"])
def test_learning_in_two_steps_is_learning_in_one(kind: str) -> None:
    words = {word.strip(" "): count for word, count in WORDS.items() if word.strip()}
    base = len(pipeline_of(kind, 1, words).get_vocab())
    short, whole = (pipeline_of(kind, base + more, words) for more in (40, 110))
    longer = extended(short, counted(words), base + 110)
    assert model_of(longer) == model_of(whole)
    assert len(model_of(whole)["merges"]) >= 110


def test_old_ids_stay_and_new_ones_follow_the_added_tokens() -> None:
    short: Any = pipeline_of("bytes", 300, Counter(SAMPLES["english"].split()))
    short.add_special_tokens(["<|later|>"])
    short.add_tokens(["<|last|>"])
    before = short.get_vocab(with_added_tokens=True)
    longer = extended(short, counted(WORDS), 360)
    after = longer.get_vocab(with_added_tokens=True)
    assert {token: after[token] for token in before} == before
    assert sorted(after.values()) == list(range(360))
    assert model_of(longer)["merges"][: len(model_of(short)["merges"])] == model_of(short)["merges"]
    again = Tokenizer.from_str(longer.to_str())
    for text in SAMPLES.values():
        assert longer.decode(longer.encode(text).ids) == short.decode(short.encode(text).ids)
        assert again.encode(text).ids == longer.encode(text).ids
        assert len(longer.encode(text).ids) <= len(short.encode(text).ids)


def test_nothing_is_merged_across_unknown_letters() -> None:
    fallback = byte_fallback()
    words = {"▁a☃a": 5, "▁☃": 9, "▁ab": 3}
    learned = learn_merges(counted(words), start_of(fallback), limit=10_000)
    assert learned.pairs
    assert not [pair for pair in learned.pairs if any("<0x" in token for token in pair)]
    assert not [token for token in learned.ids if "☃" in token]


def test_only_merges_can_be_extended() -> None:
    with pytest.raises(ModelError, match="Unigram can't be extended"):
        start_of(Tokenizer(models.Unigram([("a", -1.0)], 0)))
