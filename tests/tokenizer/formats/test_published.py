"""Well-known pipelines: ours, the library's and transformers' give the same ids and texts."""

from __future__ import annotations

from pathlib import Path

import pytest
import tokenizers

from lmtool.tokenizer.stream import TextStream
from lmtool.tokenizer.tokenizer import Tokenizer
from reference.hard_texts import hard_texts
from reference.published_pipelines import PUBLISHED
from reference.small_tokenizers import nameless


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_pipeline(tmp_path: Path, name: str) -> None:
    path = tmp_path / "tokenizer.json"
    PUBLISHED[name]().save(str(path))
    ours, library = Tokenizer.load(path), tokenizers.Tokenizer.from_file(str(path))
    twin = nameless(library)
    transformers = pytest.importorskip("transformers")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path))
    spelled = "".join(f"a {token}{token} b" for token in ours.added.values())
    for text in [*hard_texts(25, longest=600), spelled, spelled.replace(" ", "")]:
        ids = ours.encode(text, bos="off", special="parse")
        assert ids == theirs.encode(text, add_special_tokens=False)
        plain = twin.encode(text, add_special_tokens=False)
        assert ours.encode(text, bos="off") == plain.ids
        assert ours.character_spans(text) == plain.offsets
        for skip in (True, False):
            decoded = ours.decode(ids, skip_special=skip)
            if not (skip and ours.spelling == "bytes"):
                assert decoded == theirs.decode(ids, skip_special_tokens=skip)
            stream = TextStream(ours, skip_special=skip)
            if len(text) < 1000:
                assert "".join(map(stream.push, ids)) + stream.finish() == decoded
        if ours.spelling == "bytes":
            assert ours.decode_bytes(ours.encode(text, bos="off")).decode() == (
                text if library.normalizer is None else library.normalizer.normalize_str(text)
            )
