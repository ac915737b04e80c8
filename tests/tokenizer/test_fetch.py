"""Repositories by name, from a hub on loopback: what is fetched, kept, resumed, and refused."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lmtool import LmtoolError, ModelError
from lmtool.tokenizer import fetch as module
from lmtool.tokenizer.locate import locate
from lmtool.tokenizer.repository import Wanted
from reference.loopback_hub import COMMIT, LoopbackHub

WEIGHTS = bytes(range(256)) * 4000  # a little over 1 MB
MODEL = {
    "config.json": b'{"model_type": "llama"}',
    "generation_config.json": b"{}",
    "tokenizer.json": b"{ }",
    "tokenizer_config.json": b"{  }",
    "model.safetensors": WEIGHTS,
    "README.md": b"hello",
    "pytorch_model.bin": b"never",
    "modeling_evil.py": b"never",
    "model.Q4.gguf": b"never",
    "original/params.json": b"never",
    "onnx/model.onnx": b"never",
    "consolidated.safetensors": b"never",
}
SHARDS = {f"model-0000{n}-of-00003.safetensors": bytes([n]) * 1000 for n in (1, 2, 3)}
SHARDED = {name: data for name, data in MODEL.items() if name != "model.safetensors"} | {
    "model.safetensors.index.json": json.dumps(
        {"weight_map": {f"w{n}": name for n, name in enumerate(SHARDS)}}
    ).encode(),
    **SHARDS,
}
WANTED = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    """A hub with `org/one` and `org/many`, which this process asks, and a cache of its own."""
    from huggingface_hub import constants

    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # read when it was imported
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with LoopbackHub({"org/one": MODEL, "org/many": SHARDED}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def cached(tmp_path: Path, suffix: str = "") -> list[Path]:
    """Files in the cache, links and locks aside, whose names end with `suffix`."""
    found = (path for path in (tmp_path / "cache").rglob(f"*{suffix}") if ".locks" not in str(path))
    return [path for path in found if path.is_file() and not path.is_symlink()]


class Seen:
    """A watch that writes down what it sees."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int, int, int]] = []
        self.names: list[str] = []
        self.count = 0

    def begin(self, repository: str, files: int, size: int, there: int) -> None:
        self.begun.append((repository, files, size, there))
        self.count = there

    def file(self, name: str) -> None:
        self.names.append(name)

    def advance(self, count: int) -> None:
        self.count += count


def test_a_model_is_fetched_once_and_only_what_is_of_use(hub: LoopbackHub) -> None:
    folder = locate("org/one")
    assert contents(folder) == {name: MODEL[name] for name in (*WANTED, "model.safetensors")}
    assert hub.fetched() == [*WANTED, "model.safetensors"]  # weights last: then all else is there
    assert folder.name == COMMIT
    hub.requests.clear()
    hub.forbidden = True
    for name in ("org/one", f"org/one@{COMMIT}", "org/one@main"):
        assert locate(name) == folder
        assert locate(name, wanted=Wanted.TOKENIZER) == folder
        assert locate(name, offline=True) == folder
    assert hub.requests == []


def test_other_tools_find_what_was_fetched(hub: LoopbackHub) -> None:
    from huggingface_hub import scan_cache_dir, snapshot_download

    folder = locate("org/one")
    hub.forbidden = True
    cache = os.environ["HF_HUB_CACHE"]
    assert snapshot_download("org/one", cache_dir=cache, local_files_only=True) == str(folder)
    (found,) = scan_cache_dir(cache).repos
    assert found.repo_id == "org/one"
    assert [revision.refs for revision in found.revisions] == [frozenset({"main"})]


def test_what_other_tools_fetched_is_found(hub: LoopbackHub) -> None:
    from huggingface_hub import snapshot_download

    cache = os.environ["HF_HUB_CACHE"]
    snapshot_download("org/one", cache_dir=cache, endpoint=hub.endpoint)
    hub.forbidden = True
    assert (locate("org/one") / "model.safetensors").read_bytes() == WEIGHTS


