"""Settings of `lmtool generate`: every spelling, where each value comes from, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reference.scripted_model import Script

from .conftest import Run

HOT = Script(defaults={"do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 40})


def settings(ran: Any) -> dict[str, tuple[Any, str]]:
    return {name: (one["value"], one["source"]) for name, one in ran.json["settings"].items()}


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        ("-m --model", "model", "m"),
        ("-c --ctx-size --max-model-len", "ctx_size", 50),
        ("--device", "device", "cpu"),
        ("--dtype", "dtype", "bfloat16"),
        ("-t --threads", "threads", 2),
        ("--bos", "bos", "off"),
        ("--special", "special", "parse"),
        ("--overflow", "overflow", "truncate-left"),
        ("--temp --temperature", "temp", 0.5),
        ("--seed", "seed", 11),
        ("--samples", "samples", 1),
        ("-n --max-tokens --max-new-tokens --n-predict --predict", "max_tokens", 3),
        ("-r --stop --reverse-prompt", "stop", ["zz"]),
        ("--stop-token", "stop_token", [9]),
        ("--min-tokens", "min_tokens", 1),
        ("--timeout", "timeout", 50.0),
        ("--logprobs", "logprobs", 2),
    ],
)
def test_every_spelling_sets_the_same(generate: Run, flags: str, name: str, value: Any) -> None:
    given = str(value[0]) if isinstance(value, list) else str(value)
    for flag in flags.split():
        assert settings(generate("x", "--json", flag, given))[name] == (value, "command line")


def test_flags_that_stand_alone_are_settings(generate: Run) -> None:
    names = ("keep-stop", "ignore-eos", "echo", "no-stream", "timings", "offline")
    found = settings(generate("x", "--json", *(f"--{name}" for name in names)))
    for name in names:
        assert found[name.replace("-", "_")] == (True, "command line")


def test_request_is_what_was_set(generate: Run) -> None:
    sampled = ("--temp", "0.5", "--top-k", "3", "--top-p", "0.8", "--min-p", "0.1", "--seed", "4")
    counts = ("--samples", "2", "-n", "7", "--min-tokens", "2")
    stops = ("--stop", "a", "-r", "b", "--stop-token", "5", "--stop-token", "6", "--keep-stop")
    request = generate("x", *sampled, *counts, *stops).request
    sampling, stop = request.sampling, request.stop
    assert (sampling.temperature, sampling.top_k, sampling.top_p) == (0.5, 3, 0.8)
    assert (sampling.min_p, sampling.seed, request.samples, request.max_new) == (0.1, 4, 2, 7)
    assert (stop.texts, stop.ids, stop.eos) == (("a", "b"), {5, 6}, {0})
    assert (stop.keep, stop.min_tokens) == (True, 2)


def test_ends_of_text_are_the_model_s_unless_ignored(generate: Run) -> None:
    assert generate("x").request.stop.eos == {0}
    assert generate("x", "--ignore-eos").request.stop.eos == frozenset()


def test_minus_one_runs_to_the_context_s_end(generate: Run) -> None:
    assert generate("x", "-n", "-1").request.max_new is None
    assert generate("x").request.max_new == 256


def test_model_is_opened_as_asked(generate: Run) -> None:
    model = generate("x", "-m", "there", "--device", "cpu", "-t", "3", "-c", "9").model
    assert (model.model.value, model.device.value) == ("there", "cpu")
    assert (model.threads.value, model.ctx_size.value) == (3, 9)
    assert generate("x").model.model.value == "default"


def test_sources_come_in_the_contract_s_order(generate: Run, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[generate]\ntemp = 0.3\ntop-k = 7\nmin_p = 0.2\n")
    ran = generate(
        *("x", "--json", "--config", str(config), "--temp", "0.1"),
        script=HOT,
        LMTOOL_TEMP="0.2",
        LMTOOL_TOP_K="5",
    )
    found = settings(ran)
    assert found["temp"] == (0.1, "command line")
    assert found["top_k"] == (5, "environment")
    assert found["min_p"] == (0.2, "config file")
    assert found["top_p"] == (0.9, "generation_config.json")
    assert found["max_tokens"] == (256, "default")
    assert found["seed"][1] == "random"


def test_verbose_tells_values_and_sources(generate: Run) -> None:
    ran = generate("x", "-v", "--temp", "0.5", "--stop", "zz", script=HOT)
    lines = [" ".join(line.split()) for line in ran.err.splitlines()]
    assert "temp 0.5 (command line)" in lines
    assert "top_p 0.9 (generation_config.json)" in lines
    assert 'stop ["zz"] (command line)' in lines
    assert any(line.startswith("model: scripted") for line in lines)
    assert "4 tokens, finish: eos" in lines
    assert sum(line.startswith("seed") for line in lines) == 2  # as a setting, and at the end
    assert ran.out == " there was a fox"


def test_environment_knows_every_name(generate: Run) -> None:
    ran = generate("x", LMTOOL_MODEL="there", LMTOOL_MAX_NEW_TOKENS="2", LMTOOL_IGNORE_EOS="yes")
    assert ran.model.model.value == "there"
    assert ran.request.max_new == 2
    assert ran.request.stop.eos == frozenset()
    assert generate("x", LMTOOL_TEMP="").request.sampling.temperature == 0


def test_config_file_has_a_place_of_its_own(generate: Run, tmp_path: Path) -> None:
    folder = tmp_path / "config" / "lmtool"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('[generate]\nmax-tokens = 3\nstop = ["a", "b"]\n')
    request = generate("x").request
    assert (request.max_new, request.stop.texts) == (3, ("a", "b"))
    other = tmp_path / "other.toml"
    other.write_text("")
    assert generate("x", "--config", str(other)).request.max_new == 256
    assert generate("x", LMTOOL_CONFIG=str(other)).request.max_new == 256
    other.write_bytes(b"\xef\xbb\xbf[generate]\nmax-tokens = 4\n")
    assert generate("x", "--config", str(other)).request.max_new == 4


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[generate]\ntempp = 1\n", ["unknown key `tempp` in [generate]", "did you mean `temp`?"]),
        ("[chit]\n", ["unknown table `chit`", "did you mean `chat`?"]),
        ("temp = 1\n", ["unknown key `temp` above the tables", "[generate]"]),
        ("[generate]\ntemp = -1\n", ["`temp` in", "must be a number, 0 or more, not `-1`"]),
        ('[generate]\ntemp = "hot"\n', ["`temp` in", "not `hot`"]),
        ("[generate]\ntop_k = 1.5\n", ["`top_k` in", "whole number"]),
        ("[generate]\nstop = [1]\n", ["`stop` in", "not `1`"]),
        ("[generate]\ntemp = true\n", ["`temp` in", "not `True`"]),
        ("[generate\n", ["is not TOML", "line 1"]),
        ("[generate]\ntop-k = 1\ntop_k = 2\n", ["`top-k` and `top_k` in [generate]", "same key"]),
    ],
)
def test_bad_config_file_is_named(
    generate: Run, tmp_path: Path, text: str, parts: list[str]
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(text)
    generate("x", "--config", str(config)).fails(2, str(config), *parts)


def test_config_file_that_is_not_there_is_named(generate: Run, tmp_path: Path) -> None:
    generate("x", "--config", str(tmp_path / "none")).fails(2, "No such file", "none")
    (tmp_path / "latin1").write_bytes(b"# caf\xe9")
    generate("x", "--config", str(tmp_path / "latin1")).fails(2, "not UTF-8", "offset 5")


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ("--temp -1", "a number, 0 or more"),
        ("--temp nan", "a number, 0 or more"),
        ("--temp inf", "a number, 0 or more"),
        ("--temp abc", "a number, 0 or more"),
        ("--temperature -0.1", "a number, 0 or more"),
        ("--top-p 1.5", "a number from 0 to 1"),
        ("--top-p -0.5", "a number from 0 to 1"),
        ("--min-p 2", "a number from 0 to 1"),
        ("--top-k -1", "a whole number, 0 or more"),
        ("--top-k 1.5", "a whole number, 0 or more"),
        ("--seed x", "a whole number from -9223372036854775807 to 9223372036854775807"),
        ("--seed 99999999999999999999", "a whole number from"),
        ("--samples 0", "a whole number, 1 or more"),
        ("-n -2", "a whole number, -1 or more"),
        ("-n ten", "a whole number, -1 or more"),
        ("-c 0", "a whole number, 1 or more"),
        ("-t 0", "a whole number, 1 or more"),
        ("--min-tokens -1", "a whole number, 0 or more"),
        ("--stop-token -1", "a whole number, 0 or more"),
        ("--logprobs -1", "a whole number, 0 or more"),
        ("--timeout 0", "a number above 0"),
        ("--device tpu", "auto, cpu, cuda or mps"),
        ("--dtype int3", "auto, float32, bfloat16 or float16"),
        ("--overflow cut", "error, truncate-left, truncate-middle or shift"),
        ("--bos maybe", "auto, on or off"),
        ("--special no", "text or parse"),
        ("--format xml", "text, json or jsonl"),
    ],
)
def test_value_out_of_range_names_flag_and_range(
    generate: Run, arguments: str, allowed: str
) -> None:
    flag, value = arguments.split()
    long = {"-n": "--max-tokens", "-c": "--ctx-size", "-t": "--threads"}.get(flag, flag)
    long = long.replace("--temperature", "--temp")
    generate("x", flag, value).fails(2, long, f"must be {allowed}", f"not `{value}`")


def test_value_out_of_range_in_the_environment_names_the_variable(generate: Run) -> None:
    generate("x", LMTOOL_TOP_P="2").fails(2, "LMTOOL_TOP_P must be a number from 0 to 1, not `2`")
    generate("x", LMTOOL_ECHO="maybe").fails(2, "LMTOOL_ECHO must be true or false")


def test_empty_stop_text_is_refused(generate: Run) -> None:
    generate("x", "--stop", "").fails(2, "--stop must be text that is not empty")


def test_formats_that_contradict_are_refused(generate: Run) -> None:
    generate("x", "--json", "--format", "text").fails(2, "--json", "--format text")
    assert generate("x", "--json", "--format", "json").code == 0
    assert generate("x", "--json", LMTOOL_FORMAT="text").json["text"]


@pytest.mark.parametrize(
    ("defaults", "temperature", "top_p"),
    [
        ({}, 0, 1),
        ({"do_sample": True, "temperature": 0.6, "top_p": 0.5}, 0.6, 0.5),
        ({"do_sample": True, "top_p": 0.5}, 1, 0.5),
        ({"temperature": 0.6, "top_p": 0.5}, 0.6, 0.5),
        ({"do_sample": False, "temperature": 0.6, "top_p": 0.5}, 0, 1),
        ({"do_sample": True, "temperature": None, "top_p": None}, 1, 1),
        ({"top_p": 0.5}, 0, 1),
        ({"do_sample": None, "temperature": 0.6}, 0.6, 1),
    ],
)
def test_generation_config_is_read_as_it_is_meant(
    generate: Run, defaults: dict[str, Any], temperature: float, top_p: float
) -> None:
    sampling = generate("x", script=Script(defaults=defaults)).request.sampling
    assert (sampling.temperature, sampling.top_p) == (temperature, top_p)


def test_bad_generation_config_is_a_model_error(generate: Run) -> None:
    script = Script(defaults={"do_sample": True, "temperature": "hot"})
    generate("x", script=script).fails(3, "`temperature`", "generation_config.json", "`hot`")
    assert generate("x", "--temp", "1", script=script).code == 0


def test_temperature_0_puts_everything_else_off(generate: Run) -> None:
    found = settings(generate("x", "--json", "--temp", "0", script=HOT))
    assert found["top_p"] == (1, "greedy")
    assert found["top_k"] == (0, "greedy")
    assert found["seed"] == (0, "greedy")


def test_sampling_setting_without_sampling_is_warned_of(generate: Run) -> None:
    ran = generate("x", "--top-p", "0.5")
    assert ran.err == "warning: --top-p has no effect at temperature 0: add --temp\n"
    assert generate("x", "--top-p", "0.5", "--temp", "1", "--seed", "1").err == ""


def test_random_seed_is_said_where_text_is_asked(generate: Run) -> None:
    ran = generate("x", "--temp", "1")
    assert ran.err == f"seed: {ran.request.sampling.seed}\n"
    assert generate("x", "--temp", "1", "--seed", "5").err == ""
    assert generate("x", "--temp", "1", "-q").err == ""
