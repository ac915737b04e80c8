"""`lmtool models`: what is cached, with sizes, and whether it would run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pexpect
import pytest

from lmtool.cli.app import run

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path):
    """`models("--json")`: code, stdout and stderr, with a cache in `tmp_path / "cache"`."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in ("LMTOOL_CONFIG", "FORCE_COLOR", "LMTOOL_JSON"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def ask(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run(["models", *arguments])
        return (code, *capfd.readouterr())

    return ask


def put(tmp_path: Path, name: str, source: Path | None = None, ref: str = "main") -> Path:
    """A snapshot of `name` in the cache, its files those of `source`."""
    folder = tmp_path / "cache" / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True, exist_ok=True)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / ref).write_text(COMMIT)
    if source is not None:
        shutil.copytree(source, snapshot, dirs_exist_ok=True)
    return snapshot


def by_name(out: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(out)}


def test_without_a_cache_there_is_the_model_that_ships(models) -> None:
    code, out, err = models()
    assert (code, err) == (0, "")
    (line,) = out.splitlines()
    name, revision, size, used, family, state = line.split("\t")
    assert (name, revision, used, family, state) == ("default", "-", "-", "llama", "ready")
    assert int(size) > 33_000_000


def test_each_state_is_told(models, tmp_path: Path, checkpoint: Path) -> None:
    put(tmp_path, "org/whole", checkpoint)
    put(tmp_path, "org/tagged", checkpoint, ref="v1.0")
    (put(tmp_path, "org/half", checkpoint) / "model.safetensors").unlink()
    pickled = put(tmp_path, "org/pickled", checkpoint)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    words = put(tmp_path, "org/words", checkpoint)
    for name in ("config.json", "model.safetensors"):
        (words / name).unlink()
    (put(tmp_path, "org/bert", checkpoint) / "config.json").write_text('{"model_type": "bert"}')
    (put(tmp_path, "org/bad", checkpoint) / "config.json").write_text("{")
    (put(tmp_path, "org/cut", checkpoint) / "model.safetensors").write_bytes(b"\0" * 9)
    blobs = tmp_path / "cache" / "models--org--begun" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "abc.incomplete").write_bytes(b"x" * 100)
    (tmp_path / "cache" / "models--org--nothing").mkdir()
    (tmp_path / "cache" / "models--org--file").touch()
    (tmp_path / "cache" / "datasets--org--data").mkdir()
    link = put(tmp_path, "org/links", checkpoint) / "tokenizer.json"
    link.unlink()
    link.symlink_to("nowhere")
    code, out, err = models("--json")
    assert (code, err) == (0, "")
    found = by_name(out)
    states = {name.removeprefix("org/"): one["state"] for name, one in found.items()}
    assert states["whole"] == states["tagged"] == states["links"] == states["default"] == "ready"
    assert states["half"] == "incomplete: lacks model.safetensors"
    assert "pickle" in states["pickled"]
    assert states["words"] == "tokenizer only"
    assert "bert" in states["bert"]
    assert states["bad"].startswith("`config.json` is not JSON")
    assert "model.safetensors" in states["cut"]
    assert states["begun"] == "incomplete: lacks config.json"
    assert not {"nothing", "file", "data"} & set(states)
    whole = found["org/whole"]
    assert whole["size"] == sum(path.stat().st_size for path in checkpoint.iterdir())
    assert (whole["family"], whole["revision"], whole["complete"]) == ("llama", "main", True)
    assert whole["last_used"].endswith("Z")
    assert found["org/tagged"]["revision"] == "v1.0"
    assert found["org/begun"]["size"] == 100
    assert not found["org/bad"]["ready"]
    assert str(tmp_path) not in json.dumps(list(states.values()))


def test_a_cache_that_can_t_be_read_is_empty(models, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert models()[1].count("\n") == 1


def test_a_repository_is_removed_for_good(models, tmp_path: Path, checkpoint: Path) -> None:
    put(tmp_path, "org/one", checkpoint)
    put(tmp_path, "org/two", checkpoint)
    code, out, err = models("--rm", "org/one")
    assert (code, out) == (2, "")
    assert err == "error: --rm asks first, and there is no terminal to answer; add --yes\n"
    assert models("--rm", "org/one", "--yes", "--rm", "org/none")[0] == 3
    assert os.listdir(tmp_path / "cache") == ["models--org--two"]
    for name in ("default", "../cache", "org--two", "", "org/two@main"):
        code, _, err = models("--rm", name, "-y")
        assert code == 3
        assert err == f"error: `{name}` isn't cached; `lmtool models` lists what is\n"
    assert by_name(models("--json")[1]).keys() == {"default", "org/two"}


def test_on_a_terminal_there_is_a_table_and_a_question(
    lmtool_environ: dict[str, str], tmp_path: Path, checkpoint: Path
) -> None:
    import sys

    put(tmp_path, "org/one", checkpoint)
    environ = lmtool_environ | {"HF_HUB_CACHE": str(tmp_path / "cache"), "TERM": "xterm"}
    child = pexpect.spawn(
        "sh",
        ["-c", '"$0" -m lmtool models && "$0" -m lmtool models --rm org/one', sys.executable],
        env=environ,
        encoding="utf-8",
        timeout=30,
        dimensions=(40, 120),
    )
    child.expect("\x1b\\[1mmodel +revision +size  last used  family  state\x1b\\[0m")
    child.expect(r"default  - +33\.5 MB  - +llama   ready\r\n")
    child.expect(r"org/one  main +\d+\.\d kB  today      llama   ready\r\n")
    child.expect(r"remove org/one, \d+\.\d kB, from the cache\? \[y/N\] ")
    child.send("n\r")
    child.expect("kept: org/one")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert (tmp_path / "cache" / "models--org--one").exists()
