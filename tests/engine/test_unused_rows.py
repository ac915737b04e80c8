"""Tokens whose weights look unused: planted rows are found, whichever matrix is the head."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmtool.engine.unused_rows import rows_like_unused
from reference.random_checkpoints import Case


@pytest.mark.parametrize(
    ("tied", "weight", "kind"),
    [(True, "model.embed_tokens.weight", "embedding"), (False, "lm_head.weight", "head")],
)
def test_planted_rows_come_first(tmp_path: Path, tied: bool, weight: str, kind: str) -> None:
    folder = Case("tiny", "Llama", {"tie_word_embeddings": tied}).save(tmp_path / "tiny")
    file = folder / "model.safetensors"
    weights = load_file(file)
    rows, width = weights[weight].shape
    lone = torch.randn(width, generator=torch.Generator().manual_seed(1))
    unused, planted = [1, 2], [7, 30]
    for place, id in enumerate((*unused, *planted, *range(rows - 3, rows))):
        weights[weight][id] = lone * (1 + place / 100)
    save_file(weights, file, {"format": "pt"})
    asked = [id for id in range(rows - 3) if id not in unused]
    found = rows_like_unused(folder, unused, asked, 4)
    assert found is not None
    assert found["weights"] == kind
    assert found["compared_with"] == 2 + 3  # the last three rows are beyond the vocabulary
    assert sorted(one["id"] for one in found["first"][:2]) == planted
    assert found["first"][1]["cosine"] > 0.99 > 0.9 > found["first"][2]["cosine"]
    assert len(found["first"]) == 4
    assert rows_like_unused(folder, [], list(range(rows)), 4) is None
