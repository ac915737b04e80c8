"""What -m may name: the model inside, a path, a repository in the cache."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lmtool import ModelError
from lmtool.tokenizer import locate as module
from lmtool.tokenizer.locate import TOKENIZER, locate

LOCATE = "from lmtool.tokenizer.locate import *; print(locate(*{arguments!r}))"


def test_a_path_that_exists_is_itself(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # an import of it would fail
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "tokenizer.json").touch()
    monkeypatch.chdir(tmp_path)
    assert locate("some") == Path("some")
    assert locate("some/tokenizer.json") == Path("some/tokenizer.json")


@pytest.mark.parametrize("name", ["./nothing", "/nothing/at/all", "a/b/c", "", "a b", "~/no/such"])
def test_what_can_t_be_a_repository_is_a_missing_path(name: str, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match="no such file or folder"):
        locate(name)


def test_default_is_the_folder_inside_the_package(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "__file__", str(tmp_path / "tokenizer" / "locate.py"))
    with pytest.raises(ModelError, match="no default model"):
        locate("default")
    (tmp_path / "models" / "default").mkdir(parents=True)
    assert locate("default") == tmp_path / "models" / "default"


@pytest.fixture
def cache(tmp_path: Path, lmtool_environ: dict[str, str]) -> dict[str, str]:
    """An environment whose Hugging Face cache holds the tokenizer of `someone/model`."""
    repository = tmp_path / "hub" / "models--someone--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "snapshots" / "abc" / "tokenizer.json").write_text("{}")
    # A network that can't be reached would show: the address is nobody's.
    return lmtool_environ | {
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": "http://127.0.0.1:9",
    }


def run_locate(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    call = f"locate({', '.join(arguments)})"
    code = (
        "from lmtool import LmtoolError\nfrom lmtool.tokenizer.locate import *\n"
        f"try: print({call})\nexcept LmtoolError as error: print('error:', error.message)"
    )
    return subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60
    )


def test_a_cached_repository_needs_no_network(cache: dict[str, str]) -> None:
    done = run_locate(cache, "'someone/model'", "False", "TOKENIZER")
    assert done.stdout.strip().endswith("/snapshots/abc"), done.stderr
    assert TOKENIZER.required == ("tokenizer.json",)


def test_what_is_not_cached_is_not_fetched_offline(cache: dict[str, str]) -> None:
    missing = "no such file or folder, and no such repository in the cache"
    done = run_locate(cache, "'someone/other'", "True")
    assert missing in done.stdout
    # Its tokenizer is there, but a checkpoint needs weights too.
    assert missing in run_locate(cache, "'someone/model'", "True").stdout
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        assert missing in run_locate(cache | {variable: "1"}, "'someone/other'").stdout


def test_a_network_out_of_reach_gets_one_line(cache: dict[str, str]) -> None:
    done = run_locate(cache, "'someone/other'")
    assert done.stdout.startswith("error: no such file or folder, and `someone/other` can't be")
    assert done.stdout.count("\n") == 1
