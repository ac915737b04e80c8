"""Models to measure with: random Llamas of any shape, as checkpoint folders and as GGUF files.

    python benchmarks/models.py 1b --gguf BF16 Q8_0 Q4_0
    python benchmarks/models.py default --gguf F32

A model is a shape's name, `default`, or a checkpoint folder. What is there already is left as it
is; what is made appears whole or not at all.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from conversion import KINDS, QUANTS, appears_whole, quantize, stored_kind, to_gguf

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(tempfile.gettempdir()) / "lmtool-benchmarks"
CONTEXT = 16384
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
STORED = {torch.bfloat16: "BF16", torch.float32: "F32"}
"""safetensors' name of a dtype."""


@dataclass(frozen=True)
class Shape:
    """What a Llama is like, but for its weights."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    vocab: int = 32000
    head_dim: int = 64
    tied: bool = True


SHAPES = {
    "1b": Shape(hidden=2048, layers=16, heads=32, kv_heads=8, inner=8192),
    "deep": Shape(hidden=768, layers=48, heads=12, kv_heads=4, inner=2048),
    "wide": Shape(hidden=4096, layers=4, heads=32, kv_heads=8, inner=11008, head_dim=128),
    "vocab128k": Shape(hidden=768, layers=8, heads=12, kv_heads=4, inner=2048, vocab=128000),
    "draft": Shape(hidden=512, layers=4, heads=8, kv_heads=2, inner=1536),
    "tiny": Shape(hidden=256, layers=4, heads=4, kv_heads=2, inner=768, vocab=2000),
}


def main() -> None:
    """Make what the command line asks for and print where it is."""
    options = parse()
    torch.set_num_threads(1)
    source = checkpoint(options.model, options.folder, options.dtype)
    print(source)
    for kind in options.gguf:
        print(gguf_file(source, kind, options.folder), flush=True)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=Verbatim)
    parser.add_argument("model", help=f"{', '.join(SHAPES)}, default, or a checkpoint folder")
    add_options(parser)
    parser.add_argument(
        "--gguf", nargs="*", default=[], choices=(*KINDS.values(), *QUANTS), metavar="KIND",
        help="GGUF files to make of it: the kind it is stored in (F32, F16, BF16), Q8_0, Q4_0",
    )  # fmt: skip
    return parser.parse_args()


class Verbatim(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Help with its line breaks, and the defaults where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default else action.help


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every command line has that makes models."""
    parser.add_argument("--folder", type=Path, default=FOLDER, help="keeps what is made")
    parser.add_argument(
        "--dtype", choices=tuple(DTYPES), default="bfloat16", help="of random weights"
    )


def checkpoint(model: str, folder: Path, dtype: str = "bfloat16") -> Path:
    """The folder of a model; a shape's is made if it isn't there.

    Exits where `model` is neither a shape, nor `default`, nor a checkpoint folder.
    """
    if model == "default":
        return ROOT / "models" / "default"
    if model not in SHAPES:
        if not (Path(model) / "config.json").is_file():
            raise SystemExit(f"{model} is no shape ({', '.join(SHAPES)}) and no checkpoint folder")
        return Path(model).resolve()
    config = config_of(SHAPES[model], dtype)
    # A shape that has changed since gets a folder of its own.
    target = folder / f"{model}-{dtype}-{digest(json.dumps(config))}"
    if not target.exists():
        with appears_whole(target) as draft:
            draft.mkdir()
            write_weights(draft / "model.safetensors", SHAPES[model], DTYPES[dtype])
            (draft / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    return target


def gguf_file(source: Path, kind: str | None, folder: Path) -> Path:
    """A checkpoint folder's GGUF file, made if it isn't there or older than the weights.

    `kind` is one of `QUANTS`, or what the weights are stored in, as which None counts.
    Raises `ConversionError`; exits where a `kind` is asked for that the weights don't have.
    """
    stored = stored_kind(source)
    made_here = source.parent == folder.resolve()
    name = source.name if made_here else f"{source.name}-{digest(str(source))}"
    plain = folder / f"{name}.{stored}.gguf"
    if not is_newer(plain, source.glob("*.safetensors")):
        to_gguf(source, plain)
    if kind in (None, stored):
        return plain
    if kind not in QUANTS:
        raise SystemExit(f"{source} is stored in {stored}, not in {kind}")
    target = folder / f"{name}.{kind}.gguf"
    if not is_newer(target, [plain]):
        quantize(plain, target, kind)
    return target


def is_newer(target: Path, sources: Iterator[Path] | list[Path]) -> bool:
    """Whether `target` is there and made after all of `sources`."""
    if not target.exists():
        return False
    return all(target.stat().st_mtime >= path.stat().st_mtime for path in sources)


def digest(text: str) -> str:
    """Six letters that tell texts apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def config_of(shape: Shape, dtype: str) -> dict[str, Any]:
    """The config.json of a shape. No token ends a text."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": CONTEXT,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-05,
        "hidden_act": "silu",
        "tie_word_embeddings": shape.tied,
        "bos_token_id": None,
        "eos_token_id": None,
        "torch_dtype": dtype,
    }


def tensors_of(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor's name and shape."""
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    yield "model.embed_tokens.weight", (shape.vocab, shape.hidden)
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (shape.hidden,)
        yield prefix + "self_attn.q_proj.weight", (queries, shape.hidden)
        yield prefix + "self_attn.k_proj.weight", (keys, shape.hidden)
        yield prefix + "self_attn.v_proj.weight", (keys, shape.hidden)
        yield prefix + "self_attn.o_proj.weight", (shape.hidden, queries)
        yield prefix + "post_attention_layernorm.weight", (shape.hidden,)
        yield prefix + "mlp.gate_proj.weight", (shape.inner, shape.hidden)
        yield prefix + "mlp.up_proj.weight", (shape.inner, shape.hidden)
        yield prefix + "mlp.down_proj.weight", (shape.hidden, shape.inner)
    yield "model.norm.weight", (shape.hidden,)
    if not shape.tied:
        yield "lm_head.weight", (shape.vocab, shape.hidden)


def write_weights(path: Path, shape: Shape, dtype: torch.dtype) -> None:
    """Write a safetensors file of random weights, tensor by tensor: only one is held in memory."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name, size in tensors_of(shape):
        end = begin + torch.Size(size).numel() * dtype.itemsize
        header[name] = {"dtype": STORED[dtype], "shape": size, "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = torch.Generator().manual_seed(0)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, size in tensors_of(shape):
            values = torch.randn(size, generator=generator)
            # A matrix keeps the size of what passes through; a norm's weights are near one.
            values = values / size[-1] ** 0.5 if len(size) > 1 else 1 + values / 50
            file.write(values.to(dtype).view(torch.uint8).numpy().tobytes())


if __name__ == "__main__":
    main()
