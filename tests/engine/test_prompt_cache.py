"""A prompt kept in a file: what comes back is what would have been computed, to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from safetensors import safe_open

from lmtool import LmtoolError, ModelError
from lmtool.engine.kept import last_border, next_border
from lmtool.engine.knockout import Part
from lmtool.engine.prompt_cache import PromptCache
from lmtool.engine.request import Request, Sampling, Timings, Token
from lmtool.engine.session import Session
from lmtool.engine.weights import fingerprint as fingerprints
from lmtool.engine.weights.checkpoint import open_checkpoint
from lmtool.engine.weights.fingerprint import fingerprint
from reference.cases_experts import LATENT
from reference.random_checkpoints import Case, random_ids
from reference.safetensors_files import data_of, header_of, written

WINDOW = {"sliding_window": 16, "max_position_embeddings": 1024}
CASES: dict[str, tuple[Case, dict[str, Any]]] = {
    "llama": (Case("x", "Llama"), {}),
    "half": (Case("x", "Llama"), {"dtype": "bfloat16"}),
    "codes": (Case("x", "Llama"), {"kv_dtype": "int8"}),
    "window": (Case("x", "Gemma3Text", {**WINDOW, "head_dim": 12}), {}),
    "window codes": (Case("x", "Mistral", WINDOW), {"kv_dtype": "int8", "quant": "int8"}),
    "latent": (Case("x", "DeepseekV2", LATENT), {}),
    "latent codes": (Case("x", "DeepseekV2", LATENT), {"kv_dtype": "int8"}),
}
HOT = Sampling(temperature=1.2, seed=5)
IDS = tuple(random_ids(300))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Session]:
    """Sessions by the name of their case, each loaded once."""
    loaded: dict[str, Session] = {}

    def load(name: str) -> Session:
        if name not in loaded:
            case, options = CASES[name]
            folder = case.save(tmp_path_factory.mktemp("models") / name)
            loaded[name] = Session.load(folder, device="cpu", **options)
        return loaded[name]

    return load


def run(
    session: Session, path: Path, ids: tuple[int, ...], *, read_only: bool = False, **asked: Any
) -> tuple[list[Token], Timings, PromptCache]:
    """What a run with the file says, every number of it."""
    cache = session.prompt_cache(path, read_only)
    request = replace(Request(ids, 8, HOT, logprobs=5), **asked)
    generation = session.generate(request, cache)
    return list(generation), generation.timings, cache


@pytest.mark.parametrize("name", CASES)
def test_the_answer_is_the_same_to_the_bit(
    session: Callable[[str], Session], name: str, tmp_path: Path
) -> None:
    model, path = session(name), tmp_path / "cache"
    first, timings, cache = run(model, path, IDS[:100])
    assert (timings.prompt_tokens, timings.reused_tokens, cache.kept) == (100, 0, 100)
    second, timings, cache = run(model, path, IDS[:100])
    assert (timings.prompt_tokens, timings.reused_tokens, cache.written) == (0, 100, None)
    assert second == first
    for ids, reused in (
        (IDS[:130], 96),  # goes on
        ((*IDS[:70], *IDS[200:250]), 64),  # parts ways
        (IDS[:40], 32),  # ends before
        (IDS[:64], 32),
        (IDS[100:130], 0),  # has nothing in common
    ):
        run(model, path, IDS[:100])
        warm, timings, cache = run(model, path, ids)
        assert (timings.prompt_tokens, timings.reused_tokens) == (len(ids) - reused, reused)
        assert cache.reused == reused
        cold, _, _ = run(model, tmp_path / f"cold{len(ids)}", ids)
        assert warm == cold
        again, _, _ = run(model, path, ids)
        assert again == cold
        path.unlink()


def test_it_says_what_a_run_without_a_file_says(
    session: Callable[[str], Session], tmp_path: Path
) -> None:
    model = session("llama")
    plain = list(model.generate(Request(IDS[:100], 30, HOT)))
    for _ in range(2):
        kept, _, _ = run(model, tmp_path / "cache", IDS[:100], max_new=30)
        assert [token.id for token in kept] == [token.id for token in plain]


def test_a_model_that_lacks_something_has_its_own_file(
    session: Callable[[str], Session], tmp_path: Path
) -> None:
    whole = session("llama")
    lacking, other, same = copy(whole), copy(whole), copy(whole)
    lacking.ablate([Part("head", 1, 2), Part("mlp", 0)], [range(3, 5)])
    other.ablate([Part("head", 1, 2), Part("mlp", 0)], [range(3, 6)])
    same.ablate([Part("mlp", 0), Part("head", 1, 2)], [range(4, 5), range(3, 4)])
    texts: dict[str, list[Token]] = {}
    for name, model in (("whole", whole), ("lacking", lacking), ("other", other)):
        texts[name], _, _ = run(model, tmp_path / name, IDS[:100])
    assert len(set(map(str, texts.values()))) == 3
    for model, file, words in (
        (lacking, "whole", "of `llama` with nothing ablated"),
        (whole, "lacking", "of `llama` with something else ablated"),
        (other, "lacking", "of `llama` with something else ablated"),
    ):
        with pytest.raises(ModelError, match=words):
            model.prompt_cache(tmp_path / file)
    again, timings, _ = run(same, tmp_path / "lacking", IDS[:100])
    assert (again, timings.reused_tokens) == (texts["lacking"], 100)


def test_a_file_takes_what_the_prompt_takes(
    session: Callable[[str], Session], tmp_path: Path
) -> None:
    model, path = session("latent codes"), tmp_path / "cache"
    _, _, cache = run(model, path, IDS[:200])
    assert path.stat().st_size == cache.written
    layers, latent = len(model.spec.layers), 24 + 8
    numbers = 200 * layers * (latent + 4) + 200 * 8 + model.spec.vocab * 4
    assert numbers <= path.stat().st_size < numbers + 4096
    with safe_open(path, "pt") as file:  # as the format's own reader sees it
        assert file.get_tensor("ids").tolist() == list(IDS[:200])
        assert file.get_tensor("layers.0.keys").shape == (1, 200, latent)
        assert file.metadata()["kv_dtype"] == "int8"


def test_rings_that_went_around(session: Callable[[str], Session], tmp_path: Path) -> None:
    model, path = session("window"), tmp_path / "cache"
    ids = tuple(random_ids(900))
    first, _, _ = run(model, path, ids[:800])
    with safe_open(path, "pt") as file:
        widths = {file.get_tensor(f"layers.{n}.keys").shape[1] for n in range(3)}
    assert 16 + 512 in widths
    kept = path.read_bytes()
    assert run(model, path, ids[:800])[0] == first
    for common, end, reused in ((800, 900, 768), (500, 600, 480), (100, 120, 0)):
        path.write_bytes(kept)
        other = (*ids[:common], *random_ids(end - common, seed=9))
        warm, timings, _ = run(model, path, other)
        assert timings.reused_tokens == reused
        assert warm == run(model, tmp_path / f"cold{common}", other)[0]


def test_samples_and_a_prompt_alone(session: Callable[[str], Session], tmp_path: Path) -> None:
    model, path = session("window"), tmp_path / "cache"
    alone, timings, _ = run(model, path, IDS[:90], max_new=0)
    assert (alone, timings.prompt_tokens) == ([], 90)
    cold, _, _ = run(model, tmp_path / "cold", IDS[:90], samples=3)
    warm, timings, _ = run(model, path, IDS[:90], samples=3)
    assert timings.prompt_tokens == 0
    assert warm == cold
    assert {token.sample for token in warm} == {0, 1, 2}
    assert run(model, path, IDS[:90], max_new=0)[1].reused_tokens == 90


def test_scores_of_a_prompt_are_computed(session: Callable[[str], Session], tmp_path: Path) -> None:
    model, path = session("llama"), tmp_path / "cache"
    _, timings, _ = run(model, path, IDS[:90], prompt_logprobs=True)
    # Logits of all places come from a product of another shape: they aren't kept.
    _, timings, cache = run(model, path, IDS[:90])
    assert (timings.reused_tokens, cache.written is None) == (64, False)
    _, timings, cache = run(model, path, IDS[:90], prompt_logprobs=True)
    assert (timings.reused_tokens, cache.written) == (0, None)
    assert run(model, path, IDS[:90])[1].reused_tokens == 90


def test_a_file_to_read_only(session: Callable[[str], Session], tmp_path: Path) -> None:
    model, path = session("llama"), tmp_path / "cache"
    run(model, path, IDS[:100])
    before = path.read_bytes()
    text, timings, cache = run(model, path, IDS[:200], read_only=True)
    assert (timings.reused_tokens, cache.written, cache.kept) == (96, None, 100)
    assert path.read_bytes() == before
    assert text == run(model, path, IDS[:200])[0]
    assert len(path.read_bytes()) > len(before)
    kept = path.read_bytes()
    run(model, path, IDS[:50])  # the file holds it, and more
    assert path.read_bytes() == kept


def test_breaking_off_leaves_the_prompt(session: Callable[[str], Session], tmp_path: Path) -> None:
    model, path = session("llama"), tmp_path / "cache"
    generation = model.generate(Request(IDS[:100], 50, HOT), model.prompt_cache(path))
    next(iter(generation))
    generation.close()
    assert run(model, path, IDS[:100])[1].reused_tokens == 100


def test_a_disk_that_refuses(session: Callable[[str], Session], tmp_path: Path) -> None:
    with pytest.raises(LmtoolError, match="cannot write"):
        run(session("llama"), tmp_path / "none" / "cache", IDS[:40])


def test_guesses_change_nothing(session: Callable[[str], Session], tmp_path: Path) -> None:
    model, path = session("llama"), tmp_path / "cache"
    plain, _, _ = run(model, path, IDS[:40] * 2, max_new=40)
    model.speculate(lookup=4)
    try:
        guessed, _, _ = run(model, path, IDS[:40] * 2, max_new=40)
    finally:
        model.speculate()
    assert [token.id for token in guessed] == [token.id for token in plain]


def refused(session: Session, path: Path, *parts: str) -> None:
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(ModelError) as caught:
        session.prompt_cache(path)
    for part in (f"`{path}`", *parts):
        assert part in caught.value.message
    foreign = "is not a prompt cache" in caught.value.message  # it may be worth keeping
    advice = "let --prompt-cache name another file"
    assert caught.value.hint == (advice if foreign else f"delete it, or {advice}")
    if path.is_file():
        assert path.read_bytes() == before


def test_another_models_file_is_refused(session: Callable[[str], Session], tmp_path: Path) -> None:
    path = tmp_path / "cache"
    run(session("llama"), path, IDS[:40])
    refused(session("window"), path, "another model, `llama`, not of `window`")
    folder = Path(session("llama").card.path)
    for options, words in (
        ({"dtype": "bfloat16"}, "in float32, not bfloat16"),
        ({"kv_dtype": "int8"}, "with keys and values in float32, not int8"),
        ({"quant": "int8"}, "with --quant none, not int8"),
    ):
        refused(Session.load(folder, device="cpu", **options), path, "of `llama`", words)
    adapted = Session.load(folder, device="cpu")
    adapted.adapters = "a digest"
    refused(adapted, path, "with other LoRA adapters")


def test_weights_that_were_trained_on_are_others(tmp_path: Path) -> None:
    folder = Case("x", "Llama", {"vocab_size": 50}).save(tmp_path / "tiny")
    shard = folder / "model.safetensors"
    known = fingerprint(open_checkpoint(folder))
    assert fingerprint(open_checkpoint(folder)) == known
    whole = shard.read_bytes()
    entries = [(n, e) for n, e in header_of(shard).items() if n != "__metadata__"]
    data = len(whole) - len(data_of(shard))
    for size in (fingerprints.WHOLE, 0):
        with patch.object(fingerprints, "WHOLE", size):
            known = fingerprint(open_checkpoint(folder))
            for _, entry in entries:
                for place in (entry["data_offsets"][0], entry["data_offsets"][1] - 1):
                    changed = bytearray(whole)
                    changed[data + place] ^= 1
                    shard.write_bytes(changed)
                    assert fingerprint(open_checkpoint(folder)) != known
            shard.write_bytes(whole)
            assert fingerprint(open_checkpoint(folder)) == known
            config = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))
            assert fingerprint(open_checkpoint(folder)) != known
            (folder / "config.json").write_text(json.dumps(config))


def test_damaged_files_are_refused(session: Callable[[str], Session], tmp_path: Path) -> None:
    model, path = session("codes"), tmp_path / "cache"
    run(model, path, IDS[:40])
    whole, header, data = path.read_bytes(), header_of(path), data_of(path)
    for length in (0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(model, path, "cut short")
    path.write_bytes(whole + b"x")
    refused(model, path, "damaged")
    for garbage in (b"Once upon a time there was", b"\0" * 100, b"PK\3\4" * 50):
        path.write_bytes(garbage)
        refused(model, path)
    for place in (0, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[place] ^= 64
        written(path, header, bytes(changed))
        refused(model, path, "its bytes are not those that were written")
    path.unlink()
    path.mkdir()
    refused(model, path, "is not a file")


def hostile(header: dict[str, Any], name: str, **fields: Any) -> dict[str, Any]:
    return {**header, name: {**header[name], **fields}}


def test_headers_that_lie_are_refused(session: Callable[[str], Session], tmp_path: Path) -> None:
    model, path = session("codes"), tmp_path / "cache"
    run(model, path, IDS[:40])
    header, data = header_of(path), data_of(path)
    keys = header["layers.1.keys"]
    groups, slots, width = keys["shape"]
    for lie, words in (
        (hostile(header, "layers.1.keys", shape=[groups, width, slots]), "`layers.1.keys` is I8"),
        (hostile(header, "layers.1.keys", shape=[groups * slots, 1, width]), "`layers.1.keys`"),
        (hostile(header, "layers.1.keys", dtype="U8"), "`layers.1.keys` is U8"),
        (hostile(header, "layers.1.keys", dtype="F4"), "F4"),
        (hostile(header, "ids", shape=[20, 2]), "it has no ids"),
        (hostile(header, "ids", dtype="F64"), "`ids` is F64"),
        (hostile(header, "logits", shape=[1, model.spec.vocab]), "`logits`"),
        ({("x" if n == "ids" else n): e for n, e in header.items()}, "it has no ids"),
        ({("x" if n == "logits" else n): e for n, e in header.items()}, "`x`, which is nothing"),
        ({("x" if n == "layers.2.values" else n): e for n, e in header.items()}, "it lacks"),
        ({**header, "__metadata__": {}}, "is not a prompt cache"),
        ({**header, "__metadata__": [1]}, "is not a prompt cache"),
        (hostile(header, "__metadata__", format="lmtool prompt cache 9"), "is not a prompt cache"),
        (hostile(header, "__metadata__", crc32=None), "its bytes are not those"),
        (hostile(header, "__metadata__", lmtool="0.0.1"), "of lmtool 0.0.1, and this is"),
        (hostile(header, "__metadata__", model=7), "another"),
    ):
        written(path, lie, data)
        refused(model, path, words)


def test_logits_that_are_not_numbers(session: Callable[[str], Session], tmp_path: Path) -> None:
    model, path = session("llama"), tmp_path / "cache"
    cache = model.prompt_cache(path)
    whole = cache.read
    cache.read = lambda text, kv, logits: whole(text, kv, logits * torch.nan)  # type: ignore[method-assign]
    list(model.generate(Request(IDS[:40], 1, HOT), cache))
    refused(model, path, "its logits are not numbers")


def test_borders() -> None:
    """A prompt's steps are those of any longer one, but for its last."""
    position, seen = 0, [0]
    while position < 9000:
        after = next_border(position)
        assert position < after <= position + 512
        for place in range(position, after):
            assert last_border(place) == position
        position = after
        seen.append(position)
    assert {32, 64, 512, 640, 2048, 2560, 8192} <= set(seen)
