"""Rounds between contestants on a machine that drifts, and the table of what came out.

Every contestant is a process of its own with its model loaded (`contestants.py`), idle but in its
turn. They take turns, A B C A B C, so that what slows the machine down for a while slows down all;
and what counts is the ratio of neighbours, not the times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median
from time import sleep
from typing import Any

PAUSE = 0.2
"""Seconds between turns: threads that spin for more work go to sleep meanwhile."""

FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")
"""What of /proc/cpuinfo's flags decides how fast matrices can be."""


@dataclass(frozen=True)
class Entry:
    """Who takes part: a `name` for the table, an engine of `contestants.py`, what it loads."""

    name: str
    engine: str
    model: Path
    options: dict[str, Any] = field(default_factory=dict)


class ContestantError(Exception):
    """A contestant can't do what it is asked to, or is dead."""


class Worker:
    """A contestant's process, from its start to its end."""

    def __init__(self, entry: Entry, threads: int) -> None:
        self.name = entry.name
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  (`close` does)
        script = str(Path(__file__).with_name("contestants.py"))
        options = [entry.engine, str(entry.model), str(threads), json.dumps(entry.options)]
        self._process = subprocess.Popen(
            [sys.executable, script, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"},
        )
        try:
            self.about: str = self._hear()["about"]
        except ContestantError:
            self.close()
            raise

    def ask(self, **command: Any) -> dict[str, Any]:
        """Its answer to a command. Raises `ContestantError`."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # what it had to say about that is read below
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._log.seek(0)
            last = self._log.read().strip().splitlines()[-3:]
            raise ContestantError(f"it ended with code {code}: {' / '.join(last)}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise ContestantError(reply["error"])
        return reply

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._log.close()


@dataclass
class Contest:
    """The workers of those who still take part, and why the others don't."""

    workers: list[Worker]
    failures: dict[str, str]

    def about(self) -> list[str]:
        """Every version named once."""
        parts = [part for worker in self.workers for part in worker.about.split(", ")]
        return list(dict.fromkeys(parts))

    def run(self, rounds: int, *commands: dict[str, Any]) -> list[Results]:
        """What each command took, round by round; those out by the end have no results.

        A round of the first command goes before, to get warm: pages are read, caches made.
        """
        results: list[Results] = [{} for _ in commands]
        tell("a round to get warm")
        self._round(0, commands[0])
        for number in range(1, rounds + 1):
            tell(f"round {number} of {rounds}")
            for result, command in zip(results, commands, strict=True):
                for name, reply in self._round(number, command).items():
                    result.setdefault(name, []).append(reply)
        there = {worker.name for worker in self.workers}
        return [{n: r for n, r in result.items() if n in there} for result in results]

    def _round(self, seed: int, command: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Every worker's answer; who fails is out."""
        replies: dict[str, dict[str, Any]] = {}
        for worker in list(self.workers):
            sleep(PAUSE)
            try:
                replies[worker.name] = worker.ask(seed=seed, **command)
            except ContestantError as error:
                self._leave(worker, str(error))
                continue
            reply = replies[worker.name]
            tell(f"  {worker.name}: {reply['seconds']:.4g} s for {reply['tokens']} tokens")
        return replies

    def _leave(self, worker: Worker, why: str) -> None:
        self.failures[worker.name] = why
        self.workers.remove(worker)
        worker.close()
        tell(f"  {worker.name} is out: {why}")


Results = dict[str, list[dict[str, Any]]]
"""Of each contestant, its answer in every round."""


@contextmanager
def contest(entries: Sequence[Entry], threads: int) -> Iterator[Contest]:
    """All of `entries` started, one after the other, and ended afterwards."""
    running = Contest([], {})
    try:
        for entry in entries:
            tell(f"loading {entry.name}")
            try:
                running.workers.append(Worker(entry, threads))
            except ContestantError as error:
                running.failures[entry.name] = str(error)
                tell(f"  {entry.name} is out: {error}")
        yield running
    finally:
        for worker in running.workers:
            worker.close()


def tell(text: str) -> None:
    """Progress goes to stderr; the table alone is on stdout."""
    print(text, file=sys.stderr, flush=True)


def seconds_of(results: Results) -> dict[str, list[float]]:
    """Of each contestant, the seconds of every round."""
    return {name: [reply["seconds"] for reply in replies] for name, replies in results.items()}


def ratios(times: Sequence[float], base: Sequence[float]) -> list[float]:
    """Round by round, how many times as long as `base`."""
    return [one / other for one, other in zip(times, base, strict=True)]


def spread(values: Sequence[float]) -> list[str]:
    """Two cells: the median, and the lowest and the highest."""
    return [f"{median(values):.2f}", f"{min(values):.2f} to {max(values):.2f}"]


def speed(tokens: int, times: Sequence[float]) -> str:
    """A cell: tokens a second, by the median time."""
    rate = tokens / median(times)
    return f"{rate:,.0f}" if rate >= 1000 else f"{rate:.1f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; columns after the first are flush right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def versus(times: dict[str, list[float]], tokens: int | None = None) -> str:
    """The table of a contest over seconds: who comes first is the one that ratios are about.

    With `tokens`, how many of them each round had, a column says tokens a second.
    """
    first = next(iter(times))
    pairs = len(times[first])
    head = ["", "seconds", *(["tokens/s"] if tokens else [])]
    head += [f"{first} is … times as fast: median of {pairs} pairs", "lowest to highest"]
    rows: list[list[str]] = []
    for name, taken in times.items():
        row = [name, f"{median(taken):.3f}", *([speed(tokens, taken)] if tokens else [])]
        row += ["", ""] if name == first else spread(ratios(taken, times[first]))
        rows.append(row)
    return table(head, rows)


def fall_off(times: dict[int, dict[str, list[float]]], tokens: int) -> str:
    """The table of a contest near and far, by tokens in the context: how much slower is far?"""
    (near, close), (far, distant) = times.items()
    first = next(iter(distant))
    head = ["", f"tokens/s at {near}", f"at {far}", "a token takes … times as long"]
    head += ["lowest to highest", f"{first} at {far} is … times as fast"]
    rows: list[list[str]] = []
    for name, taken in distant.items():
        row = [name, speed(tokens, close[name]), speed(tokens, taken)]
        lead = "" if name == first else f"{median(ratios(taken, distant[first])):.2f}"
        rows.append([*row, *spread(ratios(taken, close[name])), lead])
    return table(head, rows)


def machine(threads: int | None) -> str:
    """The processor, its cores, what of them is used, and today."""
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    flags = set(fields.get("flags", "").split())
    cores = len(os.sched_getaffinity(0))
    features = " ".join(name for name in FEATURES if name in flags)
    used = f", threads of each: {threads}" if threads else ""
    name = fields.get("model name", "a processor without a name")
    return f"{name} ({features}), cores: {cores}{used}; {date.today()}"
