"""`--lookup` and `--draft-model`: the same text, and a plain line for a model that can't draft."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from reference.random_checkpoints import Case

from .conftest import Run

SAMPLED = ("--temp", "0.9", "--top-p", "0.9", "--repeat-penalty", "1.1", "--seed", "3")
ECHO = "a rose is a rose is a rose is a rose is a rose"


@pytest.mark.parametrize("sampling", [("--temp", "0"), SAMPLED], ids=["greedy", "sampled"])
def test_the_text_is_the_same_with_guesses(
    real: Run, checkpoint: Path, sampling: tuple[str, ...]
) -> None:
    arguments = (ECHO, "-m", str(checkpoint), "-n", "60", "--ignore-eos", "--samples", "2")
    arguments += ("--json", "--logprobs", "2", *sampling)
    plain = real(*arguments).json
    ways = ["--lookup 5", f"--draft-model {checkpoint}"]
    for way in (*ways, " ".join(ways)):
        guessed = real(*arguments, *way.split()).json
        assert [one["token_ids"] for one in guessed] == [one["token_ids"] for one in plain]
        assert [one["text"] for one in guessed] == [one["text"] for one in plain]
        for one, other in zip(guessed, plain, strict=True):
            for token, wanted in zip(one["logprobs"], other["logprobs"], strict=True):
                assert token["logprob"] == pytest.approx(wanted["logprob"], abs=1e-3)


def test_a_stop_text_within_a_guess_that_came_true(real: Run, checkpoint: Path) -> None:
    arguments = (ECHO, "-m", str(checkpoint), "-n", "60", "--temp", "0", "--ignore-eos", "--json")
    text = real(*arguments).json["text"]
    for begin in range(4, 40, 6):
        stop = text[begin : begin + 3]
        ran = real(*arguments, "--stop", stop, "--draft-model", str(checkpoint), "--lookup", "8")
        assert ran.json["text"] == text[: text.index(stop)]
        assert ran.json["finish_reason"] == "stop"


def test_settings_and_timings_tell_of_guesses(real: Run, checkpoint: Path) -> None:
    arguments = ("so", "-m", str(checkpoint), "-n", "20", "--temp", "0", "--ignore-eos")
    ran = real(*arguments, "--draft-model", str(checkpoint), "--timings", "--json")
    assert ran.json["settings"]["lookup"] == {"value": 0, "source": "default"}
    source = {"value": str(checkpoint), "source": "command line"}
    assert ran.json["settings"]["draft_model"] == source
    # As large as what it drafts for, it never pays: it rests after each try.
    assert "\nguessed ahead: 5 tokens, 5 of them right\n" in ran.err
    ran = real(*arguments, "-v", "--timings", LMTOOL_LOOKUP="3")
    assert " lookup 3 (environment) " in " ".join(ran.err.split())
    assert "\nguessed ahead: " in ran.err
    assert "guessed ahead" not in real(*arguments, "--timings").err


@pytest.mark.parametrize("value", ["-1", "65", "some"])
def test_how_many_may_be_looked_up(generate: Run, value: str) -> None:
    generate("a", "--lookup", value).fails(2, "--lookup must be a whole number from 0 to 64")


def test_a_model_with_another_vocabulary_can_t_draft(
    real: Run, checkpoint: Path, tmp_path: Path
) -> None:
    Case("other", "Llama").save(tmp_path / "fewer")
    ran = real("a", "-m", str(checkpoint), "--draft-model", str(tmp_path / "fewer"))
    ran.fails(3, f"`{tmp_path / 'fewer'}` can't draft for `{checkpoint}`: it has 211 ids, not ")
    shutil.copytree(checkpoint, tmp_path / "renamed")
    path = tmp_path / "renamed" / "tokenizer.json"
    fields = json.loads(path.read_text("utf-8"))
    vocab = fields["model"]["vocab"]
    a, b = (vocab["a"], vocab["b"])
    vocab["a"], vocab["b"] = b, a
    path.write_text(json.dumps(fields), "utf-8")
    ran = real("a", "-m", str(checkpoint), "--draft-model", str(tmp_path / "renamed"))
    first = "`b` there and `a` here" if a < b else "`a` there and `b` here"
    ran.fails(3, "can't draft for", f"id {min(a, b)} is {first}")


def test_a_draft_model_that_can_t_be_loaded(real: Run, checkpoint: Path, tmp_path: Path) -> None:
    real("a", "-m", str(checkpoint), "--draft-model", str(tmp_path / "none")).fails(3, "none")
    (tmp_path / "config.json").write_text("{")
    real("a", "-m", str(checkpoint), "--draft-model", str(tmp_path)).fails(3, "config.json")


def test_a_draft_model_without_a_tokenizer_is_taken_at_its_word(
    real: Run, checkpoint: Path, tmp_path: Path
) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(checkpoint / name)
    arguments = ("a", "-m", str(checkpoint), "-n", "9", "--temp", "0", "--json")
    guessed = real(*arguments, "--draft-model", str(tmp_path)).json
    assert guessed["token_ids"] == real(*arguments).json["token_ids"]
