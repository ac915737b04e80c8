"""`lmtool explain` as a user runs it: what it says is what the model does, within 80 columns."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtool.cli.prompt_words import Spelling
from lmtool.cli.text_table import display_width
from lmtool.tokenizer.tokenizer import Tokenizer
from reference import chats
from reference.cases_experts import CASES
from reference.random_checkpoints import Case
from reference.small_tokenizers import byte_level

from .conftest import REAL, Run

DEFAULT = Path(__file__).resolve().parents[2] / "models" / "default"
BALL = "Tom had a red ball. He gave the"
ESCAPE = re.compile("\x1b\\[[0-9;]*m")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A mixture of experts without a tokenizer, with a shared expert in each layer."""
    case = next(case for case in CASES if case.name == "qwen2_moe")
    return str(case.save(tmp_path_factory.mktemp("bare")))


def explained(command: Run, *arguments: str) -> Any:
    ran = command("explain", *arguments, "--json", script=REAL)
    assert (ran.code, ran.err) == (0, ""), ran
    return ran.json


def test_a_prediction_in_json(command: Run) -> None:
    found = explained(command, BALL, "--top", "3", "--neurons", "4")
    (one,) = found["predictions"]
    assert [token["token"] for token in found["tokens"]][1:4] == ["Tom", " had", " a"]
    assert found["prompt_token_ids"] == [token["id"] for token in found["tokens"]]
    assert one["position"] == len(found["tokens"]) == len(one["origins"])
    assert one["answer"]["token"] == " ball"
    assert one["actual"] is None
    assert len(one["top"]) == 3
    assert one["top"][0] == one["answer"] == one["layers"][-1]["answer"]
    assert sum(origin["rollout"] for origin in one["origins"]) == pytest.approx(1)
    parts = one["logit"]
    assert parts["total"] == pytest.approx(one["answer"]["logit"])
    assert sum(parts.values()) - parts["total"] == pytest.approx(parts["total"])
    for kind in ("attention", "mlp"):
        assert sum(layer[kind] for layer in one["layers"]) == pytest.approx(parts[kind])
    for layer in one["layers"]:
        assert sum(layer["heads"]) == pytest.approx(layer["attention"], abs=1e-4)
    assert len(one["neurons"]) == 4
    assert all(len(neuron["promotes"]) == 3 for neuron in one["neurons"])
    ball = next(origin for origin in one["origins"] if origin["token"] == " ball")
    assert ball["logit"] == max(origin["logit"] for origin in one["origins"])


def test_each_token_that_it_writes(command: Run) -> None:
    found = explained(command, BALL, "-n", "3")
    ran = command("generate", BALL, "-n", "3", "--temp", "0", "--json", script=REAL)
    predictions = found["predictions"]
    assert [one["answer"]["id"] for one in predictions] == ran.json["token_ids"]
    first = len(found["prompt_token_ids"])
    assert [one["position"] for one in predictions] == [first, first + 1, first + 2]
    assert all(one["actual"]["id"] == one["answer"]["id"] for one in predictions)
    # The second is explained by the same text as a prompt that has it all.
    again = explained(command, BALL + " ball")["predictions"][0]
    assert again["logit"] == pytest.approx(predictions[1]["logit"], abs=1e-4)


def test_a_place_within_the_prompt(command: Run) -> None:
    whole = explained(command, "Tom had a red")["predictions"][0]
    within = explained(command, BALL, "--at", "5")["predictions"][0]
    from_its_end = explained(command, BALL, "--at", "-5")["predictions"][0]
    assert within == from_its_end
    assert within["actual"]["token"] == " ball"
    assert [guess["id"] for guess in within["top"]] == [guess["id"] for guess in whole["top"]]
    assert within["logit"] == pytest.approx(whole["logit"], abs=1e-4)


def test_another_answer_than_the_likeliest(command: Run) -> None:
    (one,) = explained(command, BALL, "--answer", " red")["predictions"]
    assert one["answer"]["token"] == " red"
    assert one["rank"] > 1
    assert one["first_leads"] is None
    assert one["top"][0]["token"] == " ball"
    ran = command("explain", BALL, "--answer", " red", script=REAL)
    assert "in place 2" in ran.out
    assert "·red leads nowhere" in ran.out


