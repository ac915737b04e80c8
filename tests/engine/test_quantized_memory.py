"""Memory of a process's own while weights are quantized, written, and read again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reference.random_checkpoints import Case

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="memory is read from /proc"
)

MIB = 1 << 20
SLACK = 48 * MIB
"""What a block takes on its way through a dozen passes, and what malloc keeps of it."""
# 50 million parameters, 208 MiB in float32: too much to be there unnoticed.
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

PROBE = """
import json, re, sys, threading
from pathlib import Path
import torch
from lmtool.engine.weights.checkpoint import open_checkpoint
from lmtool.engine.weights.load import load_decoder
from lmtool.engine.weights.save import save_quantized

torch.set_num_threads(1)
def held():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\\s+(\\d+) kB", status)[1]) * 1024

source, quant, target = sys.argv[1:]
torch.ones(8, 8) @ torch.ones(8, 8)
before, peak, done = held(), 0, threading.Event()
def watch():
    global peak
    while not done.wait(0.001):
        peak = max(peak, held())
watcher = threading.Thread(target=watch)
watcher.start()
checkpoint = open_checkpoint(Path(source))
if target:
    nbytes = save_quantized(checkpoint, quant, Path(target)).after
else:
    decoder, reader = load_decoder(checkpoint, None, torch.device("cpu"), quant=quant or None)
    nbytes = reader.nbytes
done.set()
watcher.join()
after = held()
print(json.dumps({"peak": max(peak, after) - before, "after": after - before, "nbytes": nbytes}))
"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return WIDE.save(tmp_path_factory.mktemp("wide"))


def probed(environ: dict[str, str], *arguments: str | Path) -> dict[str, int]:
    child = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


@pytest.mark.parametrize("quant", ["int8", "int4"])
def test_never_twice_and_never_wide(
    lmtool_environ: dict[str, str], wide: Path, tmp_path: Path, quant: str
) -> None:
    loaded = probed(lmtool_environ, wide, quant, "")
    assert loaded["peak"] < loaded["nbytes"] + 2 * LARGEST + SLACK
    written = probed(lmtool_environ, wide, quant, tmp_path / "made")
    assert written["peak"] < 2 * LARGEST + 3 * SLACK
    read = probed(lmtool_environ, tmp_path / "made", "", "")
    assert read["nbytes"] == loaded["nbytes"] == written["nbytes"]
    assert read["after"] < read["nbytes"] + SLACK / 2
    assert read["peak"] < read["nbytes"] + 2 * LARGEST + SLACK / 2
