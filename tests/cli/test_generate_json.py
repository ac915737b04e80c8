"""`lmtool generate --json`: the contract's object, key by key."""

from __future__ import annotations

import json

from reference.scripted_model import Script

from .conftest import Run

KEYS = [
    *("text", "prompt", "prompt_token_ids", "token_ids", "finish_reason", "seed", "usage"),
    *("timings", "model", "settings"),
]


def test_object_has_the_contract_s_keys(generate: Run) -> None:
    found = generate("xy", "--json").json
    assert list(found) == KEYS
    assert found["text"] == " there was a fox"
    assert found["prompt"] == "xy"
    assert found["prompt_token_ids"] == [120, 121]
    assert found["token_ids"] == [ord(letter) for letter in "esax"]
    assert found["finish_reason"] == "eos"
    assert found["usage"] == {"prompt_tokens": 2, "completion_tokens": 4}
    assert found["timings"] == {
        "load_s": 0.5,
        "prefill_s": 0.25,
        "decode_s": 0.4,
        "prefill_tokens_per_s": 8.0,
        "decode_tokens_per_s": 10.0,
    }
    assert list(found["model"]) == ["name", "path", "family", "parameters", "dtype", "quant"]
    assert found["settings"]["format"] == {"value": "json", "source": "command line"}


def test_length_is_told_from_the_model_s_own_end(generate: Run) -> None:
    assert generate("x", "--json", "-n", "2").json["finish_reason"] == "length"


def test_document_is_an_array_of_samples(generate: Run) -> None:
    script = Script(texts=(("a", "b"), ("c",)))
    ran = generate("x", "--format", "json", "--samples", "2", script=script)
    assert [one["text"] for one in ran.json] == ["ab", "c"]
    assert ran.out.endswith("]\n")


def test_jsonl_is_one_line_a_sample(generate: Run) -> None:
    script = Script(texts=(("a", "日\n本"), ("c",), ("d", "e", "f")))
    ran = generate("x", "--format", "jsonl", "--samples", "3", script=script)
    assert [json.loads(line)["text"] for line in ran.out.splitlines()] == ["a日\n本", "c", "def"]
    assert "日" in ran.out


def test_echo_makes_the_text_begin_with_the_prompt(generate: Run) -> None:
    assert generate("xy", "--json", "--echo").json["text"] == "xy there was a fox"


def test_logprobs_name_the_alternatives(generate: Run) -> None:
    found = generate("xy", "--json", "--logprobs", "2", script=Script(texts=(("a",),))).json
    assert list(found) == [*KEYS, "logprobs"]
    assert found["logprobs"] == [
        {
            "id": 97,
            "token": "a",
            "logprob": -0.5,
            "top": [
                {"id": 97, "token": "a", "logprob": -0.5},
                {"id": 122, "token": "z", "logprob": -1.5},
            ],
        }
    ]


def test_no_alternatives_are_still_logprobs(generate: Run) -> None:
    found = generate("x", "--json", "--logprobs", "0", script=Script(texts=(("a",),))).json
    assert found["logprobs"] == [{"id": 97, "token": "a", "logprob": -0.5, "top": []}]


def test_echo_puts_the_prompt_s_logprobs_first(generate: Run) -> None:
    ran = generate("xy", "--json", "--logprobs", "1", "--echo", script=Script(texts=(("a",),)))
    assert [(one["token"], one["logprob"]) for one in ran.json["logprobs"]] == [
        ("x", None),
        ("y", -1.0),
        ("a", -0.5),
    ]
    assert ran.request.prompt_logprobs


def test_text_is_null_without_a_tokenizer(generate: Run) -> None:
    script = Script(texts=(("a",),), has_tokenizer=False)
    found = generate("--token-ids", "5", "--json", "--logprobs", "0", script=script).json
    assert (found["text"], found["prompt"], found["token_ids"]) == (None, None, [97])
    assert found["logprobs"][0]["token"] is None


def test_cut_prompt_is_the_one_reported(generate: Run) -> None:
    found = generate("a" * 50 + "b" * 99, "--json", "--overflow", "truncate-left").json
    assert found["prompt"] == "b" * 50
    assert found["usage"]["prompt_tokens"] == 50


def test_seed_is_always_reported(generate: Run) -> None:
    assert generate("x", "--json", "--temp", "1", "--seed", "7").json["seed"] == 7
    drawn = {generate("x", "--json", "--temp", "1", "--seed", "-1").json["seed"] for _ in range(3)}
    assert len(drawn) == 3


def test_greedy_output_is_the_same_every_time(generate: Run) -> None:
    assert generate("x", "--json").out == generate("x", "--json").out
