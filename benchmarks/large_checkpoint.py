"""A random checkpoint larger than half of this machine's memory: made, loaded, decoded, measured.

Run it as `python benchmarks/large_checkpoint.py`; `--share 0.6` makes it 0.6 of the memory,
`--gigabytes 4` that large, `--folder` says where, `--keep` leaves it there. It's a Llama in
bfloat16, in shards of about 2 GB. The loading runs in a process of its own, of which two peaks
are reported: anonymous memory, which is what loading costs, and all resident memory, in which the
mapped pages of the files count as well, though the system takes them back when it needs them.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, sleep
from typing import Any, BinaryIO

HIDDEN, INNER, HEADS, KV_HEADS, VOCAB = 4096, 11008, 32, 8, 32000
SHARD = 2_000_000_000
ALLOWED = 400_000_000
CONTEXT = 64


def main() -> None:
    """Make the checkpoint, measure a process that loads it, print the table."""
    arguments = parse()
    memory = read_meminfo("MemTotal")
    wanted = int((arguments.gigabytes * 1e9) or memory * arguments.share)
    parent = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        if shutil.disk_usage(parent).free < wanted * 1.1:
            raise SystemExit(f"not enough disk under {parent} for {wanted:,} bytes")
        began = perf_counter()
        layers, weights = make(parent, wanted)
        print(f"memory of the machine {memory:>16,} bytes")
        print(f"weights               {weights:>16,} bytes, {layers} layers", flush=True)
        print(f"made in               {perf_counter() - began:>16.1f} s", flush=True)
        measure(parent, weights, arguments.tokens)
    finally:
        if not arguments.keep:
            shutil.rmtree(parent)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--share", type=float, default=0.55, help="of the machine's memory")
    parser.add_argument("--gigabytes", type=float, default=0.0, help="instead of a share")
    parser.add_argument("--folder", type=Path, default=None, help="where to put it")
    parser.add_argument("--tokens", type=int, default=4, help="to decode")
    parser.add_argument("--keep", action="store_true", help="don't remove it afterwards")
    return parser.parse_args()


def read_meminfo(name: str) -> int:
    """A line of /proc/meminfo, in bytes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/meminfo has no {name}")


