"""MXFP4 weights are unpacked as transformers unpacks them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from lmtool.engine.quant.mxfp4 import unpack_mxfp4
from reference.loaded import Loaded
from reference.random_checkpoints import Case, random_ids, reference_greedy, reference_logprobs

WEIGHTS = "model.safetensors"
CASE = Case(
    "gpt_oss packed",
    "GptOss",
    {
        "hidden_size": 64,
        "intermediate_size": 96,
        "head_dim": 16,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 12,
    },
)


def random_packed(*shape: int) -> tuple[Tensor, Tensor]:
    """Blocks of every bit pattern, and scales of weights as large as a model's."""
    blocks = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8)
    return blocks, torch.randint(121, 126, shape, dtype=torch.uint8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_as_transformers_unpacks(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    blocks, scales = random_packed(3, 10, 4)
    scales[0] = torch.randint(0, 250, (10, 4))
    wanted = convert_moe_packed_tensors(blocks, scales, dtype=dtype).transpose(1, 2)
    assert torch.equal(unpack_mxfp4(blocks, scales, dtype), wanted)


def test_a_number_by_hand() -> None:
    """0x21 holds 0.5, then 1.0; a scale of 128 doubles; the high bit is the sign."""
    blocks = torch.tensor([[0x21, 0x9F] + [0] * 14], dtype=torch.uint8)
    got = unpack_mxfp4(blocks, torch.tensor([128], dtype=torch.uint8), torch.float32)
    assert got[:4].tolist() == [1.0, 2.0, -12.0, -1.0]


def test_a_packed_checkpoint_against_transformers(tmp_path: Path) -> None:
    """Experts packed as the published ones are, beside transformers on what it unpacks itself.

    It unpacks a checkpoint by this same function, but only where Accelerate is installed.
    """
    CASE.save(tmp_path / "whole", torch.bfloat16)
    shutil.copytree(tmp_path / "whole", tmp_path / "packed")
    torch.manual_seed(1)
    whole, packed = load_file(tmp_path / "whole" / WEIGHTS), {}
    for name, tensor in list(whole.items()):
        if not name.endswith(("gate_up_proj", "down_proj")):
            packed[name] = tensor
            continue
        experts, inputs, outputs = tensor.shape
        blocks, scales = random_packed(experts, outputs, inputs // 32)
        packed |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        whole[name] = convert_moe_packed_tensors(blocks, scales)
    save_file(whole, tmp_path / "whole" / WEIGHTS, metadata={"format": "pt"})
    save_file(packed, tmp_path / "packed" / WEIGHTS)
    path = tmp_path / "packed" / "config.json"
    quantization = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    config = json.loads(path.read_text()) | {"quantization_config": quantization}
    path.write_text(json.dumps(config))
    loaded, ids = Loaded.open(tmp_path / "packed", torch.float32), random_ids(60)
    wanted = reference_logprobs(tmp_path / "whole", ids)
    for widths in ([60], [7, 30, 23]):
        got = loaded.logprobs(ids, widths, loaded.cache())
        torch.testing.assert_close(got, wanted, atol=1e-4, rtol=0)
    assert loaded.greedy(ids, 32) == [reference_greedy(tmp_path / "whole", ids, 32)]
