"""safetensors files, true and lying: equal tensors or a `ModelError`, never anything else."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from lmtool import ModelError
from lmtool.engine.weights.mapped import mapped, readable
from lmtool.engine.weights.shards import LARGEST_HEADER, Shard, open_shard
from reference.safetensors_files import Header, bytes_of, described, written

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).view(2, 3),
    "b": torch.tensor([1.5, -2.5], dtype=torch.bfloat16),
    "none": torch.empty(0, 4, dtype=torch.float16),
    "c": torch.tensor(7.0, dtype=torch.float64),
    "d": torch.tensor([[0.5], [65504.0]], dtype=torch.float16),
}


def tensors_of(shard: Shard) -> dict[str, Tensor]:
    return {
        name: mapped(shard, entry, readable(shard, entry, name))
        for name, entry in shard.entries.items()
    }


def refusal(path: Path) -> str:
    """The message with which a file is refused; it names the file, and is one line."""
    with pytest.raises(ModelError) as caught:
        tensors_of(open_shard(path))
    message = caught.value.message
    assert f"`{path}`" in message
    assert "\n" not in message
    assert len(message) < 400
    return message.replace(str(path), "PATH")


def test_a_true_file_gives_its_tensors(tmp_path: Path) -> None:
    got = tensors_of(open_shard(written(tmp_path / "a", *described(TENSORS))))
    assert got.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        torch.testing.assert_close(got[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("padding", range(9))
def test_data_may_begin_anywhere(tmp_path: Path, padding: int) -> None:
    """The format asks for no alignment, so tensors may lie at odd addresses."""
    header, data = described(TENSORS)
    raw = json.dumps(header).encode() + b" " * padding
    got = tensors_of(open_shard(written(tmp_path / "a", raw, data)))
    for name, tensor in TENSORS.items():
        torch.testing.assert_close(got[name], tensor, rtol=0, atol=0)
    product = got["a"] @ got["a"].T
    torch.testing.assert_close(product, TENSORS["a"] @ TENSORS["a"].T)


def test_metadata_and_order_do_not_matter(tmp_path: Path) -> None:
    header, data = described(TENSORS)
    shuffled: Header = {"__metadata__": {"format": "pt"}}
    shuffled |= dict(reversed(header.items()))
    assert tensors_of(open_shard(written(tmp_path / "a", shuffled, data))).keys() == TENSORS.keys()
    assert open_shard(written(tmp_path / "b", {})).entries == {}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_short_says_how_many_bytes_are_missing(
    tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.safetensors"
    header, data = described(TENSORS)
    whole = written(path, header, data).read_bytes()
    cut = int(share * len(whole))
    path.write_bytes(whole[:cut])
    message = refusal(path)
    found = re.search(r"is cut short: (at least )?(\d+) bytes expected, (\d+) there", message)
    assert found is not None, message
    assert int(found[3]) == cut
    header_end = len(whole) - len(data)
    at_least = header_end if cut >= 8 else 8
    assert int(found[2]) == (len(whole) if cut >= header_end else at_least)


@pytest.mark.parametrize("length", [10**6, LARGEST_HEADER, LARGEST_HEADER + 1, 2**63, 2**64 - 1])
def test_a_header_longer_than_the_file(tmp_path: Path, length: int) -> None:
    message = refusal(written(tmp_path / "a", *described(TENSORS), length=length))
    assert str(length + 8) in message or str(length) in message


def test_a_header_length_that_falls_inside_the_header(tmp_path: Path) -> None:
    assert "its header is not JSON" in refusal(
        written(tmp_path / "a", *described(TENSORS), length=20)
    )


def test_a_git_lfs_pointer(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n")
    assert "is a Git LFS pointer, not the weights themselves" in refusal(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nothing") == "cannot read `PATH`: No such file or directory"
    assert refusal(tmp_path) == "cannot read `PATH`: Is a directory"


BAD_HEADERS = {
    "not JSON": b"{\x00}",
    "not JSON, but half": b'{"a": ',
    "not UTF-8": b'{"\xff": 1}',
    "empty": b"",
    "deep": b'{"a":' * 100_000,
    "deep lists": b"[" * 100_000,
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
}


@pytest.mark.parametrize("kind", BAD_HEADERS)
def test_headers_that_are_no_object(tmp_path: Path, kind: str) -> None:
    message = refusal(written(tmp_path / "a", BAD_HEADERS[kind]))
    assert message.startswith("`PATH` is damaged: its header is not")


def entry(**changes: object) -> Callable[[Header], None]:
    """A change of what the header says of `a`, whose 24 bytes begin the data."""

    def change(header: Header) -> None:
        header["a"].update(changes)

    return change


def nonsense(value: object) -> Callable[[Header], None]:
    def change(header: Header) -> None:
        header["a"] = value

    return change


MALFORMED = "the entry of `a` is malformed"
NO_NUMBER = "the entry of `a` has a size that is no whole number"
LIES: dict[str, tuple[Callable[[Header], None], str]] = {
    "overlap": (entry(shape=[7], data_offsets=[0, 28]), "`b` overlaps another tensor"),
    "gap": (entry(shape=[5], data_offsets=[0, 20]), "`b` leaves a gap before it"),
    "late start": (entry(shape=[5], data_offsets=[4, 24]), "`a` leaves a gap before it"),
    "one place twice": (
        lambda h: h.update(again=dict(h["a"])),
        "overlaps another tensor",
    ),
    "backwards": (entry(data_offsets=[24, 0]), "`a` of shape [2, 3] in F32 can't take -24 bytes"),
    "too many for its shape": (
        entry(shape=[2, 2]),
        "`a` of shape [2, 2] in F32 can't take 24 bytes",
    ),
    "dtype of another width": (
        entry(dtype="F16"),
        "`a` of shape [2, 3] in F16 can't take 24 bytes",
    ),
    "huge shape": (entry(shape=[2**40, 2**40]), "can't take 24 bytes"),
    "negative size": (entry(shape=[-2, -3]), NO_NUMBER),
    "negative place": (entry(data_offsets=[-24, 0]), NO_NUMBER),
    "float size": (entry(shape=[2.0, 3]), NO_NUMBER),
    "float place": (entry(data_offsets=[0, 24.0]), NO_NUMBER),
    "boolean size": (entry(shape=[True, 6]), NO_NUMBER),
    "boolean place": (entry(data_offsets=[False, 24]), NO_NUMBER),
    "null size": (entry(shape=[None]), NO_NUMBER),
    "text for a shape": (entry(shape="23"), NO_NUMBER),
    "number for a shape": (entry(shape=6), MALFORMED),
    "three places": (entry(data_offsets=[0, 12, 24]), MALFORMED),
    "no place": (entry(data_offsets=None), MALFORMED),
    "list": (nonsense([1, 2]), MALFORMED),
    "text": (nonsense("F32"), MALFORMED),
    "null": (nonsense(None), MALFORMED),
    "empty": (nonsense({}), MALFORMED),
    "no such dtype": (entry(dtype="F31"), "`a` is stored as F31, which lmtool doesn't read"),
    "a list for a dtype": (entry(dtype=["F32"]), MALFORMED),
    "a number for a dtype": (entry(dtype=32), MALFORMED),
    "an integer dtype": (entry(dtype="I32"), "`a` is stored as I32, which lmtool doesn't read"),
    "a boolean dtype": (
        entry(dtype="BOOL", shape=[24]),
        "`a` is stored as BOOL, which lmtool doesn't read",
    ),
}


@pytest.mark.parametrize("kind", LIES)
def test_entries_that_lie(tmp_path: Path, kind: str) -> None:
    header, data = described(TENSORS)
    change, wanted = LIES[kind]
    change(header)
    assert wanted in refusal(written(tmp_path / "a", header, data))


def test_bytes_that_nobody_describes(tmp_path: Path) -> None:
    header, data = described(TENSORS)
    path = written(tmp_path / "a", header, data + b"x")
    size = path.stat().st_size
    assert refusal(path) == (
        f"`PATH` is damaged: its header describes {size - 1} bytes, the file has {size}"
    )


values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 60)
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(("F32", "BF16", "I64", 2**31, 2**63, 2**64, 10**30)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[object, bytes, int]:
    """A true header with up to three changes anywhere in it, data, and a header length to add."""
    header, data = described(TENSORS)
    header = copy.deepcopy(header)
    for _ in range(draw(st.integers(0, 3))):
        place: Any = header
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and draw(st.booleans()):
                place = place[key]
                continue
            if draw(st.integers(0, 4)):
                place[key] = draw(values)
            else:
                del place[key]
            break
    if draw(st.integers(0, 9)) == 0:
        data = data[: draw(st.integers(0, len(data)))] + draw(st.binary(max_size=3))
    return header, data, draw(st.sampled_from((0, 0, 0, 0, -1, 1, 7, -5)))


@settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(case=mutated())
def test_mutated_files_give_true_tensors_or_a_model_error(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[object, bytes, int]
) -> None:
    header, data, more = case
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    raw = json.dumps(header).encode()
    written(path, raw, data, length=len(raw) + more)
    try:
        got = tensors_of(open_shard(path))
    except ModelError:
        return
    assert isinstance(header, dict)
    assert got.keys() == header.keys() - {"__metadata__"}
    for name, tensor in got.items():
        begin, end = header[name]["data_offsets"]
        assert list(tensor.shape) == header[name]["shape"]
        assert bytes_of(tensor) == data[begin:end]


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(raw=st.binary(max_size=60), place=st.integers(0, 500))
def test_random_bytes_anywhere_are_no_crash(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, place: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.safetensors"
    whole = bytearray(written(path, *described(TENSORS)).read_bytes())
    whole[place : place + len(raw)] = raw
    path.write_bytes(whole)
    try:
        tensors_of(open_shard(path))
    except ModelError:
        return
