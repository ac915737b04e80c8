"""One of several processes that share models: run as a script, it compares them with whole ones.

The arguments are checkpoint folders. The first process prints a JSON object for each; the others
follow it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

PROMPT, ANSWER = 40, 6


def compare(folders: list[Path], size: int, environ: dict[str, str]) -> list[Any]:
    """What `size` processes find out about checkpoints, or the error that one of them raised."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    tests = str(Path(__file__).resolve().parents[1])
    paths = os.pathsep.join((tests, environ["PYTHONPATH"]))
    shared = {"PYTHONPATH": paths, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "reference.shared_model", *map(str, folders)],
            env=environ | shared | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        out = processes[0].communicate(timeout=300)[0]
        assert [process.wait(timeout=20) for process in processes] == [0] * size
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return [json.loads(line) for line in out.splitlines()]


def main(folders: list[Path]) -> None:
    """Compare as the first process, or follow it."""
    from lmtool import LmtoolError
    from lmtool.engine import ranks

    if os.environ["RANK"] != "0":
        sys.exit(ranks.follow())
    for folder in folders:
        try:
            found = _compared(folder)
        except LmtoolError as error:
            found = {"error": error.message, "hint": error.hint}
        print(json.dumps(found), flush=True)
    ranks.leave(0)


def _compared(folder: Path) -> dict[str, Any]:
    from lmtool.engine import ranks
    from lmtool.engine.weights.checkpoint import open_checkpoint
    from reference.loaded import Loaded

    order = ranks.Load(folder, "cpu", "auto", None, (), None)
    shared = Loaded(folder, ranks.leader().load(order, open_checkpoint(folder), None)[0])
    whole = Loaded.open(folder)
    ids = [place * place % whole.decoder.spec.vocab for place in range(PROMPT)]
    widths = [PROMPT - 5, 1, 1, 3]
    ours, theirs = (each.logprobs(ids, widths, each.cache()) for each in (shared, whole))
    greedy = [each.greedy(ids, ANSWER, samples=2) for each in (shared, whole)]
    return {
        "drift": float((ours - theirs).abs().max()),
        "spread": float(theirs.std()),
        "alike": greedy[0] == greedy[1],
        "share": sum(layer.mixer.heads for layer in shared.decoder.spec.layers),
        "heads": sum(layer.mixer.heads for layer in whole.decoder.spec.layers),
    }


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