def test_an_answer_that_the_embedding_has_already(command: Run, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    ran = command("explain", BALL, "--answer", " world", "--html", str(page), script=REAL)
    assert "·world leads first at the embedding, and loses the lead again." in ran.out
    assert "comes up first at the embedding, and falls behind again." in page.read_text("utf-8")


@pytest.mark.parametrize(
    "prompt", [BALL, "日本の昔、ある所に" * 4, "a\n\tb \x1b[31m é", "long " * 300]
)
def test_the_report_keeps_to_80_columns(command: Run, prompt: str) -> None:
    plain = command("explain", prompt, "-n", "2", script=REAL)
    assert (plain.code, plain.err) == (0, "")
    assert "\x1b" not in plain.out
    assert max(map(display_width, plain.out.splitlines())) <= 80
    coloured = command("explain", prompt, "-n", "2", "--color", "always", script=REAL)
    assert ESCAPE.sub("", coloured.out) == plain.out != coloured.out
    if "long" in prompt:
        table = plain.out.split("Gathered")[1].split("Recalled")[0]
        shares = [list(map(float, re.findall(r"([0-9.]+)%", line))) for line in table.splitlines()]
        for column in zip(*(pair for pair in shares if len(pair) == 2), strict=True):
            assert math.isclose(sum(column), 100, abs_tol=1)
        assert "others" in table


def test_a_mixture_shows_its_experts(command: Run, bare: str) -> None:
    found = explained(command, "-m", bare, "--token-ids", "5 6 7", "--answer", "9")
    (one,) = found["predictions"]
    assert found["prompt"] is None
    assert one["answer"]["id"] == 9
    for layer in one["layers"]:
        chosen = [expert["expert"] for expert in layer["experts"]]
        assert chosen[-1] == "shared"
        assert len(set(chosen)) == len(chosen) > 1
    assert all("expert" in neuron for neuron in one["neurons"])
    ran = command("explain", "-m", bare, "--token-ids", "5 6 7", script=REAL)
    assert "The experts that each layer chose" in ran.out
    assert "shared" in ran.out


def test_a_chat_model_explains_its_answer(command: Run, tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    Case("chat", "Llama", {"vocab_size": tokenizer.get_vocab_size()}).save(tmp_path)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "chat_template.jinja").write_text(chats.TEMPLATES["chatml"])
    found = explained(command, "-m", str(tmp_path), "--chat", "Hello")
    assert found["prompt"].endswith("<|im_start|>assistant\n")
    assert found["predictions"][0]["position"] == len(found["tokens"])


def test_rounding_that_shows_is_told(command: Run, tmp_path: Path) -> None:
    Case("small", "Llama").save(tmp_path)
    arguments = ("-m", str(tmp_path), "--token-ids", "5 6 7 8")
    ran = command("explain", *arguments, "--dtype", "bfloat16", script=REAL)
    assert ran.code == 0
    assert "warning: the parts add up to the logit only to" in ran.err
    assert "--dtype float32 rounds less" in ran.err
    ran = command("explain", *arguments, "--quant", "int8", script=REAL)
    assert ran.code == 0
    assert "so much is rounded in int8\n" in ran.err


def test_a_file_appears_whole(command: Run, tmp_path: Path) -> None:
    ran = command("explain", BALL, "-o", str(tmp_path / "why.txt"), script=REAL)
    assert (ran.code, ran.out) == (0, "")
    assert "Gathered" in (tmp_path / "why.txt").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["Hi", "--at", "0"], 2, "--at 0: nothing stands before the first token"),
        (["Hi", "--at", "9"], 2, "--at 9: the prompt has"),
        (["Hi", "--at", "-9"], 2, "--at -9: the prompt has"),
        (["Hi", "--at", "1", "-n", "2"], 2, "--at and --tokens exclude each other"),
        (["Hi", "--answer", "a", "-n", "2"], 2, "--answer and --tokens exclude each other"),
        (["Hi", "-n", "0"], 2, "greater than or equal to 1"),
        (["Hi", "--top", "0"], 2, "greater than or equal to 1"),
        (["Hi", "--answer", ""], 4, "--answer ``: it is no token"),
        (["Hi", "--answer", "xylophones"], 4, "tokens, `"),
        (["Hi", "--answer", "ball"], 4, "perhaps ` ball`"),
        (["Hi", "-c", "2", "-n", "1"], 4, "no room is left for an answer"),
        (["Hi", "-m", "nowhere"], 3, "no such file or folder"),
        ([""], 4, "the prompt is empty"),
        (["--token-ids", "99999"], 4, "token id 99999 at place 0 is outside the vocabulary"),
        (["Hi", "--compile"], 2, "no such option: --compile"),
    ],
)
def test_what_cannot_be_explained(command: Run, arguments: list[str], code: int, said: str) -> None:
    command("explain", *arguments, script=REAL).fails(code, said)


def test_an_answer_by_its_id_needs_one(command: Run, bare: str) -> None:
    asked = ("explain", "-m", bare, "--token-ids", "5 6 7", "--answer")
    command(*asked, "dog", script=REAL).fails(4, "without a tokenizer it is the id of a token")
    command(*asked, "211", script=REAL).fails(4, "the model has 211 tokens")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(DEFAULT)


def test_words_are_made_of_their_tokens(tokenizer: Tokenizer) -> None:
    spelling = Spelling(tokenizer)

    def words(text: str) -> list[str]:
        return [word.shown for word in spelling.words(tokenizer.encode(text, bos="off"))]

    assert words("The extraordinarily big lighthouse") == [
        *("The", "·extraordinarily", "·big", "·lighthouse")
    ]
    assert words("a, b\n\nc") == ["a", ",", "·b", "↵↵", "c"]
    assert words("") == []
    assert spelling.shown(*tokenizer.encode("鬱", bos="off")) == "鬱"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(text=st.text(max_size=40))
def test_every_token_is_in_one_word(text: str) -> None:
    tokenizer = Tokenizer.load(DEFAULT)
    ids = tokenizer.encode(text)
    words = Spelling(tokenizer).words(ids)
    assert [place for word in words for place in range(word.begin, word.end)] == [*range(len(ids))]
    assert all(word.shown and word.shown.isprintable() for word in words)
