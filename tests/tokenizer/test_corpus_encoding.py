"""Corpora as flat ids: equal to tokenizers, the same however often a run is stopped."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmtool import InputError, LmtoolError, UsageError
from lmtool.tokenizer import corpus_encoding, fast, stretches
from lmtool.tokenizer.corpus import Corpus
from lmtool.tokenizer.corpus_encoding import Wishes, encode_corpus
from lmtool.tokenizer.fast import FastEncoder
from lmtool.tokenizer.tokenizer import Special, Tokenizer

from .conftest import Pair

HARD = (
    "The cat's meow isn't 12345 \u00e9 e\u0301 \u3042\u3044\u3046\u3002  \n\n\t x  y   \r\n"
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \u0e2a\u0e27\u0e31 \u4e2d\u6587 "
    "\u1fa7 \ufb01 \u088f \U0001fae8 <|endoftext|> <s> </s> [CLS] \u00a0\u2003 \x00"
    "\x1f def f(x):\n    return x\n"
)


def docs(count: int) -> list[str]:
    chance = random.Random(count)
    words = HARD.split(" ")
    return [" ".join(chance.choices(words, k=chance.randrange(40))) for _ in range(count)]


def ids_in(path: Path) -> list[int]:
    facts = json.loads(path.with_suffix(".json").read_text())
    return np.fromfile(path, {"uint16": "<u2", "uint32": "<u4"}[facts["dtype"]]).tolist()


def jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks so small that a short text has many, and each is recorded."""
    monkeypatch.setattr(stretches, "TASK", 300)
    monkeypatch.setattr(corpus_encoding, "RECORD_S", 0.0)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a short text has the fast encoder prove itself."""
    monkeypatch.setattr(fast, "WORTH_IT", 0)


@pytest.mark.parametrize("special", ["text", "parse"])
def test_ids_are_those_of_each_document_alone(
    pair: Pair, special: Special, small: None, eager: None, tmp_path: Path
) -> None:
    texts = [*docs(60), "", "a", HARD * 3]
    corpus = Corpus((jsonl(tmp_path / "a.jsonl", texts),), exact=True)
    output = tmp_path / "a.bin"
    facts = encode_corpus(corpus, pair.ours, output, Wishes(special, bos="off"))
    library = pair.nameless if special == "text" else pair.reference
    wanted = [library.encode(text, add_special_tokens=False).ids for text in texts]
    assert ids_in(output) == [id for ids in wanted for id in ids]
    offsets = np.fromfile(output.with_suffix(".idx"), "<u8")
    assert offsets.tolist() == [0, *np.cumsum([len(ids) for ids in wanted]).tolist()]
    assert (facts["documents"], facts["tokens"]) == (len(texts), len(ids_in(output)))
    assert facts["bytes"] == sum(len(text.encode()) for text in texts)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.bin",
        "a.idx",
        "a.json",
        "a.jsonl",
    ]


def test_fast_is_tokenizers_on_hard_texts(pair: Pair) -> None:
    """Whatever encodes, each kind of tokenizer keeps its ids; several kinds are fast."""
    encoder = FastEncoder(pair.ours, "text")
    texts = docs(300)
    found = [ids.tolist() for ids in encoder.encode(texts)]
    encoded = pair.nameless.encode_batch(texts, add_special_tokens=False)
    assert found == [one.ids for one in encoded], encoder.name
    assert (encoder.reason is None) == (encoder.name == "gigatoken")


def test_some_tokenizers_are_fast(kinds: dict[str, Pair]) -> None:
    pytest.importorskip("gigatoken")
    encoders = {name: FastEncoder(pair.ours, "text") for name, pair in kinds.items()}
    fast_ones = {name for name, one in encoders.items() if one.name == "gigatoken"}
    assert fast_ones, {name: one.reason for name, one in encoders.items()}


def test_short_texts_pay_for_no_proof(kinds: dict[str, Pair]) -> None:
    encoder = FastEncoder(next(iter(kinds.values())).ours, "text", 1000)
    assert (encoder.name, bool(encoder.reason)) == ("tokenizers", True)


def byte_level(kinds: dict[str, Pair]) -> Tokenizer:
    return next(one.ours for one in kinds.values() if one.ours.spelling == "bytes")


class _StopError(BaseException):
    """What a test stops a run with."""


def test_stopped_at_any_moment_it_ends_with_the_same_bytes(
    kinds: dict[str, Pair], small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = byte_level(kinds)
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.txt").write_text("<sep>".join(docs(25)) + name)
    (tmp_path / "empty.txt").write_text("")
    paths = tuple(sorted(tmp_path.glob("*.txt")))
    corpus = Corpus(paths, ("<sep>",), exact=True)
    encode_corpus(corpus, tokenizer, tmp_path / "whole.bin", Wishes())
    whole = [(tmp_path / f"whole.{end}").read_bytes() for end in ("bin", "idx", "json")]
    write, chance = corpus_encoding._Run._write, random.Random(1)  # pyright: ignore
    output = tmp_path / "x.bin"
    left = 0

    def stopping(self: Any, *rest: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise _StopError
        write(self, *rest)

    for _ in range(4):
        stops = 0
        with monkeypatch.context() as patched:
            patched.setattr(corpus_encoding._Run, "_write", stopping)  # pyright: ignore
            while not output.exists():
                left = chance.randrange(8)
                try:
                    encode_corpus(corpus, tokenizer, output, Wishes())
                except _StopError:
                    stops += 1
                    # What a killed run wrote after its last record.
                    for torn in tmp_path.glob("x.*.partial"):
                        with torn.open("ab") as stream:
                            stream.write(b"torn!"[: chance.randrange(6)])
        assert stops > 2
        found = [(tmp_path / f"x.{end}").read_bytes() for end in ("bin", "idx", "json")]
        assert found == whole
        output.unlink()
        assert not list(tmp_path.glob("*.p*"))


_KILLED = """
import sys, time
from pathlib import Path
from lmtool.tokenizer import corpus_encoding, stretches
from lmtool.tokenizer.corpus import Corpus
from lmtool.tokenizer.tokenizer import Tokenizer
stretches.TASK, corpus_encoding.RECORD_S = 2000, 0.0
tokenizer = Tokenizer.load(Path(sys.argv[1]))
print("ready", flush=True)
corpus_encoding.encode_corpus(
    Corpus((Path(sys.argv[2]),), ("<sep>",), exact=True), tokenizer, Path(sys.argv[3]),
    corpus_encoding.Wishes())
