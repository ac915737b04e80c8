"""Training against a slow twin that follows the definition, and against transformers."""

from __future__ import annotations

import json
import tarfile
import typing
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers, trainers

from lmtool import InputError, LmtoolError, UsageError
from lmtool.tokenizer.corpus import Corpus
from lmtool.tokenizer.recipe import PATTERNS, Recipe, empty_tokenizer
from lmtool.tokenizer.save import check_folder, save
from lmtool.tokenizer.tokenizer import Tokenizer
from lmtool.tokenizer.training.train import Training, train
from reference.naive_bpe import train_naively
from reference.small_tokenizers import ALL, SAMPLES

words = st.text("ab", min_size=1, max_size=7) | st.text("abcあ", min_size=1, max_size=5)
small_corpora = st.lists(words, min_size=1, max_size=30).map(" ".join)


def train_on(folder: Path, *texts: str, **recipe: object) -> Training:
    paths: list[Path] = []
    for number, text in enumerate(texts):
        paths.append(folder / f"{number}.txt")
        paths[-1].write_bytes(text.encode())
    return train(Corpus(tuple(paths)), Recipe(**recipe))  # pyright: ignore[reportArgumentType]


def spelled(training: Training) -> tuple[list[str], list[list[str]]]:
    """The vocabulary in the order of ids, and the merges."""
    vocabulary = training.tokenizer.get_vocab()
    merges = json.loads(training.tokenizer.to_str())["model"]["merges"]
    return sorted(vocabulary, key=vocabulary.__getitem__), merges


@settings(max_examples=120, deadline=None)
@given(
    text=small_corpora,
    size=st.sampled_from([258, 265, 300]),
    least=st.sampled_from([0, 1, 2, 5]),
    longest=st.sampled_from([None, 2, 3, 4]),
)
@example(text="aaa aaaa aaaaa", size=300, least=0, longest=None)
@example(text="abab baba abba", size=300, least=0, longest=None)
def test_merges_are_those_of_the_definition(
    tmp_path_factory, text: str, size: int, least: int, longest: int | None
) -> None:
    folder = tmp_path_factory.getbasetemp()
    specials = ["<|a|>", "<|b|>"]
    ours = train_on(
        folder,
        text,
        vocab_size=size,
        specials=tuple(specials),
        min_frequency=least,
        max_token_length=longest,
    )
    twin = train_naively([text], PATTERNS["gpt4"], size, specials, least, longest)
    merges = [[twin.vocabulary[a], twin.vocabulary[b]] for a, b in twin.merges]
    assert spelled(ours) == (twin.vocabulary, merges)


