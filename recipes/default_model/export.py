"""The trained state as a folder in the Hugging Face format of Llama."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model import Decoder, ModelConfig
from train import load_state

# Chosen by reading samples: hot enough to tell a new story each time, and `min_p` cuts off what
# the model itself thinks far less likely than its best guess (Nguyen et al. 2024). Without the
# penalty, Japanese that opens by repeating itself goes on doing so.
SAMPLING = {
    "do_sample": True,
    "temperature": 0.7,
    "top_p": 0.95,
    "top_k": 0,
    "min_p": 0.05,
    "repetition_penalty": 1.2,
}

# Our stacked weight -> the name of its slices in Hugging Face's LlamaForCausalLM.
LAYER_NAMES = {
    "q": "self_attn.q_proj.weight",
    "k": "self_attn.k_proj.weight",
    "v": "self_attn.v_proj.weight",
    "o": "self_attn.o_proj.weight",
    "gate": "mlp.gate_proj.weight",
    "up": "mlp.up_proj.weight",
    "down": "mlp.down_proj.weight",
    "attention_norm": "input_layernorm.weight",
    "feed_norm": "post_attention_layernorm.weight",
}
NAMES = {
    "embed": "model.embed_tokens.weight",
    "final_norm": "model.norm.weight",
    "head": "lm_head.weight",
}


def export(work: Path, out: Path, tokenizer: Path) -> None:
    """Writes the state in `work` into the folder `out`, with the tokenizer of a folder.

    That is weights (float32), config, sampling settings and tokenizer.
    """
    state = load_state(work / "state.pt")
    config = ModelConfig(**state["config"])
    out.mkdir(parents=True, exist_ok=True)
    weights = to_hugging_face(state["optimizer"]["master"], config)
    file = out / "model.safetensors"
    save_file(weights, file, metadata={"format": "pt"})
    file.chmod(0o644)  # safetensors makes it readable by its owner alone
    _write_json(out / "config.json", llama_config(config))
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    _write_json(out / "generation_config.json", {**ends, **SAMPLING})
    shutil.copyfile(tokenizer / "tokenizer.json", out / "tokenizer.json")
    settings = json.loads((tokenizer / "tokenizer_config.json").read_text("utf-8"))
    settings["model_max_length"] = config.max_positions
    _write_json(out / "tokenizer_config.json", settings)
    difference = difference_from_transformers(out)
    print(f"exported to {out}; largest log-probability difference: {difference}", flush=True)


def to_hugging_face(master: dict[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Stacked weights -> one tensor for each layer and name."""
    weights = {name: master[ours].contiguous() for ours, name in NAMES.items()}
    for ours, name in LAYER_NAMES.items():
        for layer in range(config.layers):
            weights[f"model.layers.{layer}.{name}"] = master[ours][layer].clone()
    return weights


def load_decoder(folder: Path) -> Decoder:
    """An exported folder as the decoder of this recipe, in float32."""
    stored = json.loads((folder / "config.json").read_text("utf-8"))
    config = ModelConfig(
        vocab=stored["vocab_size"],
        hidden=stored["hidden_size"],
        layers=stored["num_hidden_layers"],
        heads=stored["num_attention_heads"],
        head_dim=stored["head_dim"],
        feed=stored["intermediate_size"],
        max_positions=stored["max_position_embeddings"],
        rope_theta=stored["rope_theta"],
        norm_eps=stored["rms_norm_eps"],
    )
    assert llama_config(config) == stored, "config.json holds what this recipe never writes"
    weights = load_file(folder / "model.safetensors")
    stacked = {ours: weights[name] for ours, name in NAMES.items()}
    for ours, name in LAYER_NAMES.items():
        slices = [weights[f"model.layers.{layer}.{name}"] for layer in range(config.layers)]
        stacked[ours] = torch.stack(slices)
    decoder = Decoder(config)
    decoder.load_state_dict(stacked)
    return decoder


def llama_config(config: ModelConfig) -> dict[str, Any]:
    """config.json as LlamaForCausalLM reads it."""
    c = asdict(config)
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": c["vocab"],
        "hidden_size": c["hidden"],
        "intermediate_size": c["feed"],
        "num_hidden_layers": c["layers"],
        "num_attention_heads": c["heads"],
        "num_key_value_heads": c["heads"],
        "head_dim": c["head_dim"],
        "max_position_embeddings": c["max_positions"],
        "rope_theta": c["rope_theta"],
        "rms_norm_eps": c["norm_eps"],
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "torch_dtype": "float32",
    }


@torch.no_grad()
def difference_from_transformers(folder: Path) -> float | None:
    """The largest difference in log-probability from transformers; None without transformers."""
    try:
        from transformers import AutoModelForCausalLM
    except ImportError:
        return None
    decoder = load_decoder(folder)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, decoder.config.vocab, (2, 96), generator=generator)
    ids[:, 0] = 0
    theirs = AutoModelForCausalLM.from_pretrained(folder).float().eval()(ids).logits
    ours = decoder.logits(ids)
    return (ours.log_softmax(-1) - theirs.log_softmax(-1)).abs().max().item()


def _write_json(file: Path, value: dict[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
