"""`lmtool batch`: rows in, an answer a row out; a bad one is bad alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lmtool.cli.batch.running import Running
from reference import chats
from reference.scripted_model import Script

from .conftest import Run

OK = {"prompt": "hello", "id": 1}


@pytest.fixture
def batch(command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`batch(rows, "--temp", "1")`: the command over `rows` in a file, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(rows: Sequence[Any] | bytes, *arguments: str, **options: Any) -> Any:
        data = rows if isinstance(rows, bytes) else b"".join(map(line, rows))
        Path(options.pop("name", "in.jsonl")).write_bytes(data)
        return command("batch", "in.jsonl", "-o", "out.jsonl", *arguments, **options)

    return run


def line(row: Any) -> bytes:
    return row + b"\n" if isinstance(row, bytes) else json.dumps(row).encode() + b"\n"


def answers(path: str = "out.jsonl") -> list[dict[str, Any]]:
    return [json.loads(one) for one in Path(path).read_bytes().splitlines()]


def test_answers_come_in_the_order_of_the_rows(batch: Run) -> None:
    rows = [{"prompt": f"row {number}", "id": -number} for number in range(50)]
    done = batch(rows)
    assert (done.code, done.out) == (0, "")
    assert "50 rows: `out.jsonl`" in done.err
    found = answers()
    assert [one["row"] for one in found] == list(range(1, 51))
    assert [one["fields"] for one in found] == [{"id": -number} for number in range(50)]
    assert [one["prompt"] for one in found] == [row["prompt"] for row in rows]
    assert len({len(one["token_ids"]) for one in found}) > 5, "they end out of order"
    assert {p.name for p in Path().iterdir()} == {"in.jsonl", "out.jsonl", "out.jsonl.job"}


def test_an_answer_is_generates_object_without_what_differs_from_run_to_run(
    batch: Run, generate: Run
) -> None:
    batch([OK])
    theirs = generate("hello", "--json").json
    ours = answers()[0]
    assert set(ours) == set(theirs) - {"timings"} | {"row", "key", "fields"}
    assert set(theirs["model"]) - set(ours["model"]) == {"path"}
    assert ours["settings"]["temp"] == {"value": 0.0, "source": "default"}


BAD: dict[str, tuple[Any, int, str]] = {
    "no JSON": (b"{prompt: 1}", 4, "line 2 is not JSON"),
    "cut": (b'{"prompt": "x', 4, "line 2 is not JSON"),
    "NaN": (b'{"prompt": "x", "id": NaN}', 4, "NaN is no number"),
    "infinite": (b'{"prompt": "x", "id": 1e999}', 4, "not JSON"),
    "endless digits": (b'{"prompt": "x", "id": ' + b"9" * 5000 + b"}", 4, "not JSON"),
    "half a character": (b'{"prompt": "\\ud800"}', 4, "half a character: U+D800"),
    "nested": (b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 4, "nested too deep"),
    "a list": ([1], 4, "no object"),
    "a number": (7, 4, "no object"),
    "null": (None, 4, "no object"),
    "bad UTF-8": (b'{"prompt": "\xff"}', 4, "byte 0xff at offset 12"),
    "no prompt": ({"id": 3}, 4, "no `prompt` and no `messages`"),
    "null prompt": ({"prompt": None}, 4, "no `prompt`"),
    "both": ({"prompt": "x", "messages": []}, 4, "not both"),
    "prompt is a number": ({"prompt": 3}, 4, "no text"),
    "empty": ({"prompt": ""}, 4, "empty"),
    "too long": ({"prompt": "x" * 1000}, 4, "1000 tokens"),
    "fails": ({"prompt": "FAIL"}, 4, "can't be said"),
    "wrong temp": ({"prompt": "x", "temp": "hot"}, 2, "`temp` must be a number"),
    "temp twice": ({"prompt": "x", "temp": 1, "temperature": 1}, 2, "set the same"),
    "wrong seed": ({"prompt": "x", "seed": 1.5}, 2, "`seed` must be a whole number"),
    "samples": ({"prompt": "x", "samples": 3}, 2, "can't be set by a row"),
    "grammar file": ({"prompt": "x", "grammar_file": "/etc/passwd"}, 2, "can't be set"),
    "schema file": ({"prompt": "x", "schema": "/etc/passwd"}, 2, "not the name of a file"),
    "no schema": ({"prompt": "x", "json_schema": {"type": 3}}, 4, "type"),
    "two forms": ({"prompt": "x", "regex": "a", "choice": ["a"]}, 2, "exclude each other"),
    "messages": ({"messages": "hi"}, 4, "no list of messages"),
    "message": ({"messages": [{"role": "user"}]}, 4, "message 1"),
    "no template": ({"messages": [{"role": "user", "content": "x"}]}, 3, "no chat template"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_an_error_row(batch: Run, name: str) -> None:
    row, code, message = BAD[name]
    done = batch([OK, row, {"prompt": "after"}])
    assert done.code == 6
    assert "3 rows, 1 of them failed" in done.err
    first, bad, last = answers()
    assert first["finish_reason"] == last["finish_reason"] == "eos"
    assert (bad["row"], bad["error"]["code"]) == (2, code)
    assert message in bad["error"]["message"]


def test_rows_have_settings_of_their_own(batch: Run) -> None:
    own = {"temp": 0.5, "seed": 9, "max_tokens": 2, "stop": ["!", "?"], "schema": {"type": "null"}}
    done = batch([{"prompt": "x", **own, "mine": [1]}, {"prompt": "x"}], "-n", "5", "--temp", "1")
    assert done.code == 0, done
    first, second = answers()
    assert first["fields"] == {"mine": [1]}
    got = {name: first["settings"][name] for name in ("temp", "seed", "max_tokens", "stop")}
    assert got == {
        "temp": {"value": 0.5, "source": "row"},
        "seed": {"value": 9, "source": "row"},
        "max_tokens": {"value": 2, "source": "row"},
        "stop": {"value": ["!", "?"], "source": "row"},
    }
    assert json.loads(first["settings"]["json_schema"]["value"]) == {"type": "null"}
    assert second["settings"]["temp"] == {"value": 1.0, "source": "command line"}
    assert second["settings"]["seed"]["source"] == "hash"
    assert (first["seed"], second["seed"]) == (9, second["settings"]["seed"]["value"])


def test_fields_that_are_data_only(batch: Run) -> None:
    batch([{"prompt": "x", "temp": "warm", "samples": 3}], "--no-row-settings")
    assert answers()[0]["fields"] == {"temp": "warm", "samples": 3}


def test_a_row_without_a_seed_has_one_by_what_it_says_and_how_it_is_answered(batch: Run) -> None:
    def seeds(*arguments: str) -> list[int]:
        batch([OK, {"id": 1, "prompt": "hello"}, OK | {"id": 2}], *arguments, "--fresh")
        return [one["seed"] for one in answers()]

    first = seeds("--temp", "1")
    assert first[0] == first[1] != first[2]
    assert max(first) < 1 << 53
    assert seeds("--temp", "1") == first
    assert seeds("--temp", "0.9")[0] not in first
    assert seeds("--temp", "1", "--seed", "7") == [7, 7, 7]
    assert seeds() == [0, 0, 0], "greedy"


def test_talks(batch: Run, tmp_path: Path) -> None:
    folder = chats.save_chat_tokenizer(tmp_path / "talker", chats.TEMPLATES["chatml"])
    script = Script(talker=str(folder), context=1000)
    hi, thanks = {"role": "user", "content": "hi"}, {"role": "user", "content": "thanks"}
    rows = [
        {"messages": [hi]},
        {"messages": [hi, {"role": "assistant", "content": "hello"}, thanks]},
        {"messages": [{"role": "system", "content": "Mine."}, hi]},
        {"messages": [hi], "system": "Row."},
        {"prompt": "hi"},
        {"prompt": "hi", "system": "Row."},
        {"prompt": "<|im_end|>", "system": "Row."},
    ]
    done = batch(rows, script=script)
    assert done.code == 0, done
    found = answers()
    first, turns, own, row, plain, spoken, quoted = (one["prompt"] for one in found)
    assert first.endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")
    assert turns.startswith(first + "hello<|im_end|>\n<|im_start|>user\nthanks")
    assert own.startswith("<|im_start|>system\nMine.<|im_end|>\n<|im_start|>user\nhi")
    assert row == spoken == own.replace("Mine.", "Row.")
    assert plain == "hi"
    begins = found[0]["prompt_token_ids"][0]
    counts = [one["prompt_token_ids"].count(begins) for one in found]
    assert counts[5] == counts[6], "what a row spells is text"
    assert quoted.count("<|im_end|>") == 3

    done = batch(rows, "--fresh", "--chat", "-s", "All.", script=script)
    assert answers()[0]["prompt"] == own.replace("Mine.", "All.")
    assert answers()[2]["prompt"] == own
    assert answers()[4]["prompt"] == own.replace("Mine.", "All.")


def test_rows_are_read_as_there_is_room(batch: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead: list[int] = []

    def watched(self: Running, rows: Any) -> Any:
        for row in left(self, rows):
            ahead.append(row.number - self.tally.done)
            yield row

    left = Running._left
    monkeypatch.setattr(Running, "_left", watched)
    batch([{"prompt": f"row {number}"} for number in range(300)], script=Script(rows=4))
    assert len(ahead) == 300
    assert max(ahead) <= 5


def test_log_probabilities(batch: Run) -> None:
    batch([OK, OK | {"logprobs": 0}], "--logprobs", "2", "-n", "3")
    first, second = answers()
    assert len(first["logprobs"]) == len(first["token_ids"])
    assert second["settings"]["logprobs"] == {"value": 0, "source": "row"}
    assert "logprobs" not in first["fields"]


def test_what_the_command_line_gets_wrong(batch: Run, tmp_path: Path) -> None:
    batch([OK], "--temp", "-1").fails(2, "--temp must be")
    batch([OK], "-o", "nowhere/out.jsonl").fails(1, "no such folder")
    batch([OK], "-o", ".").fails(1, "it is a folder")
    batch([OK], "--json-schema", "{}x").fails(4, "JSON")
    batch([OK], "-o", "/dev/null").fails(2, "no plain file")
    batch([OK], script=Script(has_tokenizer=False)).fails(3, "no tokenizer")
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl"}


def test_what_is_done_is_not_done_again(batch: Run) -> None:
    first = batch([OK, {"no": 1}])
    before = Path("out.jsonl").read_bytes(), Path("out.jsonl.job").read_bytes()
    again = batch([OK, {"no": 1}])
    assert (first.code, again.code) == (6, 6)
    assert "nothing to do: 2 rows, 1 of them failed" in again.err
    assert again.request is None
    assert (Path("out.jsonl").read_bytes(), Path("out.jsonl.job").read_bytes()) == before
    assert not Path("out.jsonl.partial").exists()


def test_what_runs_beside_is_bounded_as_asked(batch: Run) -> None:
    batch([OK], "--parallel", "3", "--max-memory", "2M", "--deterministic")
    # The command's own process holds the session that it asked.
    found = json.loads(Path("out.jsonl.job").read_bytes())
    assert found["about"]["deterministic"] is True
    again = batch([OK])
    assert again.code == 2
    assert "was made with deterministic true, not false" in again.err
    for arguments, said in (
        (["--max-memory", "lots"], "--max-memory 'lots' is no size"),
        (["--parallel", "0"], "--parallel must be"),
        (["--verify", "0"], "greater than or equal to 1"),
    ):
        refused = batch([OK], *arguments)
        assert refused.code == 2
        assert said in refused.err


def test_rows_run_again_alone_are_compared(batch: Run) -> None:
    rows = [{"prompt": f"row {number}"} for number in range(9)] + [{"id": 1}]
    done = batch(rows, "--verify", "4")
    assert done.code == 6
    assert "verified: 4 rows, run again alone, came out the same" in done.err
    # A finished batch is verified too; one that somebody has meddled with isn't the same.
    assert "verified: 9 rows" in batch(rows, "--verify", "50").err
    path = Path("out.jsonl")
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"finish_reason": "eos"', b'"finish_reason": "sad"', 1))
    found = batch(rows, "--verify", "50")
    assert found.code == 1
    assert "1 of 9 rows came out otherwise when run alone: 1;" in found.err


def test_stdin_can_not_be_verified(command: Run, tmp_path: Path) -> None:
    asked = ("batch", "-o", str(tmp_path / "out.jsonl"), "--verify", "2")
    command(*asked, stdin=line(OK)).fails(2, "--verify reads the rows again")
