"""`lmtool generate` on real checkpoints: transformers' text, and one line for each damaged one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Run

RunLmtool = Callable[..., "subprocess.CompletedProcess[bytes]"]
Damage = Callable[[Path], None]
GREEDY = ("--temp", "0", "--ignore-eos")


def transformers_continues(folder: Path, ids: list[int], count: int) -> list[int]:
    """The ids that transformers chooses greedily."""
    from torch import tensor

    from reference.random_checkpoints import load

    model = load(folder)
    out = model.generate(tensor([ids]), max_new_tokens=count, do_sample=False, eos_token_id=None)
    return out[0].tolist()[len(ids) :]


def test_text_is_transformers_own(real: Run, checkpoint: Path) -> None:
    from tokenizers import Tokenizer

    prompt = "The old lighthouse"
    found = real(prompt, "-m", str(checkpoint), "-n", "24", "--json", *GREEDY).json
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    assert found["prompt_token_ids"] == tokenizer.encode(prompt).ids
    expected = transformers_continues(checkpoint, found["prompt_token_ids"], 24)
    assert found["token_ids"] == expected
    assert found["text"] == tokenizer.decode(expected)
    assert found["finish_reason"] == "length"
    assert found["model"]["family"] == "llama"
    assert found["model"]["dtype"] == "float32"
    assert found["model"]["path"] == str(checkpoint)


def test_streamed_text_is_the_json_s_text(
    run_lmtool: RunLmtool, real: Run, checkpoint: Path
) -> None:
    arguments = ("むかし", "-m", str(checkpoint), "-n", "20", *GREEDY)
    ran = run_lmtool("generate", "-t", "1", *arguments, fresh=True)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout.decode() == real(*arguments, "--json").json["text"]


def test_same_seed_is_the_same_text(real: Run, checkpoint: Path) -> None:
    arguments = ("Once", "-m", str(checkpoint), "-n", "12", "--temp", "1.5", "--json")
    first = real(*arguments, "--seed", "5", "--samples", "3").json
    again = real(*arguments, "--seed", "5", "--samples", "3").json
    other = real(*arguments, "--seed", "6").json
    ids = [one["token_ids"] for one in first]
    assert [one["token_ids"] for one in again] == ids
    assert len(set(map(tuple, [*ids, other["token_ids"]]))) == 4
    assert real(*arguments, "--seed", str(other["seed"])).json["token_ids"] == other["token_ids"]


def test_logprobs_are_sorted_and_of_the_model(real: Run, checkpoint: Path) -> None:
    ran = real("Once", "-m", str(checkpoint), "-n", "4", "--logprobs", "3", "--json", *GREEDY)
    for one in ran.json["logprobs"]:
        chances = [other["logprob"] for other in one["top"]]
        assert len(chances) == 3
        assert chances == sorted(chances, reverse=True)
        assert one["logprob"] == chances[0] < 0  # greedy takes the likeliest


def test_echo_scores_the_prompt(real: Run, checkpoint: Path) -> None:
    arguments = ("Once upon", "-m", str(checkpoint), "--json", "--echo", "--logprobs", "0")
    found = real(*arguments, "-n", "2", *GREEDY).json
    ids = found["prompt_token_ids"] + found["token_ids"]
    assert [one["id"] for one in found["logprobs"]] == ids
    assert [one["logprob"] is None for one in found["logprobs"]] == [True] + [False] * (
        len(ids) - 1
    )


def test_no_tokens_at_all_is_a_length_too(real: Run, checkpoint: Path) -> None:
    found = real("Once", "-m", str(checkpoint), "-n", "0", "--json", *GREEDY).json
    assert (found["text"], found["token_ids"], found["finish_reason"]) == ("", [], "length")


def test_stop_ends_the_text_before_it(real: Run, checkpoint: Path) -> None:
    arguments = ("Once", "-m", str(checkpoint), "-n", "30", "--json", *GREEDY)
    whole = real(*arguments).json["text"]
    stop = whole[len(whole) // 2 :][:2]
    place = whole.index(stop)
    found = real(*arguments, "--stop", stop).json
    assert (found["text"], found["finish_reason"]) == (whole[:place], "stop")
    kept = real(*arguments, "--stop", stop, "--keep-stop").json
    assert kept["text"] == whole[: place + len(stop)]


def test_stop_token_ends_the_text(real: Run, checkpoint: Path) -> None:
    arguments = ("Once", "-m", str(checkpoint), "-n", "9", "--json", *GREEDY)
    ids = real(*arguments).json["token_ids"]
    found = real(*arguments, "--stop-token", str(ids[4])).json
    assert found["finish_reason"] == "stop"
    assert found["token_ids"] == ids[: ids.index(ids[4]) + 1]


def test_text_runs_to_the_context_s_end(real: Run, checkpoint: Path) -> None:
    arguments = ("--token-ids", "5,6,7", "-m", str(checkpoint), "-c", "16", "--json", *GREEDY)
    found = real(*arguments, "-n", "-1").json
    assert (len(found["token_ids"]), found["finish_reason"]) == (13, "context")


def test_context_beyond_the_model_s_own_is_said(real: Run, checkpoint: Path) -> None:
    done = real("-m", str(checkpoint), "one two", "-n", "2", "-c", "100000")
    assert done.code == 0
    assert "a context of 100000 tokens is more than the" in done.err


def test_overflow_names_both_counts(real: Run, checkpoint: Path) -> None:
    ids = ",".join(map(str, range(5, 45)))
    arguments = ("--token-ids", ids, "-m", str(checkpoint), "-c", "16")
    real(*arguments).fails(4, "40", "16", "--overflow")
    ran = real(*arguments, "--overflow", "truncate-left", "-n", "4", "--json", *GREEDY)
    assert ran.json["prompt_token_ids"] == list(range(33, 45))


def test_prompt_errors_come_from_the_engine_too(real: Run, checkpoint: Path) -> None:
    real("--token-ids", "5,9999", "-m", str(checkpoint)).fails(4, "9999")
    real("--token-ids", "", "-m", str(checkpoint)).fails(4, "empty")
    real("x", "-m", str(checkpoint), "--bos", "on").fails(2, "begin-of-text")
    real("x", "-m", str(checkpoint), "--device", "cuda").fails(2, "cuda")


def test_checkpoint_without_a_tokenizer_takes_ids(
    real: Run, checkpoint: Path, tmp_path: Path
) -> None:
    folder = copied(checkpoint, tmp_path)
    (folder / "tokenizer.json").unlink()
    real("Once", "-m", str(folder)).fails(3, "tokenizer.json", "--token-ids")
    found = real("--token-ids", "5 6", "-m", str(folder), "-n", "3", "--json", *GREEDY).json
    assert (found["text"], len(found["token_ids"])) == (None, 3)
    ran = real("--token-ids", "5 6", "-m", str(folder), "-n", "3", *GREEDY)
    assert ran.out == " ".join(map(str, found["token_ids"]))


def copied(checkpoint: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "damaged"
    shutil.copytree(checkpoint, folder)
    return folder


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def leave_a_pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 1000\n"
    )


def lie_about_the_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 40) + path.read_bytes()[8:])


def edit_header(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "model.safetensors"
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    edit(header)
    text = json.dumps(header).encode()
    text += b" " * (length - len(text))
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def overlap(folder: Path) -> None:
    def edit(header: dict[str, Any]) -> None:
        first, second = [name for name in header if "layernorm" in name][:2]
        header[second]["data_offsets"] = header[first]["data_offsets"]

    edit_header(folder, edit)


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def forget_a_shard(folder: Path) -> None:
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors").rename(folder / names["a"])
    index = {"weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def pickle_it(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    # Opening it would run this: a pickle that creates a file.
    opened = folder / "opened"
    (folder / "pytorch_model.bin").write_bytes(f"cposix\nsystem\n(S'touch {opened}'\ntR.".encode())


def poison(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"] *= float("nan")
    save_file(weights, path, metadata={"format": "pt"})


DAMAGES: dict[str, tuple[Damage, list[str]]] = {
    "no config": (lambda folder: (folder / "config.json").unlink(), ["config.json"]),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), ["safetensors"]),
    "a shard is missing": (forget_a_shard, ["model-00002-of-00002.safetensors"]),
    "a shard is cut short": (cut_short, ["model.safetensors", "bytes"]),
    "an LFS pointer": (leave_a_pointer, ["model.safetensors", "Git LFS pointer"]),
    "a header that lies": (lie_about_the_header, ["model.safetensors"]),
    "weights that overlap": (overlap, ["model.safetensors", "overlap"]),
    "shapes against the config": (
        lambda folder: edit_config(folder, intermediate_size=81),
        ["shape", "config.json"],
    ),
    "an unknown architecture": (
        lambda folder: edit_config(folder, model_type="frobnicator"),
        ["`frobnicator`", "llama", "qwen3"],
    ),
    "a pickle": (pickle_it, ["pytorch_model.bin"]),
    "config that is no JSON": (
        lambda folder: (folder / "config.json").write_text("{"),
        ["config.json", "JSON"],
    ),
    "tokenizer that is no JSON": (
        lambda folder: (folder / "tokenizer.json").write_text("{"),
        ["tokenizer.json"],
    ),
    "logits that are no numbers": (poison, ["NaN"]),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_checkpoint_is_one_line(
    real: Run, checkpoint: Path, tmp_path: Path, name: str
) -> None:
    damage, parts = DAMAGES[name]
    folder = copied(checkpoint, tmp_path)
    damage(folder)
    real("Once", "-m", str(folder), *GREEDY).fails(3, *parts)
    assert not (folder / "opened").exists()


def test_cut_shard_names_both_sizes(real: Run, checkpoint: Path, tmp_path: Path) -> None:
    folder = copied(checkpoint, tmp_path)
    size = (folder / "model.safetensors").stat().st_size
    cut_short(folder)
    real("Once", "-m", str(folder)).fails(3, f"{size}", f"{size - 100}")


def test_vocabulary_larger_than_the_embedding(real: Run, checkpoint: Path, tmp_path: Path) -> None:
    from reference.random_checkpoints import Case

    folder = copied(checkpoint, tmp_path)
    Case("small", "Llama", {"vocab_size": 300}).save(folder)
    real("Once", "-m", str(folder)).fails(3, "300")


def test_no_such_model_is_named(real: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    real("Once", "-m", "./nowhere").fails(3, "`./nowhere`")
    real("Once", "-m", "nobody/nothing", "--offline").fails(3, "`nobody/nothing`", "offline")
    real("Once", "-m", "").fails(2, "--model must be text that is not empty")


def test_pipes_and_signals_with_the_real_engine(
    lmtool_environ: dict[str, str], checkpoint: Path, tmp_path: Path
) -> None:
    """One run of each kind: the scripted model's tests go into the details."""
    command = [sys.executable, "-m", "lmtool", "generate", "-m", str(checkpoint), "-t", "1"]
    endless = ["-q", "--temp", "1", "--seed", "1", "--ignore-eos", "-n", "-1", "-c", "100000"]
    pipe = subprocess.Popen(
        [*command, *endless],
        env=lmtool_environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert pipe.stdin is not None
    assert pipe.stdout is not None
    pipe.stdin.write(b"Once")
    pipe.stdin.close()
    assert pipe.stdout.read(100)
    pipe.stdout.close()
    assert pipe.wait(30) == 141
    assert pipe.stderr is not None
    assert pipe.stderr.read() == b""

    for moment in ("importing", "decoding"):
        process = subprocess.Popen(
            [*command, *endless, "Once"],
            env=lmtool_environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        if moment == "decoding":
            assert os.read(process.stdout.fileno(), 100)
        else:
            time.sleep(0.6)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (130, b""), moment
        assert time.monotonic() - began < 5
