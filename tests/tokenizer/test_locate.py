"""What -m may name: the model inside, a path, a repository in the cache."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lmtool import ModelError
from lmtool.tokenizer import locate as module
from lmtool.tokenizer.locate import locate
from lmtool.tokenizer.repository import (
    Repository,
    Wanted,
    cache_folder,
    choose,
    missing,
    parse_id,
    shards_named,
)


def test_a_path_that_exists_is_itself(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # an import of it would fail
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "tokenizer.json").touch()
    monkeypatch.chdir(tmp_path)
    assert locate("some") == Path("some")
    assert locate("some/tokenizer.json") == Path("some/tokenizer.json")


@pytest.mark.parametrize(
    "name",
    [
        *("./nothing", "/nothing/at/all", "a/b/c", "", "a b", "~/no/such", "a/b@", "a/b@c d"),
        *("a/b@../c", "../a", "a/..", "a--b/c", "@main", "a/b@/c", "\0", "x" * 5000 + " "),
    ],
)
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


@pytest.mark.parametrize(
    ("text", "name", "revision"),
    [
        ("gpt2", "gpt2", "main"),
        ("org/name", "org/name", "main"),
        ("org/name-1.5B_x@v1.0", "org/name-1.5B_x", "v1.0"),
        ("org/name@refs/pr/3", "org/name", "refs/pr/3"),
        (
            "a/b@0123456789abcdef0123456789abcdef01234567",
            "a/b",
            "0123456789abcdef" * 2 + "01234567",
        ),
    ],
)
def test_a_repository_may_name_its_revision(text: str, name: str, revision: str) -> None:
    assert parse_id(text) == Repository(name, revision)
    assert str(Repository(name, revision)) == text


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({}, "~/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"HF_HOME": "~/hf", "XDG_CACHE_HOME": "/x"}, "~/hf/hub"),
        ({"HUGGINGFACE_HUB_CACHE": "/old", "HF_HOME": "/hf"}, "/old"),
        ({"HF_HUB_CACHE": "/new", "HUGGINGFACE_HUB_CACHE": "/old"}, "/new"),
    ],
)
def test_the_cache_lies_where_hugging_face_s_tools_have_it(
    environ: dict[str, str], folder: str
) -> None:
    assert cache_folder(environ) == Path(folder).expanduser()


NAMES = (
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("vocab.json", "merges.txt", "tokenizer.model", "qwen.tiktoken", "chat_template.jinja"),
    *("model.safetensors.index.json", "model-00001-of-00002.safetensors", "README.md", ".x.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json", "modeling_x.py", "x.gguf", "x.pt"),
    *("original/consolidated.00.pth", "original/params.json", "onnx/model.onnx", "LICENSE"),
    *("consolidated.safetensors", "adapter_model.safetensors", "../evil.json", "a\\b.json"),
)
TOKENIZER_FILES = [
    *("chat_template.jinja", "merges.txt", "qwen.tiktoken", "tokenizer.json", "tokenizer.model"),
    *("tokenizer_config.json", "vocab.json"),
]


def test_only_what_is_of_use_is_chosen() -> None:
    assert choose(NAMES, Wanted.TOKENIZER) == TOKENIZER_FILES
    others = ["config.json", "generation_config.json", *TOKENIZER_FILES]
    assert choose(NAMES, Wanted.MODEL) == [*others, "model.safetensors.index.json"]
    # A single file is what loading takes, so the shards beside it aren't fetched.
    assert choose([*NAMES, "model.safetensors"], Wanted.MODEL) == [*others, "model.safetensors"]


@pytest.mark.parametrize(
    "text",
    [
        *("{", "[]", "{}", "[" * 9999, '{"weight_map": []}', '{"weight_map": {"a": "x.bin"}}'),
        *('{"weight_map": {"a": "../x.safetensors"}}', '{"weight_map": {"a": "/x.safetensors"}}'),
    ],
)
def test_an_index_that_names_no_shards_is_refused(tmp_path: Path, text: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    with pytest.raises((ValueError, RecursionError)):
        shards_named(index)
    (tmp_path / "config.json").touch()
    assert missing(tmp_path, Wanted.MODEL) == ["model.safetensors"]
