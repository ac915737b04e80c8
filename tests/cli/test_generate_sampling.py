"""Sampling options of `lmtool generate`: what reaches the engine, what is said, what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtool.cli.logit_bias import Entry, read_entry
from reference.scripted_model import Script

from .conftest import Run

NEVER = float("-inf")


def settings(ran: Any) -> dict[str, tuple[Any, str]]:
    return {name: (one["value"], one["source"]) for name, one in ran.json["settings"].items()}


@pytest.mark.parametrize(
    ("flags", "field", "value"),
    [
        ("--typical --typical-p", "typical", 0.5),
        ("--top-nsigma --top-n-sigma", "top_nsigma", 1.5),
        ("--xtc-probability", "xtc_probability", 0.25),
        ("--xtc-threshold", "xtc_threshold", 0.2),
        ("--repeat-penalty --repetition-penalty", "repetition", 1.2),
        ("--repeat-last-n", "repeat_last", 9),
        ("--presence-penalty", "presence", -0.5),
        ("--frequency-penalty", "frequency", 2.0),
        ("--no-repeat-ngram", "no_repeat_ngram", 3),
        ("--dry-multiplier", "dry_multiplier", 0.8),
        ("--dry-base", "dry_base", 1.5),
        ("--dry-allowed-length", "dry_allowed_length", 4),
    ],
)
def test_every_option_reaches_the_engine(generate: Run, flags: str, field: str, value: Any) -> None:
    for flag in flags.split():
        sampling = generate("x", flag, str(value), "--temp", "1", "--seed", "3").request.sampling
        assert getattr(sampling, field) == value
    neutral = generate("x").request.sampling
    assert getattr(neutral, field) != value
    assert not neutral.adjusts


def test_dry_stops_at_what_the_tokenizer_spells_its_breakers_with(generate: Run) -> None:
    breakers = generate("x", "--dry-multiplier", "1").request.sampling.dry_breakers
    assert breakers == {ord(letter) for letter in '\n:"*'}
    assert generate("x").request.sampling.dry_breakers == frozenset()


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ("--typical 1.1", "a number from 0 to 1"),
        ("--typical -0.1", "a number from 0 to 1"),
        ("--top-nsigma -1", "a number, 0 or more"),
        ("--top-nsigma inf", "a number, 0 or more"),
        ("--xtc-probability 2", "a number from 0 to 1"),
        ("--xtc-threshold nan", "a number from 0 to 1"),
        ("--repeat-penalty 0", "a number above 0"),
        ("--repeat-last-n -2", "a whole number, -1 or more"),
        ("--presence-penalty 2.5", "a number from -2 to 2"),
        ("--frequency-penalty -2.01", "a number from -2 to 2"),
        ("--no-repeat-ngram -1", "a whole number, 0 or more"),
        ("--no-repeat-ngram 2.5", "a whole number, 0 or more"),
        ("--dry-multiplier -1", "a number, 0 or more"),
        ("--dry-base 0.9", "a number, 1 or more"),
        ("--dry-allowed-length 0", "a whole number, 1 or more"),
    ],
)
def test_value_out_of_range_names_flag_and_range(
    generate: Run, arguments: str, allowed: str
) -> None:
    flag, value = arguments.split()
    generate("x", flag, value).fails(2, f"{flag} must be {allowed}, not `{value}`")


@pytest.mark.parametrize(
    ("raw", "token", "amount"),
    [
        ("15=2", 15, 2),
        ("15=+2.5", 15, 2.5),
        ("15=-2", 15, -2),
        ("15+1", 15, 1),
        ("15-1.5", 15, -1.5),
        ("15-inf", 15, NEVER),
        (" 15 = -inf ", 15, NEVER),
        ("15=false", 15, NEVER),
        ("15=-Infinity", 15, NEVER),
        ("-5=1", -5, 1),  # no such token, which is for the model to say
        ('"hello"=-5', "hello", -5),
        ("'hello'=+2", "hello", 2),
        ('"hello"-5', "hello", -5),
        ('"15"=1', "15", 1),
        ('" a = b "=1', " a = b ", 1),
        ('"say "hi""=1', 'say "hi"', 1),
        ('"it\'s"=1', "it's", 1),
        ('"\n"=false', "\n", NEVER),
        ("hello=-5", "hello", -5),  # as a shell leaves "hello"=-5
        (" hello=-5", " hello", -5),
        ("a=b=1", "a=b", 1),
        ('""=1', "", 1),
        ('"日本"=1e3', "日本", 1000),
    ],
)
def test_bias_is_read_as_it_is_meant(raw: str, token: int | str, amount: float) -> None:
    assert read_entry(raw) == Entry(token, amount)


BAD_BIASES = [
    *("", "=", "15", "15=", "=5", "15=x", "15=inf", "15=+inf", "15=nan", "15=true"),
    *('"a"', '"a=5', 'a"=', '"a"=1e7', "hello", "hello-5", "15=-1e7", "15=1=", "'a'=5'"),
]


@pytest.mark.parametrize("raw", BAD_BIASES)
def test_what_is_no_bias_is_refused(generate: Run, raw: str) -> None:
    ran = generate("x", "-l", raw)
    ran.fails(2, "--logit-bias must be TOKEN=X (a token id or", f"not `{raw}`")


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(-100, 100))
def test_any_text_can_be_quoted(text: str, amount: int) -> None:
    for quote in ('"', "'"):
        assert read_entry(f"{quote}{text}{quote}={amount}") == Entry(text, amount)


@given(st.text())
def test_anything_is_a_bias_or_a_value_error(raw: str) -> None:
    try:
        entry = read_entry(raw)
    except ValueError:
        return
    assert entry.amount == NEVER or abs(entry.amount) <= 1e6


def test_bias_of_ids_and_texts_adds_up(generate: Run) -> None:
    biases = ("65=1", "65=0.5", '"AB"=-5', "'zz'=2", "66-inf", "\\x43=1")
    flags = [part for bias in biases for part in ("--logit-bias", bias)]
    ran = generate("x", "-e", "-v", *flags)
    pairs = ((65, -3.5), (66, NEVER), (67, 1), (ord("z"), 2))
    assert ran.request.sampling.logit_bias == pairs
    assert 'logit bias: 65 "A" -3.5, 66 "B" -inf, 67 "C" +1, 122 "z" +2' in ran.err
    assert settings(generate("x", "--json", *flags))["logit_bias"][0] == list(biases)


def test_bias_from_the_config_file_and_the_environment(generate: Run, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[generate]\nlogit-bias = ["65=1", \'"\\n"=2\', "\'日\'=-1"]\n', "utf-8")
    ran = generate("x", "--config", str(config), "-e")
    # TOML's '…' has no escapes, and -e is for the command line.
    assert ran.request.sampling.logit_bias == (
        (65, 1),
        (ord("\\"), 2),
        (ord("n"), 2),
        (ord("日"), -1),
    )
    assert generate("x", LMTOOL_LOGIT_BIAS="65=1").request.sampling.logit_bias == ((65, 1),)
    config.write_text("[generate]\nlogit-bias = [65]\n", "utf-8")
    generate("x", "--config", str(config)).fails(2, "`logit_bias` in", "not `65`")


def test_bias_of_no_token_is_refused(generate: Run) -> None:
    last = 0x10FFFF
    for id in (last + 1, -1, 10**30):
        ran = generate("x", "-l", f"{id}=1")
        ran.fails(2, f"--logit-bias: there is no token {id}, only 0 to {last}")
    assert generate("x", "-l", f"{last}=1").code == 0
    generate("x", "-l", '""=1').fails(2, '--logit-bias: the text "" has no tokens')
    bare = Script(has_tokenizer=False)
    text = generate("--token-ids", "5", "-l", '"a"=1', script=bare)
    text.fails(3, "--logit-bias with text needs a tokenizer", "/models/scripted")
    assert generate("--token-ids", "5", "-l", "9=1", script=bare).code == 0


def test_narrowing_without_sampling_is_put_off_and_warned_of(generate: Run) -> None:
    flags = ("--typical", "0.5", "--top-nsigma", "1", "--xtc-probability", "0.5")
    ran = generate("x", "--temp", "0", *flags)
    assert ran.err.splitlines() == [
        f"warning: {flag} has no effect at temperature 0: add --temp" for flag in flags[::2]
    ]
    assert ran.request.sampling == generate("x").request.sampling
    found = settings(generate("x", "--json", "--temp", "0", *flags))
    assert found["xtc_probability"] == (0, "greedy")


def test_penalties_act_on_greedy_choices(generate: Run) -> None:
    flags = ("--presence-penalty", "1", "--no-repeat-ngram", "3", "--dry-multiplier", "1")
    ran = generate("x", *flags, "-l", "65=1")
    sampling = ran.request.sampling
    assert (sampling.presence, sampling.no_repeat_ngram, sampling.dry_multiplier) == (1, 3, 1)
    assert ran.err == ""


@pytest.mark.parametrize(
    ("idle", "needed"),
    [
        ("--xtc-threshold 0.2", "--xtc-probability"),
        ("--dry-base 2", "--dry-multiplier"),
        ("--dry-allowed-length 3", "--dry-multiplier"),
        ("--repeat-last-n 9", "--repeat-penalty"),
    ],
)
def test_what_does_nothing_alone_is_warned_of(generate: Run, idle: str, needed: str) -> None:
    common = ("x", "--temp", "1", "--seed", "1", *idle.split())
    flag = idle.split()[0]
    assert generate(*common).err == f"warning: {flag} has no effect without {needed}\n"
    assert generate(*common, needed, "0.9").err == ""


def test_a_threshold_that_turns_xtc_off_is_warned_of(generate: Run) -> None:
    common = ("x", "--temp", "1", "--seed", "1", "--xtc-probability", "1", "--xtc-threshold")
    assert generate(*common, "0.7").err == (
        "warning: --xtc-threshold 0.7 turns XTC off: take 0.5 or less\n"
    )
    assert generate(*common, "0.5").err == ""


PENALIZED = {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3}


def test_generation_config_s_names_are_read(generate: Run) -> None:
    script = Script(defaults={"do_sample": True, "typical_p": 0.8, **PENALIZED})
    found = settings(generate("x", "--json", script=script))
    source = "generation_config.json"
    assert found["typical"] == (0.8, source)
    assert found["no_repeat_ngram"] == (3, source)
    assert found["repeat_penalty"] == (1.2, source)
    overruled = settings(generate("x", "--json", "--typical", "1", script=script))
    assert overruled["typical"] == (1.0, "command line")
    for key, value in (("typical_p", 1.5), ("no_repeat_ngram_size", "x")):
        bad = Script(defaults={"do_sample": True, key: value})
        generate("x", script=bad).fails(3, f"`{key}`", "generation_config.json", f"`{value}`")


@pytest.mark.parametrize(
    ("said", "flags", "acts"),
    [
        ({"do_sample": True}, (), True),
        ({"do_sample": True}, ("--temp", "0"), False),  # meant for draws
        ({"do_sample": False}, (), True),  # meant for greedy choices
        ({}, (), True),
        ({}, ("--temp", "1"), True),
    ],
)
def test_generation_config_s_penalties_act_where_they_are_meant(
    generate: Run, said: dict[str, Any], flags: tuple[str, ...], acts: bool
) -> None:
    sampling = generate("x", *flags, script=Script(defaults={**said, **PENALIZED})).request.sampling
    wanted = (1.2, 3) if acts else (1, 0)
    assert (sampling.repetition, sampling.no_repeat_ngram) == wanted


def test_generation_config_that_is_not_heeded_is_warned_of(generate: Run) -> None:
    ours = {"temperature": 1.0, "eta_cutoff": 0.0, "num_beams": 1, "bad_words_ids": None}
    assert "generation_config" not in generate("x", "--seed", "1", script=Script(defaults=ours)).err
    theirs = {**ours, "eta_cutoff": 3e-4, "num_beams": 4, "suppress_tokens": [5]}
    ran = generate("x", "--seed", "1", script=Script(defaults=theirs))
    assert ran.err.startswith(
        "warning: generation_config.json sets num_beams, suppress_tokens, eta_cutoff, "
        "which lmtool doesn't have"
    )
    greedy = generate("x", "--temp", "0", script=Script(defaults=theirs))
    assert "num_beams" in greedy.err
    assert "eta_cutoff" not in greedy.err
    assert generate("x", "-q", "--seed", "1", script=Script(defaults=theirs)).err == ""


def test_each_sample_s_seed_is_in_its_object_and_in_v(generate: Run) -> None:
    ran = generate("x", "--json", "--temp", "1", "--seed", "7", "--samples", "3")
    seeds = [one["seed"] for one in ran.json]
    assert seeds[0] == 7
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 1 << 53 for seed in seeds)
    assert settings(generate("x", "--json", "--temp", "1", "--seed", "7"))["seed"][0] == 7
    told = generate("x", "-v", "--temp", "1", "--seed", "7", "--samples", "3").err
    assert re.findall(r"sample (\d): .*, seed: (\d+)\n", told) == [
        (str(number), str(seed)) for number, seed in enumerate(seeds)
    ]
    greedy = generate("x", "--json", "--temp", "0", "--samples", "2").json
    assert [one["seed"] for one in greedy] == [0, 0]


ORDER = {
    "bias": "--logit-bias",
    "repetition": "--repeat-penalty",
    "presence": "--presence-penalty",
    "frequency": "--frequency-penalty",
    "dry": "--dry-multiplier",
    "no_repeat_ngram": "--no-repeat-ngram",
    "top_nsigma": "--top-nsigma",
    "temperature": "--temp",
    "top_k": "--top-k",
    "top_p": "--top-p",
    "min_p": "--min-p",
    "typical": "--typical",
    "xtc": "--xtc-probability",
}
"""Which function in `engine.sampling` is which option's."""


