"""`lmtool generate --overflow`: what happens where a text is longer than the context."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Run

GREEDY = ("--temp", "0")


@pytest.fixture
def tight(real: Run, checkpoint: Path):
    """The tiny checkpoint in a context of 16, which never ends a text by itself."""

    def run(*arguments: str):
        settings = ("-m", str(checkpoint), "-c", "16", "--ignore-eos", *GREEDY)
        return real(*settings, *arguments)

    return run


def ids(count: int) -> tuple[str, str]:
    return "--token-ids", " ".join(map(str, range(5, 5 + count)))


def test_truncate_middle_keeps_both_ends_and_says_where(tight: Run) -> None:
    ran = tight(*ids(40), "-n", "6", "--overflow", "truncate-middle", "--json")
    assert ran.json["prompt_token_ids"] == [*range(5, 10), *range(40, 45)]
    assert ran.json["cut"] == {"prompt": {"tokens": 30, "at": 5, "of": 40}}
    assert ran.err == (
        "warning: the prompt's tokens 6 to 35 of 40 are left out, to fit the context of 16\n"
    )


def test_a_prompt_that_fits_is_never_cut(tight: Run) -> None:
    for overflow in ("error", "truncate-left", "truncate-middle", "shift"):
        ran = tight(*ids(15), "-n", "1", "--overflow", overflow, "--json")
        assert (ran.err, ran.json["prompt_token_ids"]) == ("", list(range(5, 20)))
        assert "cut" not in ran.json


def test_to_the_context_s_end(tight: Run) -> None:
    for overflow in ("error", "truncate-left", "truncate-middle"):
        ran = tight(*ids(6), "-n", "-1", "--overflow", overflow, "--json")
        assert ran.json["finish_reason"] == "context"
        assert ran.json["usage"] == {"prompt_tokens": 6, "completion_tokens": 10}


def test_shift_goes_on_and_says_how_often(tight: Run) -> None:
    ran = tight(*ids(6), "-n", "30", "--overflow", "shift", "--json")
    found = ran.json
    assert (found["finish_reason"], len(found["token_ids"])) == ("length", 30)
    # Full after 10 tokens, and then, of 16 the older 8 being gone, after every 8.
    assert found["cut"] == {"shifts": {"tokens": 24, "times": 3}}
    assert ran.err == (
        "warning: the context of 16 was full 3 times: the oldest 24 tokens have left it\n"
    )
    assert tight(*ids(6), "-n", "30", "--overflow", "shift", "-q").err == ""


def test_shift_goes_on_as_a_run_that_starts_anew(tight: Run) -> None:
    found = tight(*ids(6), "-n", "18", "--overflow", "shift", "--json").json
    text = [*found["prompt_token_ids"], *found["token_ids"]]
    again = tight("--token-ids", " ".join(map(str, text[8:16])), "-n", "8", "--json").json
    assert again["token_ids"] == text[16:]


def test_each_sample_s_shifts_are_said(tight: Run) -> None:
    ran = tight(*ids(6), "-n", "12", "--overflow", "shift", "--samples", "2", "--temp", "1")
    lines = ran.err.splitlines()
    for number in range(2):
        assert (
            f"warning: sample {number}: the context of 16 was full once: "
            "the oldest 8 tokens have left it"
        ) in lines


def test_too_long_a_prompt_is_cut_before_it_shifts(tight: Run) -> None:
    ran = tight(*ids(40), "-n", "30", "--overflow", "shift", "--json")
    assert ran.json["prompt_token_ids"] == list(range(37, 45))
    assert ran.json["cut"]["prompt"] == {"tokens": 32, "at": 0, "of": 40}
    assert ran.json["cut"]["shifts"]["times"] == 3


def test_scoring_alone_may_fill_the_context(tight: Run) -> None:
    arguments = ("-n", "0", "--echo", "--logprobs", "0", "--json")
    found = tight(*ids(16), *arguments).json
    assert len(found["logprobs"]) == 16
    tight(*ids(17), *arguments).fails(4, "17", "16")
