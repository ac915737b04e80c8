"""Small random checkpoints, made and saved by transformers itself, and what it computes on them.

Weights are scaled so that every part matters: norms that aren't 1, biases that aren't 0, logits
spread enough that a wrong part changes the greedy choice.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

VOCAB = 211
SMALL: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}


@dataclass(frozen=True)
class Case:
    """A kind of checkpoint: transformers' config class by name, and what differs from SMALL.

    `options` go to save_pretrained.
    """

    name: str
    family: str
    changes: dict[str, Any] = field(default_factory=dict[str, Any])
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict[str, Any])

    def model(self, dtype: torch.dtype = torch.float32) -> Any:
        """A fresh model with random weights, in evaluation mode."""
        config_class = getattr(transformers, f"{self.family}Config")
        torch.manual_seed(self.seed)
        base = {} if "text_config" in self.changes else SMALL  # which then stands within
        # Configs keep the dicts that they are made of, and write to them.
        config = config_class(**deepcopy({**base, **self.changes}))
        model = transformers.AutoModelForCausalLM.from_config(
            config, attn_implementation=attention_of(config.model_type)
        ).eval()
        scramble(model)
        return model.to(dtype)

    def save(self, folder: Path, dtype: torch.dtype = torch.float32, **options: Any) -> Path:
        """Save such a model as transformers does."""
        self.model(dtype).save_pretrained(folder, **self.options, **options)
        return folder


def scramble(model: torch.nn.Module) -> None:
    """Give every parameter values at which it matters."""
    scaled = any(hasattr(module, "scalar_embed_scale") for module in model.modules())
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        if "wpe" in name or "embed_positions" in name:
            # Large, or greedy texts would soon repeat themselves.
            parameter.data = noise
        elif parameter.dim() > 1 and ("embed" in name or "wte" in name):
            # Small beside what the layers add, or a tied head would answer with its own input.
            parameter.data = noise * (0.1 if scaled else 0.4)
        elif parameter.dim() > 1:
            parameter.data = noise * (1.5 / parameter.shape[-1] ** 0.5)
        elif name.endswith("bias"):
            parameter.data = noise * 0.3
        else:
            # Weights of norms begin at 1, or at 0 where 1 is added to them.
            parameter.data = float(bool(parameter.any())) + noise * 0.3
    for name, buffer in model.named_buffers():
        if name.endswith("correction_bias"):
            buffer.copy_(torch.randn_like(buffer) * 0.3)
        elif name.endswith(("act_fn.beta", "act_fn.eps")):
            buffer.mul_(1.4)


def attention_of(model_type: str) -> str:
    """The implementation to compare with: the plain one, but Falcon's adds its ALiBi twice."""
    return "sdpa" if model_type == "falcon" else "eager"


def load(folder: Path, dtype: torch.dtype = torch.float32, attention: str | None = None) -> Any:
    """The checkpoint as transformers loads it. Ropes remember the longest text, so load afresh."""
    if attention is None:
        model_type = json.loads((folder / "config.json").read_text())["model_type"]
        attention = attention_of(model_type)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation=attention
    )
    return model.eval()


def reference_logprobs(folder: Path, ids: list[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """transformers' log-probabilities after each of `ids`, [T, V], from one uncached pass."""
    with torch.inference_mode():
        logits = load(folder, dtype)(torch.tensor([ids]), use_cache=False).logits[0]
    return logits.float().log_softmax(-1)


def reference_greedy(folder: Path, ids: list[int], count: int) -> list[int]:
    """The next `count` ids by transformers' own cached greedy generation."""
    prompt = torch.tensor([ids])
    out = load(folder).generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=count, do_sample=False
    )
    return out[0, len(ids) :].tolist()


def is_greedy(folder: Path, ids: list[int], text: list[int]) -> bool:
    """Whether each of `text` behind `ids` is what transformers finds likeliest, in one pass."""
    with torch.inference_mode():
        logits = load(folder)(torch.tensor([ids + text]), use_cache=False).logits[0]
    return logits[len(ids) - 1 : -1].argmax(-1).tolist() == text


def random_ids(count: int, seed: int = 0) -> list[int]:
    """`count` ids below VOCAB."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, VOCAB, (count,), generator=generator).tolist()