def test_a_sharded_model_comes_whole(hub: LoopbackHub, tmp_path: Path) -> None:
    seen = Seen()
    folder = locate("org/many", watch=seen)
    expected = (*WANTED, "model.safetensors.index.json", *SHARDS)
    assert contents(folder) == {name: SHARDED[name] for name in expected}
    assert seen.begun[-1] == ("org/many", 3, 3000, 0)
    assert (seen.count, seen.names[-3:]) == (3000, list(SHARDS))
    (folder / "model-00002-of-00003.safetensors").unlink()
    hub.requests.clear()
    # The link was lost, but not the content: nothing is fetched anew.
    assert contents(locate("org/many")) == {name: SHARDED[name] for name in expected}
    assert hub.fetched() == []


def test_tokenizer_commands_fetch_the_tokenizer_alone(hub: LoopbackHub) -> None:
    folder = locate("org/one", wanted=Wanted.TOKENIZER)
    assert sorted(contents(folder)) == ["tokenizer.json", "tokenizer_config.json"]
    hub.requests.clear()
    with pytest.raises(ModelError, match=r"the cache lacks config\.json and 1 more"):
        locate("org/one", offline=True)
    assert hub.requests == []
    locate("org/one")
    assert hub.fetched() == ["config.json", "generation_config.json", "model.safetensors"]


def test_a_revision_is_a_snapshot_of_its_own(hub: LoopbackHub, tmp_path: Path) -> None:
    other = "f" * 40
    hub.revisions |= {"v1.0": other, "refs/pr/3": other}
    main, tagged = locate("org/one"), locate("org/one@v1.0")
    assert (main.name, tagged.name) == (COMMIT, other)
    hub.forbidden = True
    assert locate("org/one@v1.0") == tagged
    assert locate("org/one") == main
    # The same content is kept once.
    assert len(cached(tmp_path, "")) == len({*WANTED, "model.safetensors"}) + 2  # and two refs
    hub.forbidden = False
    assert locate("org/one@refs/pr/3") == tagged


def test_a_download_that_is_cut_goes_on_by_itself(hub: LoopbackHub) -> None:
    hub.cut_after = 300_000
    seen = Seen()
    folder = locate("org/one", watch=seen)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    asked = [asked.headers.get("range") for asked in hub.requests if asked.method == "GET"]
    assert asked[-3:] == ["bytes=300000-", "bytes=600000-", "bytes=900000-"]
    assert seen.count == seen.begun[-1][2]