"""


def test_killed_by_the_system_it_goes_on(
    kinds: dict[str, Pair], tmp_path: Path, lmtool_environ: dict[str, str]
) -> None:
    name, pair = next((n, p) for n, p in kinds.items() if p.ours.spelling == "bytes")
    text = tmp_path / "a.txt"
    text.write_text("<sep>".join(docs(3000)))
    whole, output = tmp_path / "whole.bin", tmp_path / "x.bin"
    encode_corpus(Corpus((text,), ("<sep>",), exact=True), pair.ours, whole, Wishes())
    chance = random.Random(name)
    kills = 0
    for _ in range(7):
        arguments = [sys.executable, "-c", _KILLED, str(pair.path), str(text), str(output)]
        with subprocess.Popen(arguments, env=lmtool_environ, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(chance.uniform(0, 0.3))
            child.kill()
            kills += child.wait() != 0
        if output.exists() and not output.with_name("x.bin.progress").exists():
            break
    else:
        encode_corpus(Corpus((text,), ("<sep>",), exact=True), pair.ours, output, Wishes())
    assert kills
    for end in (".bin", ".idx", ".json"):
        assert output.with_suffix(end).read_bytes() == whole.with_suffix(end).read_bytes()


def stopped(corpus: Corpus, tokenizer: Tokenizer, output: Path, after: int = 5) -> None:
    """A run that is stopped after some tasks."""
    calls = 0

    def stop(size: int, tokens: int) -> None:
        nonlocal calls
        calls += 1
        if calls == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_corpus(corpus, tokenizer, output, Wishes(), stop)


def test_another_text_or_setting_is_refused(
    kinds: dict[str, Pair], small: None, tmp_path: Path
) -> None:
    tokenizer = byte_level(kinds)
    text = tmp_path / "a.txt"
    text.write_text("<sep>".join(docs(60)))
    output = tmp_path / "x.bin"
    corpus = Corpus((text,), ("<sep>",), exact=True)
    stopped(corpus, tokenizer, output)
    with pytest.raises(UsageError, match="another --doc-separator"):
        encode_corpus(Corpus((text,), ("x",), exact=True), tokenizer, output, Wishes())
    with pytest.raises(UsageError, match="another --special"):
        encode_corpus(corpus, tokenizer, output, Wishes(special="parse"))
    other = next(one.ours for one in kinds.values() if one.ours is not tokenizer)
    with pytest.raises(UsageError, match="another tokenizer"):
        encode_corpus(corpus, other, output, Wishes(bos="off"))
    was = text.stat()
    text.write_bytes(b"b" + text.read_bytes()[1:])
    with pytest.raises(UsageError, match="other files"):
        encode_corpus(corpus, tokenizer, output, Wishes())
    os.utime(text, ns=(was.st_atime_ns, was.st_mtime_ns))
    with pytest.raises(UsageError, match="the text that was read has changed"):
        encode_corpus(corpus, tokenizer, output, Wishes())
    facts = encode_corpus(corpus, tokenizer, output, Wishes(fresh=True))
    assert facts["tokens"] == len(ids_in(output))


def test_a_second_run_is_refused(kinds: dict[str, Pair], small: None, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("some text " * 200)
    corpus, output = Corpus((text,), exact=True), tmp_path / "x.bin"
    tokenizer = byte_level(kinds)

    def again(size: int, tokens: int) -> None:
        with pytest.raises(UsageError, match="another run is writing"):
            encode_corpus(corpus, tokenizer, output, Wishes())

    encode_corpus(corpus, tokenizer, output, Wishes(), again)
    assert output.exists()


def test_files_of_others_stay(kinds: dict[str, Pair], tmp_path: Path) -> None:
    tokenizer = byte_level(kinds)
    (tmp_path / "x.json").write_text('{"mine": 1}')
    (tmp_path / "a.txt").write_text("text")
    for name, output, message in (
        ("x.json", "x.bin", "would be overwritten"),
        ("a.txt", "a.txt", "would be overwritten"),
        ("a.txt", "x.bin", "not written with a corpus"),
    ):
        corpus = Corpus((tmp_path / name,), exact=True)
        with pytest.raises(UsageError, match=message):
            encode_corpus(corpus, tokenizer, tmp_path / output, Wishes())
    corpus = Corpus((tmp_path / "a.txt",), exact=True)
    with pytest.raises(LmtoolError, match="cannot write"):
        encode_corpus(corpus, tokenizer, tmp_path / "none" / "y.bin", Wishes())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "x.json"]


def bad_inputs(folder: Path) -> Iterator[tuple[Path, str]]:
    yield (folder / "latin.txt"), "not UTF-8"
    (folder / "latin.txt").write_bytes(b"good text\n" * 200 + b"caf\xe9\n")
    yield (folder / "cut.txt.gz"), "cannot read"
    (folder / "cut.txt.gz").write_bytes(gzip.compress(os.urandom(3000).hex().encode())[:-900])
    yield (folder / "row.jsonl"), "line 2"
    (folder / "row.jsonl").write_text('{"text": "a"}\n{"text": \n')
    yield (folder / "empty.txt"), "no text"
    (folder / "empty.txt").write_text("")


def test_bad_input_leaves_nothing(kinds: dict[str, Pair], small: None, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    before = list(bad_inputs(tmp_path))
    for path, message in before:
        with pytest.raises(InputError, match=message):
            encode_corpus(
                Corpus((path,), exact=True), byte_level(kinds), folder / "x.bin", Wishes()
            )
        assert not list(folder.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on files")
def test_a_full_disk_can_be_gone_on_from(
    kinds: dict[str, Pair], small: None, tmp_path: Path
) -> None:
    import resource

    text = tmp_path / "a.txt"
    text.write_text(" ".join(docs(400)))
    corpus, output = Corpus((text,), exact=True), tmp_path / "x.bin"
    tokenizer = byte_level(kinds)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(LmtoolError, match="cannot write"):
            encode_corpus(corpus, tokenizer, output, Wishes())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not output.exists()
    assert output.with_name("x.bin.progress").exists()
    encode_corpus(corpus, tokenizer, output, Wishes())
    encode_corpus(corpus, tokenizer, tmp_path / "whole.bin", Wishes())
    assert output.read_bytes() == (tmp_path / "whole.bin").read_bytes()


def test_a_wrong_encoder_is_found_out(
    kinds: dict[str, Pair],
    small: None,
    eager: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that passes the probe and then errs: everything is done again without it."""
    text = tmp_path / "a.txt"
    text.write_text("right " * 300)

    class Wrong:
        def encode(self, data: bytes) -> Any:
            return np.zeros(3, np.uint32)

    monkeypatch.setattr(FastEncoder, "_proved", lambda self: Wrong())
    tokenizer, output = byte_level(kinds), tmp_path / "x.bin"
    facts = encode_corpus(Corpus((text,), exact=True), tokenizer, output, Wishes(bos="off"))
    assert facts["encoder"] == "tokenizers"
    assert "sample" in facts["encoder_reason"]
    assert ids_in(output) == tokenizer.encode(text.read_text(), bos="off")


