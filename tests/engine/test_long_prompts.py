"""A long prompt's memory: beside the cache itself it doesn't grow with what was read before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is read from /proc"
)

MIB = 1 << 20
ENVIRON = {
    # So that glibc gives memory back as soon as it is free, on every run alike.
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "OMP_NUM_THREADS": "1",
}

# One layer of each kind, small enough that attention is what takes memory.
PROBE = """
import json, re, sys, threading
from pathlib import Path
import torch
from lmtool.engine.cache.static import StaticCache
from lmtool.engine.model.decoder import Decoder
from lmtool.engine.model.source import PlainSource
from lmtool.engine.spec import (
    AlibiSpec, AttentionSpec, LatentSpec, LayerSpec, MlpSpec, ModelSpec, NormSpec, RopeSpec,
)
from lmtool.engine.step import Piece, Step

ROPE, NORM, CHUNK = RopeSpec(8, 10000.0), NormSpec(1e-5), 512
KINDS = {
    "plain": AttentionSpec(2, 1, 8, rope=ROPE),
    "window": AttentionSpec(2, 1, 8, rope=ROPE, window=2000),
    "alibi": AttentionSpec(2, 2, 8, alibi=AlibiSpec((0.1, 0.001))),
    "sinks": AttentionSpec(2, 1, 8, rope=ROPE, sinks=True),
    "cap": AttentionSpec(2, 1, 8, rope=ROPE, cap=20.0),
    "latent": LatentSpec(2, None, 8, 8, 8, ROPE, NORM),
}

class Random(PlainSource):
    def take(self, name, *shape, exact=False):
        return torch.randn(shape) / shape[-1] ** 0.5

def held():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\\s+(\\d+) kB", status)[1]) * 1024

kinds, dtype, lengths = json.loads(sys.argv[1])
layers = tuple(LayerSpec(KINDS[kind], MlpSpec(16), NORM) for kind in kinds)
spec = ModelSpec(50, 16, layers, NORM, max(lengths))
decoder, cpu, peak = Decoder(spec, Random()), torch.device("cpu"), 0
found = []
for length in lengths:
    done = threading.Event()
    def watch():
        global peak
        while not done.wait(0.001):
            peak = max(peak, held())
    before = peak = held()
    watcher = threading.Thread(target=watch)
    watcher.start()
    cache = StaticCache(spec, 1, length, CHUNK, getattr(torch, dtype), cpu)
    for begin in range(0, length, CHUNK):
        ids = [1] * min(CHUNK, length - begin)
        decoder(Step.of([Piece(0, begin, ids, length)], cpu), cache)
    done.set()
    watcher.join()
    found.append({"taken": peak - before, "cache": cache.nbytes})
    del cache
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("kinds", "dtype", "lengths", "slack"),
    [
        (["plain", "window", "sinks", "alibi"], "float32", [8000, 32000], 4 * MIB),
        (["cap", "latent"], "float32", [6000, 14000], 4 * MIB),
        # Memory to unpack blocks in, 4 MB each for keys and values, fills little by little.
        (["plain", "window", "cap", "latent"], "int8", [6000, 14000], 8 * MIB),
    ],
    ids=["fused", "open", "int8"],
)
def test_a_prompt_takes_no_more_than_its_cache(
    lmtool_environ: dict[str, str], kinds: list[str], dtype: str, lengths: list[int], slack: int
) -> None:
    child = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps([kinds, dtype, lengths])],
        env=lmtool_environ | ENVIRON,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert child.returncode == 0, child.stderr
    short, long = json.loads(child.stdout)
    grown = long["taken"] - short["taken"] - (long["cache"] - short["cache"])
    assert grown < slack, (short, long)
    assert long["taken"] < long["cache"] + 64 * MIB