def test_help_and_guide_tell_the_order_that_the_engine_has() -> None:
    from lmtool.cli.commands.generate import EPILOG
    from lmtool.engine.sampling.sampler import PENALTIES, RULES

    wanted = [ORDER[one.__name__] for one in (*PENALTIES, *(rule for _, rule, _ in RULES))]
    assert re.findall(r"--[a-z-]+", EPILOG.split("in this order")[1]) == wanted
    guide = (Path(__file__).resolve().parents[2] / "docs" / "sampling.md").read_text("utf-8")
    assert re.findall(r"^\| \d+ \|[^|]*?(--[a-z-]+)", guide, re.MULTILINE) == wanted


SAMPLED = ("--temp", "1.2", "--xtc-probability", "0.5", "--typical", "0.9", "--dry-multiplier", "1")


def test_a_sample_is_the_same_singly_and_among_others(real: Run, checkpoint: Path) -> None:
    common = ("so it", "-m", str(checkpoint), "-n", "25", "--ignore-eos", "--json", *SAMPLED)
    four = real(*common, "--seed", "7", "--samples", "4").json
    assert len({one["text"] for one in four}) == 4
    more = real(*common, "--seed", "7", "--samples", "40").json  # more than run side by side
    assert [one["text"] for one in more[:4]] == [one["text"] for one in four]
    for one in four:
        alone = real(*common, "--seed", str(one["seed"])).json
        assert (alone["text"], alone["seed"]) == (one["text"], one["seed"])


