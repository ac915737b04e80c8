"""A Ray cluster of several nodes on this machine: `python reference/ray_cluster.py 3`.

Each node has one processor. It prints the address, and takes a line `lose` to kill the last node.
It ends with its stdin.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STORE = 80 << 20
"""Bytes of a node's object store; Ray takes no fewer."""


@dataclass
class RayCluster:
    """A cluster that runs: its `address`, and what a driver's environment has to have."""

    address: str
    environ: dict[str, str]
    process: subprocess.Popen[str]

    def lose_a_node(self) -> None:
        """Kill a node that isn't the head, with its workers."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("lose\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "lost\n"

    def workers(self) -> list[int]:
        """The process ids of the actors that are under way."""
        found: list[int] = []
        below = {self.process.pid}
        for pid, parent, name in sorted(_processes()):
            if parent in below:
                below.add(pid)
                if "MapWorker" in name:
                    found.append(pid)
        return found


@contextmanager
def cluster_of(nodes: int, environ: dict[str, str]) -> Iterator[RayCluster]:
    """A cluster of so many nodes while the block runs; its workers have this environment."""
    environ = environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(
        [sys.executable, __file__, str(nodes)],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield RayCluster(process.stdout.readline().strip(), environ, process)
        process.stdin.close()


def _processes() -> Iterator[tuple[int, int, str]]:
    """Each process, its parent and its name, as /proc has them."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "stat").read_text().rpartition(")")[2].split()
                name = (folder / "cmdline").read_text()
            except OSError:  # it has ended
                continue
            yield int(folder.name), int(words[1]), name


def main() -> None:
    """Run the cluster."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": STORE}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    others = [cluster.add_node(**node) for _ in range(int(sys.argv[1]) - 1)]
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line == "lose\n":
            cluster.remove_node(others.pop(), allow_graceful=False)
            print("lost", flush=True)
    cluster.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
