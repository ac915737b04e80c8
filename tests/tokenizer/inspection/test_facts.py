"""What inspect tells of small tokenizers, fact by fact."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lmtool.tokenizer.inspection import alphabets
from lmtool.tokenizer.inspection.facts import all_facts
from lmtool.tokenizer.inspection.reach import find_reach
from lmtool.tokenizer.inspection.vocabulary import read_vocabulary, shown_bytes
from lmtool.tokenizer.tokenizer import Tokenizer
from reference.small_tokenizers import KINDS, byte_level


@pytest.fixture(scope="module")
def facts(kinds: Any) -> dict[str, Any]:
    # A few letters instead of all that Unicode has, to save time.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alphabets, "_all_letters", lambda: [*"abcxyzäλπอกא漢"])
        return {kind: all_facts(kinds[kind].ours, find_reach(kinds[kind].ours)) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_json(kind: str, facts: Any) -> None:
    assert json.loads(json.dumps(facts[kind])) == facts[kind]


def test_what_a_limit_leaves_is_counted(kinds: Any, facts: Any) -> None:
    tokenizer = kinds["byte_level"].ours
    short = all_facts(tokenizer, find_reach(tokenizer), 2)
    assert {one["script"]: one for one in short["scripts"]}["Han"]["letters"] > 90_000
    whole, cut = facts["byte_level"]["reach"], short["reach"]
    for name in ("beside_other_text", "half_characters", "never", "not_found"):
        assert cut[name]["count"] == whole[name]["count"] == len(whole[name]["first"])
        assert cut[name]["first"] == whole[name]["first"][:2]


@pytest.mark.parametrize(
    ("kind", "part", "words"),
    [
        ("byte_level", "pre_tokenizer", ["parted by the pattern of gpt2, a letter for each byte"]),
        ("byte_level", "post_processor", []),
        ("byte_fallback", "normalizer", ['"▁" is put first', '" " becomes "▁"']),
        ("byte_fallback", "post_processor", ["<s> TEXT"]),
        ("unigram", "post_processor", ["TEXT </s>"]),
        ("unigram", "decoder", ['"▁" becomes a space']),
        ("word_piece", "pre_tokenizer", ["parted at white space, marks stand alone"]),
        ("word_piece", "post_processor", ["[CLS] TEXT [SEP]"]),
    ],
)
def test_the_pipeline_in_words(facts: Any, kind: str, part: str, words: list[str]) -> None:
    assert facts[kind]["pipeline"][part] == words


def test_merges_are_counted_and_their_depth(facts: Any) -> None:
    merges = facts["byte_level"]["merges"]
    assert merges["count"] == sum(merges["depths"].values()) == 400 - 257
    deepest = merges["deepest"][0]
    assert str(deepest["depth"]) == max(merges["depths"], key=int)
    assert facts["unigram"]["merges"] is None


def test_scripts(facts: Any) -> None:
    scripts = {one["script"]: one for one in facts["byte_fallback"]["scripts"]}
    assert scripts["Greek"]["letters_of_one_token"] == scripts["Greek"]["letters"] == 2
    assert scripts["Greek"]["tokens"] >= 15
    assert scripts["Thai"]["tokens"] == 0
    assert scripts["Thai"]["tokens_a_letter"] == 3.0  # three bytes each
    assert scripts["Latin"]["letters_unknown"] == 0
    assert {one["script"]: one for one in facts["unigram"]["scripts"]}["Thai"]["letters_unknown"]


def test_roles_lengths_and_bytes(facts: Any) -> None:
    one = facts["byte_level"]
    assert one["missing_bytes"] == []
    assert sum(one["lengths"].values()) == one["vocabulary"] - 1
    assert one["added"][0] == {
        "id": 0,
        "text": "<|endoftext|>",
        "special": True,
        "roles": [],
        "ends_text": False,
    }
    lengths = [token["bytes"] for token in one["longest"]]
    assert lengths == sorted(lengths, reverse=True)
    assert len(facts["word_piece"]["missing_bytes"]) > 128


def test_holes_and_tokens_spelled_alike(tmp_path: Any) -> None:
    pipeline = byte_level()
    state = json.loads(pipeline.to_str())
    state["model"]["vocab"]["Ġthelast"] = 500
    known = next(
        piece
        for piece in state["model"]["vocab"]
        if piece[:1] == "Ġ" and piece[1:].isalpha() and piece[1:].isascii()
    )
    text = known.replace("Ġ", " ")
    state["added_tokens"][1]["content"] = text
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(state))
    tokenizer = Tokenizer.load(file)
    vocabulary = read_vocabulary(tokenizer)
    assert vocabulary.holes == [(400, 400), (402, 499)]
    assert vocabulary.tokens == 402
    assert dict(vocabulary.alike) == {text.encode(): [tokenizer.pipeline.token_to_id(known), 401]}


def test_bytes_that_are_no_characters_are_shown() -> None:
    assert shown_bytes("aé".encode() + b"\xe3\x81") == "aé⟨E3⟩⟨81⟩"
    assert shown_bytes(b"\xff") == "⟨FF⟩"
