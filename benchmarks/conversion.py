"""A Llama's checkpoint folder as a GGUF file, which is what llama.cpp reads, and quantized ones.

The vocabulary is left out: every contestant is fed ids, and says ids.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FAMILIES = ("llama", "mistral")
"""The `model_type`s that llama.cpp runs as its architecture "llama"."""

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Hugging Face's names and llama.cpp's, without the layer before and `.weight` behind."""

KINDS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
"""GGUF's name for what weights are stored in."""

QUANTS = ("Q8_0", "Q4_0")
"""The quantized kinds."""


class ConversionError(Exception):
    """What in a checkpoint llama.cpp's "llama" can't hold, or this converter doesn't know."""


@contextmanager
def appears_whole(target: Path) -> Iterator[Path]:
    """A path to write to that becomes `target` if all goes well, and leaves nothing if not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        draft = Path(scratch) / target.name
        yield draft
        draft.replace(target)


def stored_kind(source: Path) -> str:
    """`F32`, `F16` or `BF16`: what the checkpoint's first matrix is stored in."""
    for _, tensor in read_tensors(source):
        if tensor.dim() > 1:
            return KINDS[tensor.dtype]
    raise ConversionError(f"{source.name} has no weights in .safetensors files")


def read_tensors(source: Path) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a checkpoint folder with its name, one at a time, file after file."""
    from safetensors import safe_open

    for path in sorted(source.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  (it isn't a dict)
                yield name, file.get_tensor(name)


def to_gguf(source: Path, target: Path) -> None:
    """Write the checkpoint folder `source` as the file `target`, weights stored as they are.

    Raises `ConversionError`.
    """
    import gguf

    config = read_config(source)
    with appears_whole(target) as draft:
        writer = gguf.GGUFWriter(draft, "llama")
        describe(writer, config, stored_kind(source))
        # First every tensor's shape, then their contents: none but one is held in memory.
        for name, tensor, kind in converted(source, config):
            size = tensor.numel() * tensor.element_size()
            tag = gguf.GGMLQuantizationType[kind]
            writer.add_tensor_info(name, tensor.shape, bits(tensor).dtype, size, raw_dtype=tag)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for _, tensor, _ in converted(source, config):
            writer.write_tensor_data(bits(tensor))
        writer.close()


def read_config(source: Path) -> dict[str, Any]:
    """The checkpoint's config.json, if it is one that can be converted."""
    config: dict[str, Any] = json.loads((source / "config.json").read_text("utf-8"))
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    for field, value, allowed in (
        ("model_type", config.get("model_type"), FAMILIES),
        ("hidden_act", config.get("hidden_act", "silu"), ("silu",)),
        ("sliding_window", config.get("sliding_window"), (None,)),
        ("rope type", rope.get("rope_type", rope.get("type", "default")), ("default",)),
    ):
        if value not in allowed:
            raise ConversionError(f"{source.name} has `{value}` as its {field}")
    return config


def describe(writer: Any, config: dict[str, Any], kind: str) -> None:
    """Write what config.json says into the GGUF's fields."""
    import gguf

    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    rope = config.get("rope_parameters") or {}
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(config.get("rope_theta") or rope.get("rope_theta", 10000.0))
    writer.add_layer_norm_rms_eps(config.get("rms_norm_eps", 1e-6))
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    all_or_most = "ALL" if kind == "F32" else "MOSTLY"
    writer.add_file_type(gguf.LlamaFileType[f"{all_or_most}_{kind}"])


def converted(source: Path, config: dict[str, Any]) -> Iterator[tuple[str, Tensor, str]]:
    """Every tensor as llama.cpp wants it: name, values, kind. Norms and biases are in F32."""
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    for name, tensor in read_tensors(source):
        tied = name.startswith("lm_head.") and config.get("tie_word_embeddings", False)
        if tied or name.endswith("rotary_emb.inv_freq"):
            continue
        if ".q_proj." in name:
            tensor = interleave_halves(tensor, heads)
        elif ".k_proj." in name:
            tensor = interleave_halves(tensor, kv_heads)
        if tensor.dim() == 1:
            tensor = tensor.float()
        yield rename(name), tensor.contiguous(), KINDS[tensor.dtype]


def rename(name: str) -> str:
    """`model.layers.3.mlp.up_proj.weight` -> `blk.3.ffn_up.weight`."""
    found = re.fullmatch(r"(?:model\.layers\.(\d+)\.)?(.+)\.(weight|bias)", name)
    if found is None or found[2] not in NAMES:
        raise ConversionError(f"a tensor of no known name: {name}")
    layer = "" if found[1] is None else f"blk.{found[1]}."
    return f"{layer}{NAMES[found[2]]}.{found[3]}"


def interleave_halves(tensor: Tensor, heads: int) -> Tensor:
    """Each head's rows 0 1 2 3 4 5 as 0 3 1 4 2 5.

    Hugging Face's rope turns row i together with row i + D/2, llama.cpp's with its neighbour.
    """
    halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def bits(tensor: Tensor) -> Any:
    """The tensor for numpy, which has no bfloat16: as 16 bits."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def quantize(source: Path, target: Path, kind: str) -> None:
    """Write the GGUF file `source` as the quantized `target`, as llama.cpp's own tool would."""
    import ctypes

    import llama_cpp

    hush_llama()
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.nthread = 1
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    with appears_whole(target) as draft:
        code = llama_cpp.llama_model_quantize(
            str(source).encode(), str(draft).encode(), ctypes.pointer(settings)
        )
        if code != 0:
            raise ConversionError(f"llama.cpp could not quantize {source.name}: code {code}")


def hush_llama() -> None:
    """Let llama.cpp print errors only; else it tells its whole life on stderr."""
    import ctypes
    import sys

    import llama_cpp

    if _callbacks:
        return

    @llama_cpp.llama_log_callback
    def log(level: int, text: bytes, _: Any) -> None:
        if level >= 4:  # GGML_LOG_LEVEL_ERROR; 5 continues a line of any level
            sys.stderr.write(text.decode(errors="replace") if level == 4 else "")

    _callbacks.append(log)  # ctypes doesn't keep it
    llama_cpp.llama_log_set(log, ctypes.c_void_p())


_callbacks: list[Any] = []