def test_the_library_s_own_trainer_makes_the_same_tokenizer(tmp_path: Path) -> None:
    """On real text, some thousand merges: identical tokenizer.json."""
    path = tmp_path / "python.txt"
    path.write_text(
        "".join(Path(module.__file__ or "").read_text() for module in (typing, tarfile))
    )
    ours = train(Corpus((path,)), Recipe(vocab_size=3000))
    trainer = trainers.BpeTrainer(
        vocab_size=3000,
        min_frequency=2,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    theirs = empty_tokenizer(Recipe())
    theirs.train_from_iterator(Corpus((path,)).pieces(), trainer)
    assert ours.tokenizer.to_str() == theirs.to_str()
    assert ours.vocab_size == 3000


@pytest.mark.parametrize("pattern", PATTERNS)
def test_each_pattern_encodes_as_the_definition_says(tmp_path: Path, pattern: str) -> None:
    ours = train_on(tmp_path, ALL, vocab_size=320, pattern=pattern, min_frequency=2)
    twin = train_naively([ALL], PATTERNS[pattern], 320, ["<|endoftext|>"], 2)
    assert spelled(ours)[0] == twin.vocabulary
    for text in SAMPLES.values():
        ours.tokenizer.encode_special_tokens = True
        assert ours.tokenizer.encode(text).ids == twin.encode(text)


def test_a_regex_of_one_s_own_is_a_pattern(tmp_path: Path) -> None:
    ours = train_on(tmp_path, "ab" * 50, vocab_size=300, pattern=r"\S")
    assert ours.vocab_size == 257, "nothing can be merged across single letters"


def test_the_order_of_files_changes_nothing(tmp_path: Path) -> None:
    texts = [*SAMPLES.values(), "The old lighthouse, the old sea.\n" * 9]
    first = train_on(tmp_path, *texts, vocab_size=500, min_frequency=0)
    second = train_on(tmp_path, *reversed(texts), vocab_size=500, min_frequency=0)
    assert first.tokenizer.to_str() == second.tokenizer.to_str()
    assert first.vocab_size == 500


def test_special_tokens_take_the_first_ids_in_order(tmp_path: Path) -> None:
    ours = train_on(tmp_path, "a", specials=("<z>", "<a>"), bos="<a>", vocab_size=300)
    assert [ours.tokenizer.token_to_id(token) for token in ("<z>", "<a>")] == [0, 1]
    assert ours.tokenizer.encode("a").ids[0] == 1


def test_a_single_letter_is_no_long_token(tmp_path: Path) -> None:
    assert train_on(tmp_path, "a", vocab_size=270).longest() == []


def test_longest_tokens_are_text(tmp_path: Path) -> None:
    ours = train_on(tmp_path, "むかし\n" * 50, vocab_size=270)
    assert ours.longest(1) == ["むかし"]


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ({"vocab_size": 256}, "257 in all"),
        ({"specials": ("<a>", "<a>")}, "named twice: '<a>'"),
        ({"specials": (" ",)}, "empty or blank"),
        ({"specials": ("a",)}, "'a' is a letter"),
        ({"pattern": "gpt5"}, "no --pattern has the name 'gpt5'"),
        ({"pattern": ""}, "no --pattern has the name ''"),
        ({"bos": "<s>"}, "--bos '<s>' is not among the special tokens"),
        ({"eos": "<s>"}, "--eos '<s>' is not among the special tokens"),
        ({"min_frequency": -1}, "below zero"),
        ({"max_token_length": 1}, "nothing to merge"),
        ({"pattern": "(a"}, "neither a known name nor a regular expression"),
    ],
)
def test_an_impossible_recipe_is_refused(tmp_path: Path, recipe: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("(", r"\(")):
        train_on(tmp_path, "a", **recipe)


def test_no_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no text to learn from"):
        train_on(tmp_path, "\n\n", "")


def test_an_error_in_the_text_comes_through_the_thread(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"ok\n\xff")
    with pytest.raises(InputError, match="byte 0xff at offset 3, line 2"):
        train(Corpus((tmp_path / "bad.txt",)), Recipe())


@pytest.mark.parametrize("bos", [None, "<s>"])
def test_transformers_loads_it_with_the_same_ids(tmp_path: Path, bos: str | None) -> None:
    from transformers import AutoTokenizer

    training = train_on(
        tmp_path, ALL, vocab_size=400, specials=("<s>", "</s>"), bos=bos, eos="</s>"
    )
    save(training, tmp_path / "made")
    ours = Tokenizer.load(tmp_path / "made")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "made")
    assert (theirs.bos_token, theirs.eos_token) == (bos, "</s>")
    assert (theirs.bos_token_id, {theirs.eos_token_id}) == (ours.bos_id, ours.eos_ids)
    assert len(theirs) == ours.vocab_size
    for text in SAMPLES.values():
        assert theirs(text)["input_ids"] == ours.encode(text, special="parse")
        plain = theirs(text, add_special_tokens=False)["input_ids"]
        assert plain == ours.encode(text, bos="off", special="parse")
        assert theirs.decode(plain) == ours.decode(plain, skip_special=False)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch) -> None:
    training = train_on(tmp_path, ALL, vocab_size=300)
    save(training, tmp_path / "old")
    before = {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()}

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    for name in ("old", "new/below/it"):
        with pytest.raises(LmtoolError, match="No space left on device"):
            save(training, tmp_path / name)
    assert {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()} == before
    assert not (tmp_path / "new").exists()


def test_a_folder_that_may_not_be_written_is_seen_before_training(
    tmp_path: Path, monkeypatch
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr("os.access", lambda path, mode: asked.append(path))
    for path in (tmp_path, tmp_path / "new", tmp_path / "new" / "below"):
        with pytest.raises(LmtoolError, match=f"cannot write into `{tmp_path}`: no permission"):
            check_folder(path)
    assert asked == [tmp_path] * 3


def test_a_file_in_the_folder_s_place_is_seen_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="is not a folder"):
            check_folder(path)
    check_folder(tmp_path / "a" / "b")
