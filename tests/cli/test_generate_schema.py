"""docs/generate.schema.json describes what `lmtool generate --json` prints: all of it, and no more.

`Ran.json` checks every document that a test looks at; here are the corners.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import get_args

import pytest

from lmtool.cli.commands import generate as command
from lmtool.cli.settings import Source, declared_in
from lmtool.engine.request import Finish
from reference.scripted_model import Script

from .conftest import Run, answer_schema

TEXTS = Script(texts=(("a", "b"), ("日",), ("d", "e", "f")))


def errors(document: object) -> list[str]:
    return [error.message for error in answer_schema().iter_errors(document)]


@pytest.fixture
def answer(generate: Run):
    return generate("xyz", "--json", "--logprobs", "1", "--echo").json


def test_the_schema_has_each_name_that_the_code_has() -> None:
    parts = answer_schema().schema["$defs"]
    assert tuple(parts["answer"]["properties"]["finish_reason"]["enum"]) == get_args(Finish)
    sources = set(get_args(Source)) - {"/set"}  # which is chat's own
    assert set(parts["setting"]["properties"]["source"]["enum"]) == sources


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--samples", "3"),
        ("--logprobs", "0"),
        ("--logprobs", "2", "--echo", "--samples", "2"),
        ("-n", "0"),
        ("--temp", "1", "--stop", "zz", "--stop-token", "7", "--timeout", "60"),
        ("--overflow", "truncate-middle", "-n", "1"),
    ],
    ids=" ".join,
)
def test_documents_are_allowed(generate: Run, arguments: tuple[str, ...]) -> None:
    prompt = "x" * 200 if "--overflow" in arguments else "xy"
    document = generate(prompt, "--json", *arguments, script=TEXTS).json
    assert errors(document) == []
    assert isinstance(document, list) == ("--samples" in arguments)
    lines = generate(prompt, "--format", "jsonl", *arguments, script=TEXTS).out.splitlines()
    assert [errors(json.loads(line)) for line in lines] == [[] for _ in lines]


def test_without_a_tokenizer(generate: Run) -> None:
    script = Script(texts=(("a",),), has_tokenizer=False)
    found = generate("--token-ids", "5", "--json", "--logprobs", "0", script=script).json
    assert errors(found) == []


def test_the_engine_s_own(real: Run, checkpoint: Path) -> None:
    asked = ("one two", "-m", str(checkpoint), "--json", "--echo", "--logprobs", "3")
    found = real(*asked, "-c", "16", "-n", "30", "--ignore-eos", "--overflow", "shift").json
    assert errors(found) == []
    assert found["cut"]["shifts"]["times"] > 0
    prompt = found["usage"]["prompt_tokens"]
    assert len(found["logprobs"]) == prompt + 30
    assert found["logprobs"][0]["logprob"] is None
    for one in found["logprobs"][1:]:
        assert [other["logprob"] for other in one["top"]] == sorted(
            (other["logprob"] for other in one["top"]), reverse=True
        )
        assert one["logprob"] <= one["top"][0]["logprob"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("finish_reason",), "end"),
        (("finish_reason",), None),
        (("text",), 5),
        (("token_ids",), [-1]),
        (("usage", "total_tokens"), 5),
        (("timings", "load_s"), -1),
        (("model", "quant"), "int2"),
        (("settings", "temp"), 0.5),
        (("settings", "temp", "source"), "somewhere"),
        (("logprobs", 0, "logprob"), 0.5),
        (("cut",), {}),
        (("news",), True),
    ],
    ids=str,
)
def test_anything_else_is_not(answer, path: tuple[str | int, ...], value: object) -> None:
    broken = copy.deepcopy(answer)
    inner = broken
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    assert errors(answer) == []
    assert errors(broken)
    assert errors([answer, broken])


def test_every_key_is_needed(answer) -> None:
    for name in answer:
        less = {key: value for key, value in answer.items() if key != name}
        assert bool(errors(less)) == (name not in ("cut", "logprobs")), name
    assert errors([answer])  # one alone is no array
    assert errors([])


def test_json_and_v_tell_every_setting(generate: Run) -> None:
    groups = [
        group
        for group in vars(command).values()
        if isinstance(group, type) and hasattr(group, "panel") and declared_in(group)
    ]
    assert len(groups) >= 6
    declared = {name for group in groups for name in declared_in(group)}
    ran = generate("x", "--json", "-v")
    assert set(ran.json["settings"]) == declared
    told = {line.split()[0] for line in ran.err.splitlines() if line.startswith("  ")}
    assert told == declared