def shapes(layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Every tensor of a Llama, in the order it is used."""
    keys = KV_HEADS * HIDDEN // HEADS
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (HIDDEN,)
        yield prefix + "self_attn.q_proj.weight", (HIDDEN, HIDDEN)
        yield prefix + "self_attn.k_proj.weight", (keys, HIDDEN)
        yield prefix + "self_attn.v_proj.weight", (keys, HIDDEN)
        yield prefix + "self_attn.o_proj.weight", (HIDDEN, HIDDEN)
        yield prefix + "post_attention_layernorm.weight", (HIDDEN,)
        yield prefix + "mlp.gate_proj.weight", (INNER, HIDDEN)
        yield prefix + "mlp.up_proj.weight", (INNER, HIDDEN)
        yield prefix + "mlp.down_proj.weight", (HIDDEN, INNER)
    yield "model.norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCAB, HIDDEN)


def size_of(shape: tuple[int, ...]) -> int:
    """Bytes of a tensor in bfloat16."""
    count = 2
    for width in shape:
        count *= width
    return count


def make(folder: Path, wanted: int) -> tuple[int, int]:
    """Write a checkpoint of at least `wanted` bytes; returns its layers and its bytes."""
    layers = 1
    while sum(size_of(shape) for _, shape in shapes(layers)) < wanted:
        layers += 1
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": VOCAB,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))
    shards: list[list[tuple[str, tuple[int, ...]]]] = [[]]
    for name, shape in shapes(layers):
        if sum(size_of(other) for _, other in shards[-1]) > SHARD:
            shards.append([])
        shards[-1].append((name, shape))
    places: dict[str, str] = {}
    total = 0
    for number, entries in enumerate(shards, 1):
        file_name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        total += write_shard(folder / file_name, entries)
        places |= {name: file_name for name, _ in entries}
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return layers, total


def write_shard(path: Path, entries: list[tuple[str, tuple[int, ...]]]) -> int:
    """Write a safetensors file piece by piece; returns its bytes of weights."""
    header: dict[str, Any] = {}
    offset = 0
    for name, shape in entries:
        end = offset + size_of(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in entries:
            write_numbers(file, size_of(shape), near_one="norm" in name)
    return offset


def write_numbers(file: BinaryIO, size: int, near_one: bool) -> None:
    """Random bfloat16 numbers: one block of them, again and again."""
    data = random_block(near_one)
    for begin in range(0, size, len(data)):
        file.write(data[: size - begin])


@functools.cache
def random_block(near_one: bool) -> bytes:
    """4 MB of numbers near one, as norms have them, or near zero."""
    import torch

    block = torch.randn(1 << 21) * 0.02 + near_one
    return block.bfloat16().view(torch.uint8).numpy().tobytes()


def measure(folder: Path, weights: int, tokens: int) -> None:
    """Load and decode in a fresh process; print its peaks beside weights and cache."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=load_and_decode, args=(folder, tokens, theirs))
    process.start()
    theirs.close()
    try:
        found = ours.recv()
    except EOFError as error:
        raise SystemExit("the loading process died, perhaps for want of memory") from error
    process.join()
    allowed = weights + found["cache"] + ALLOWED
    print(f"loaded in             {found['load_s']:>16.1f} s")
    print(f"a token took          {found['token_s']:>16.2f} s (the last of {tokens})")
    print(f"cache                 {found['cache']:>16,} bytes")
    print(f"peak anonymous        {found['anonymous']:>16,} bytes")
    print(f"  of them by torch    {found['base']:>16,} bytes, imported and idle")
    print(f"peak resident         {found['resident']:>16,} bytes, mapped pages included")
    print(f"allowed               {allowed:>16,} bytes: weights + cache + {ALLOWED:,}")
    print("peak resident is within" if found["resident"] <= allowed else "PEAK IS TOO HIGH")


def load_and_decode(folder: Path, tokens: int, out: Any) -> None:
    """What is measured: load, read a short prompt, decode, with a sampler beside it."""
    import torch

    from lmtool.engine.cache.static import StaticCache
    from lmtool.engine.step import Piece, Step
    from lmtool.engine.weights.checkpoint import open_checkpoint
    from lmtool.engine.weights.load import load_decoder

    cpu = torch.device("cpu")
    base = status("RssAnon")
    peaks = {"RssAnon": 0, "VmRSS": 0}
    done = threading.Event()
    sampler = threading.Thread(target=sample, args=(peaks, done))
    sampler.start()
    began = perf_counter()
    decoder, _ = load_decoder(open_checkpoint(folder), None, cpu)
    load_s = perf_counter() - began
    cache = StaticCache(decoder.spec, 1, CONTEXT, CONTEXT, decoder.dtype, cpu)
    ids, token_s = [1, 2, 3, 4, 5, 6, 7, 8], 0.0
    cache.reserve(0, CONTEXT)
    logits = decoder(Step.of([Piece(0, 0, ids, len(ids))], cpu), cache)
    for position in range(len(ids), len(ids) + tokens):
        began = perf_counter()
        best = [int(logits[-1].argmax())]
        logits = decoder(Step.of([Piece(0, position, best, position + 1)], cpu), cache)
        token_s = perf_counter() - began
    done.set()
    sampler.join()
    out.send(
        {
            "load_s": load_s,
            "token_s": token_s,
            "cache": cache.nbytes,
            "anonymous": peaks["RssAnon"],
            "resident": max(status("VmHWM"), peaks["VmRSS"]),
            "base": base,
        }
    )


def sample(peaks: dict[str, int], done: threading.Event) -> None:
    """Keep the highest of each kind of memory, looked at every hundredth of a second."""
    while not done.is_set():
        for name in peaks:
            peaks[name] = max(peaks[name], status(name))
        sleep(0.01)


def status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