def test_a_download_that_is_cut_off_goes_on_in_the_next_run(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.cut_after = 300_000
    monkeypatch.setattr(module, "RETRIES", -1)
    with pytest.raises(ModelError, match=r"broke off, with 0\.3 of 1\.0 MB of model") as failed:
        locate("org/one")
    assert failed.value.hint == "run it again: it goes on from where it was"
    (part,) = cached(tmp_path, ".incomplete")
    assert part.read_bytes() == WEIGHTS[:300_000]
    with pytest.raises(ModelError, match="no such repository in the cache"):
        locate("org/one", offline=True)
    hub.cut_after = None
    hub.requests.clear()
    seen = Seen()
    folder = locate("org/one", watch=seen)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    (asked,) = (asked for asked in hub.requests if asked.method == "GET" and asked.file)
    assert asked.headers["range"] == "bytes=300000-"
    assert seen.begun == [("org/one", 1, len(WEIGHTS), 300_000)]
    assert seen.count == len(WEIGHTS)
    assert cached(tmp_path, ".incomplete") == []


def test_a_hub_that_begins_anew_is_followed(hub: LoopbackHub) -> None:
    hub.cut_after, hub.cuts, hub.ranges = 300_000, 1, False
    seen = Seen()
    assert (locate("org/one", watch=seen) / "model.safetensors").read_bytes() == WEIGHTS
    assert seen.count == seen.begun[-1][2]


@pytest.mark.parametrize("left", [WEIGHTS + b"more", WEIGHTS])
def test_what_an_earlier_run_left_is_used_if_it_can_be(
    hub: LoopbackHub, tmp_path: Path, left: bytes
) -> None:
    folder = locate("org/one")
    blob = (folder / "model.safetensors").resolve()
    blob.rename(blob.with_name(f"{blob.name}.incomplete"))
    blob.with_name(f"{blob.name}.incomplete").write_bytes(left)
    hub.requests.clear()
    assert (locate("org/one") / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.fetched() == ([] if left == WEIGHTS else ["model.safetensors"])


def test_damaged_content_is_never_kept(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.lies["model.safetensors"] = WEIGHTS[:-1] + b"!"
    with pytest.raises(ModelError, match=r"model\.safetensors` of `org/one` came damaged"):
        locate("org/one")
    assert cached(tmp_path, ".incomplete") == []
    assert not list((tmp_path / "cache").rglob("model.safetensors"))
    hub.lies.clear()
    assert (locate("org/one") / "model.safetensors").read_bytes() == WEIGHTS


REFUSALS: dict[str, tuple[str, dict[str, Any], dict[str, str], list[str]]] = {
    "not found": (
        "org/none",
        {},
        {},
        ["no such file, folder or repository: `org/none`", "HF_TOKEN"],
    ),
    "not found with a token": (
        "none",
        {},
        {"HF_TOKEN": "t"},
        ["no such file", "an account that may"],
    ),
    "no such revision": ("org/one@v9", {}, {}, ["`org/one` has no revision `v9`", "/org/one/refs"]),
    "gated": ("org/one", {"gated": {"org/one"}}, {}, ["is gated", "/org/one, then set HF_TOKEN"]),
    "wrong token": ("org/one", {"token": "a"}, {"HF_TOKEN": "b"}, ["the token", "renew HF_TOKEN"]),
    "forbidden": (
        "org/one",
        {"status": 403},
        {},
        ["doesn't let you read `org/one`", "set HF_TOKEN"],
    ),
    "unauthorized": ("org/one", {"status": 401}, {}, ["doesn't let you read `org/one`"]),
    "broken": ("org/one", {"status": 500}, {}, ["fails (HTTP 500)", "try again later"]),
    "overloaded": ("org/one", {"status": 503}, {}, ["fails (HTTP 503)", "try again later"]),
    "too often": (
        "org/one",
        {"status": 429, "headers": {"Retry-After": "17"}},
        {},
        ["asks for fewer requests", "try again in 17 s; with HF_TOKEN set"],
    ),
    "teapot": ("org/one", {"forbidden": True}, {}, ["refuses `org/one`: nobody should ask"]),
    "pickle": ("org/pickle", {}, {}, ["weights as `pytorch_model.bin`", "run code", "safetensors"]),
    "gguf": ("org/gguf", {}, {}, ["weights as `m.gguf`", "doesn't read"]),
    "no model": ("org/data", {}, {}, ["no language model", "config.json"]),
    "no weights": ("org/empty", {}, {}, ["has no model.safetensors"]),
    "a shard lacking": ("org/lacking", {}, {}, ["lacks `model-00002-of-00003.safetensors`"]),
    "a damaged index": ("org/index", {}, {}, ["index.json of `org/index` is damaged"]),
}
BAD = {
    "org/pickle": {"config.json": b"{}", "pytorch_model.bin": b"x", "tokenizer.json": b"{}"},
    "org/gguf": {"config.json": b"{}", "m.gguf": b"x"},
    "org/data": {"data.csv": b"1,2"},
    "org/empty": {"config.json": b"{}"},
    "org/lacking": {n: d for n, d in SHARDED.items() if "00002" not in n},
    "org/index": SHARDED | {"model.safetensors.index.json": b"{"},
}


@pytest.mark.parametrize("case", REFUSALS)
def test_each_refusal_says_what_to_do(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    name, failing, environ, parts = REFUSALS[case]
    hub.repositories |= BAD
    for field, value in failing.items():
        setattr(hub, field, value)
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ModelError) as failed:
        locate(name)
    said = f"{failed.value.message}; {failed.value.hint}"
    assert "\n" not in said
    for part in parts:
        assert part in said
    # Nothing of it passes for a model.
    with pytest.raises(ModelError):
        locate(name, offline=True)
    never = ("pytorch_model.bin", "m.gguf", "model-00001-of-00003.safetensors")
    assert not set(never) & set(hub.fetched())


def test_a_repository_without_a_tokenizer_has_none_to_fetch(hub: LoopbackHub) -> None:
    hub.repositories["org/none"] = {"config.json": b"{}"}
    with pytest.raises(ModelError, match=r"`org/none` has no tokenizer\.json"):
        locate("org/none", wanted=Wanted.TOKENIZER)
    assert hub.fetched() == []


def test_an_adapter_is_its_config_and_its_tensors(hub: LoopbackHub) -> None:
    files = {"adapter_config.json": b"{}", "adapter_model.safetensors": WEIGHTS}
    others = {"adapter_model.bin": b"never", "tokenizer.json": b"never", "optimizer.pt": b"never"}
    hub.repositories["org/lora"] = files | others
    folder = locate("org/lora", wanted=Wanted.ADAPTER)
    assert contents(folder) == files
    assert locate("org/lora", offline=True, wanted=Wanted.ADAPTER) == folder
    hub.repositories["org/pickled"] = {"adapter_config.json": b"{}", "adapter_model.bin": b"never"}
    with pytest.raises(ModelError, match=r"no adapter .*: it has no adapter_model\.safetensors"):
        locate("org/pickled", wanted=Wanted.ADAPTER)


def test_a_token_opens_what_is_gated(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.gated, hub.token = {"org/one"}, "secret"
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert (locate("org/one") / "model.safetensors").read_bytes() == WEIGHTS


def test_a_hub_out_of_reach_is_named(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        ModelError, match=r"http://127\.0\.0\.1:9 can't be reached.*refused"
    ) as failed:
        locate("org/one")
    assert "a local path starts with ./ or /" in str(failed.value.hint)


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", None])
def test_offline_nothing_is_asked(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    if variable:
        monkeypatch.setenv(variable, "1")
    with pytest.raises(ModelError, match="no such repository in the cache: `org/one`") as failed:
        locate("org/one", offline=variable is None)
    assert "without --offline and HF_HUB_OFFLINE" in str(failed.value.hint)
    assert hub.requests == []


def test_nothing_is_asked_but_what_is_needed(hub: LoopbackHub) -> None:
    locate("org/one", wanted=Wanted.TOKENIZER)
    paths = {asked.path for asked in hub.requests}
    assert all("/org/one/" in path for path in paths), paths


def test_a_full_disk_is_seen_before(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(".")._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(LmtoolError, match=r"takes 0\.00 GB more, and in `.*` 0\.00 GB are free"):
        locate("org/one")
    assert hub.fetched() == []


def test_a_disk_that_fills_up_is_an_error_of_the_disk(hub: LoopbackHub, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))  # Python ignores SIGXFSZ
    try:
        with pytest.raises(LmtoolError, match=r"cannot write .*: File too large") as failed:
            locate("org/one")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not isinstance(failed.value, ModelError)
    assert "HF_HOME" in str(failed.value.hint)
    assert (locate("org/one") / "model.safetensors").read_bytes() == WEIGHTS


def test_a_cache_that_can_t_be_written_is_named(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(LmtoolError, match="cannot write"):
        locate("org/one")


CODE = """
import sys
from lmtool.tokenizer.locate import locate
print(locate("org/one"), flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_ends_in_a_download_leaves_what_the_next_goes_on_from(
    hub: LoopbackHub, tmp_path: Path, lmtool_environ: dict[str, str], how: signal.Signals
) -> None:
    environ = lmtool_environ | {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN_PATH": str(tmp_path / "no token"),
    }
    hub.slow_s = 0.05
    command = [sys.executable, "-c", CODE]
    child = subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL)
    for _ in range(600):
        if any(path.stat().st_size > 100_000 for path in cached(tmp_path, ".incomplete")):
            break
        time.sleep(0.02)
    child.send_signal(how)
    child.wait(10)
    assert not list((tmp_path / "cache").rglob("model.safetensors"))
    (part,) = cached(tmp_path, ".incomplete")
    assert WEIGHTS.startswith(part.read_bytes())
    hub.slow_s = 0.0
    hub.requests.clear()
    assert (locate("org/one") / "model.safetensors").read_bytes() == WEIGHTS
    (asked,) = (asked for asked in hub.requests if asked.method == "GET" and asked.file)
    assert asked.headers["range"].startswith("bytes=")


def test_two_processes_fetch_it_once(
    hub: LoopbackHub, tmp_path: Path, lmtool_environ: dict[str, str]
) -> None:
    environ = lmtool_environ | {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "0",
    }
    hub.slow_s = 0.05
    command = [sys.executable, "-c", CODE]
    children = [
        subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = {child.communicate(timeout=60)[0] for child in children}
    assert [child.returncode for child in children] == [0, 0]
    (folder,) = said
    assert (Path(folder.strip()) / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.fetched().count("model.safetensors") == 1
