"""Weights are mapped, not copied: what a process holds of its own after loading a checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reference.random_checkpoints import Case

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is read from /proc"
)

MIB = 1 << 20
# Wide and shallow: some 50 million parameters, 200 MB in float32, of which the largest is 32 MiB.
WIDE = Case(
    "wide",
    "Llama",
    {
        "vocab_size": 8192,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 3,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
    },
)
LARGEST = 8192 * 1024

# Anonymous memory is what can't be dropped and read again from the file.
PROBE = """
import json, os, re, sys, threading
from pathlib import Path
import torch
from lmtool.engine.matrix import Placement
from lmtool.engine.weights.checkpoint import open_checkpoint
from lmtool.engine.weights.load import load_decoder

torch.set_num_threads(1)
def held():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\\s+(\\d+) kB", status)[1]) * 1024

torch.ones(8, 8) @ torch.ones(8, 8)
before, peak, done = held(), 0, threading.Event()
def watch():
    global peak
    while not done.wait(0.001):
        peak = max(peak, held())
watcher = threading.Thread(target=watch)
watcher.start()
dtype = getattr(torch, sys.argv[2]) if sys.argv[2] != "stored" else None
try:
    decoder, reader = load_decoder(
        open_checkpoint(Path(sys.argv[1])), dtype, torch.device("cpu"),
        Placement(packed=sys.argv[3] == "packed"),
    )
finally:
    done.set()  # or the watcher would outlive an error, and the error never be seen
watcher.join()
after = held()
print(json.dumps({"peak": max(peak, after) - before, "after": after - before,
                  "parameters": reader.parameters}))
"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return WIDE.save(tmp_path_factory.mktemp("wide"))


def probed(environ: dict[str, str], folder: Path, dtype: str, form: str) -> dict[str, int]:
    """Bytes of its own that a child process holds while and after it loads."""
    child = subprocess.run(
        [sys.executable, "-c", PROBE, folder, dtype, form],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


def can_pack_bfloat16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def test_stored_and_mapped_nothing_is_copied(lmtool_environ: dict[str, str], wide: Path) -> None:
    found = probed(lmtool_environ, wide, "stored", "mapped")
    size = found["parameters"] * 4
    assert size > 180 * MIB
    assert found["peak"] < 16 * MIB


@pytest.mark.parametrize(
    ("dtype", "form"),
    [("bfloat16", "mapped"), ("float64", "mapped"), ("stored", "packed"), ("bfloat16", "packed")],
)
def test_copied_one_weight_at_a_time(
    lmtool_environ: dict[str, str], wide: Path, dtype: str, form: str
) -> None:
    """What is converted or packed is held once, and beside it no more than one matrix of two.

    The embedding stays in the file: its rows are converted when they are looked up.
    """
    if (dtype, form) == ("bfloat16", "packed") and not can_pack_bfloat16():
        pytest.skip("this processor can't pack bfloat16, and Placement.of never asks it to")
    found = probed(lmtool_environ, wide, dtype, form)
    width = 4 if dtype == "stored" else getattr(torch, dtype).itemsize
    size, slack = (found["parameters"] - LARGEST) * width, 16 * MIB
    freed = LARGEST * max(width, 4)  # what the allocator may keep of the last matrix let go
    assert abs(found["after"] - size) < slack + freed
    assert found["peak"] < size + 2 * LARGEST * max(width, 4) + slack
