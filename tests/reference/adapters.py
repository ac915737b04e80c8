"""LoRA adapters as peft saves them, with random factors, and what peft computes with them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reference.random_checkpoints import load


def save_adapter(base: Path, folder: Path, seed: int = 1, **config: Any) -> Path:
    """An adapter for the checkpoint `base` whose trained tensors all matter, as peft saves it."""
    from peft import LoraConfig, get_peft_model

    config = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear"} | config
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(load(base), LoraConfig(task_type="CAUSAL_LM", **config))
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "magnitude" in name:
                parameter.data.mul_(1 + 0.3 * noise.abs())
            elif parameter.requires_grad:
                parameter.data.add_(noise * 0.2)
        model.save_pretrained(folder)
    return folder


def peft_logprobs(base: Path, adapters: Sequence[tuple[Path, float]], ids: list[int]) -> Tensor:
    """Log-probabilities after each of `ids`, [T, V], with adapters beside the model, as peft."""
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = [f"adapter{number}" for number in range(len(adapters))]
        model = PeftModel.from_pretrained(load(base), adapters[0][0], adapter_name=names[0])
        for name, (folder, _) in zip(names[1:], adapters[1:], strict=True):
            model.load_adapter(folder, adapter_name=name)
        model.base_model.set_adapter(names)
        for module in model.modules():
            for name, (_, scale) in zip(names, adapters, strict=True):
                if isinstance(module, LoraLayer) and name in module.scaling:
                    module.set_scale(name, scale)
        with torch.inference_mode():
            logits = model.eval()(torch.tensor([ids]), use_cache=False).logits[0]
    return logits.float().log_softmax(-1)


def change_config(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Edit an adapter's config in place."""
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