def test_a_long_document_is_cut_and_stays_the_same(
    kinds: dict[str, Pair], small: None, eager: None, tmp_path: Path
) -> None:
    tokenizer = byte_level(kinds)
    text = "".join(docs(200)) + "a" * 5000 + " \n" * 3000
    (tmp_path / "a.txt").write_text(text, newline="")
    corpus, output = Corpus((tmp_path / "a.txt",), exact=True), tmp_path / "x.bin"
    facts = encode_corpus(corpus, tokenizer, output, Wishes(bos="off"))
    assert facts["documents"] == 1
    library = kinds["byte_level"].nameless
    assert ids_in(output) == library.encode(text, add_special_tokens=False).ids


def test_end_tokens_stand_behind_each_document(tmp_path: Path, checkout: Path) -> None:
    tokenizer = Tokenizer.load(checkout / "models" / "default")
    path = jsonl(tmp_path / "a.jsonl", ["one", "", "two"])
    output = tmp_path / "x.bin"
    encode_corpus(
        Corpus((path,), exact=True), tokenizer, output, Wishes(bos="off", append_eos=True)
    )
    (end,) = tokenizer.eos_ids
    assert [at for at, id in enumerate(ids_in(output), 1) if id == end] == np.fromfile(
        output.with_suffix(".idx"), "<u8"
    ).tolist()[1:]