def test_guesses_change_no_text_whatever_is_on(real: Run, checkpoint: Path) -> None:
    common = ("a rose is a rose is a rose", "-m", str(checkpoint), "-n", "40", "--json")
    common += ("--ignore-eos", "--presence-penalty", "0.5", "--frequency-penalty", "0.1")
    common += ("--no-repeat-ngram", "4", "--dry-multiplier", "0.5", "-l", "' '=1", "--seed", "5")
    for sampled in (("--temp", "0"), (*SAMPLED, "--top-nsigma", "2")):
        plain = real(*common, *sampled).json["token_ids"]
        for way in (("--lookup", "6"), ("--draft-model", str(checkpoint))):
            assert real(*common, *sampled, *way).json["token_ids"] == plain


def test_banned_and_forced_tokens(real: Run, checkpoint: Path) -> None:
    common = ("so it", "-m", str(checkpoint), "-n", "8", "--ignore-eos", "--json")
    for temp in ("0", "1"):
        ids = real(*common, "--temp", temp, "--seed", "1", "-l", "40=1000").json["token_ids"]
        assert ids == [40] * 8
    plain = real(*common, "--temp", "0").json["token_ids"]
    banned = [f"-l{id}=-inf" for id in plain]
    assert not set(plain) & set(real(*common, "--temp", "0", *banned).json["token_ids"])
    spelled = real(*common, "--temp", "0", "-l", '"<|endoftext|>"=1000').json
    assert spelled["token_ids"] == [0] * 8  # a special token's spelling means the token


def test_nothing_left_to_say_is_an_error(real: Run, checkpoint: Path) -> None:
    refusal = real("so", "-m", str(checkpoint), "-l", "99999=false").err
    last = int(re.findall(r"only 0 to (\d+)", refusal)[0])
    banned = [f"-l{id}=false" for id in range(last + 1)]
    ran = real("so", "-m", str(checkpoint), "--temp", "0", *banned)
    ran.fails(4, "no token is left to choose", "--logit-bias")
