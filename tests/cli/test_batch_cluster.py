"""What `lmtool batch --ray` does around Ray: shares out, hands out, asks again, tells errors."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtool import InputError, LmtoolError, ModelError, UsageError
from lmtool.cli.batch import cluster, worker
from lmtool.cli.batch.answering import Answered, Answering, Decoded
from lmtool.cli.batch.asking import Asking
from lmtool.cli.batch.cluster import PATIENCE, Cluster, share_out
from lmtool.cli.batch.order import describe
from lmtool.cli.batch.rows import Meter, Row
from lmtool.cli.batch.worker import Post, Worker, asked, packed, unpacked
from lmtool.cli.chatter import hushed
from lmtool.cli.signals import Stopping
from lmtool.cli.terminal import Terminal
from reference.batch_work import Work
from reference.scripted_model import Script, ScriptedSession, opener

from .conftest import Run

MACHINES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=5)
MAYBE = st.none() | st.integers(1, 6)


@given(machines=MACHINES, workers=MAYBE, threads=MAYBE, device=st.sampled_from(["auto", "cpu"]))
def test_workers_fit_where_they_are_to_be(
    machines: list[tuple[int, int]], workers: int | None, threads: int | None, device: str
) -> None:
    gpus = device != "cpu" and any(own for _, own in machines)

    def places(each: int) -> int:
        return sum(min(cpus // each, own) if gpus else cpus // each for cpus, own in machines)

    try:
        share = share_out(machines, workers, threads, device)
    except UsageError:
        assert places(threads or 1) < (workers or 1)
        return
    assert share.workers == workers or workers is None
    assert share.cpus == threads or threads is None
    assert places(share.cpus) >= share.workers >= 1
    assert share.gpus == gpus
    sizes = [cpus // (own if gpus else 1) for cpus, own in machines if cpus and (own or not gpus)]
    assert threads or places(share.cpus + 1) < share.workers or share.cpus == max(1, min(sizes))


@pytest.mark.parametrize(
    ("machines", "asked_for", "expected"),
    [
        ([(8, 0), (8, 0)], (None, None, "auto"), (2, 8, 0, 1)),
        ([(8, 0), (2, 0)], (None, None, "auto"), (2, 2, 0, 2)),
        ([(1, 0), (64, 0)], (None, None, "auto"), (2, 1, 0, 2)),
        ([(8, 0), (0, 0)], (4, None, "auto"), (4, 2, 0, 4)),
        ([(8, 0), (8, 0)], (3, None, "auto"), (3, 4, 0, 2)),
        ([(8, 0)], (None, 3, "auto"), (2, 3, 0, 2)),
        ([(8, 2), (8, 0)], (None, None, "auto"), (2, 4, 1, 1)),
        ([(8, 2), (8, 0)], (None, None, "cpu"), (2, 8, 0, 1)),
    ],
)
def test_shares(
    machines: list[tuple[int, int]], asked_for: tuple[Any, ...], expected: tuple[int, ...]
) -> None:
    share = share_out(machines, *asked_for)
    assert (share.workers, share.cpus, share.gpus, share.beside) == expected


def test_too_many_workers() -> None:
    with pytest.raises(UsageError, match="processors for 4 workers, and 5 are asked for"):
        share_out([(2, 0), (2, 0)], 5, None, "auto")
    with pytest.raises(UsageError, match="GPUs for 1 workers, and 2 are"):
        share_out([(8, 1)], 2, None, "auto")
    with pytest.raises(UsageError, match="processors for 0 workers"):
        share_out([], None, None, "auto")


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "work")


@pytest.fixture
def work_with(work: Work, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Worker]:
    """`work_with(Script(…))`: a worker of `work` that has this model; the job's has a plain one."""
    monkeypatch.chdir("/")

    def make(script: Script) -> Worker:
        about = describe(ScriptedSession(Script()), work.order)  # type: ignore[arg-type]
        monkeypatch.setattr(worker, "open_session", opener(script))
        post = Post(work.order, about, "2026-01-01T00:00:00", str(work.folder), 1, 1)
        return Worker(post)

    return make


def rows_of(work: Work) -> list[Row]:
    return [row for row in work.order.source.rows(Meter()) if row.fault is None]


def told(worker: Worker, rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [one for table in worker(packed(map(asked, rows))) for one in unpacked(table)]


def test_a_worker_answers_as_one_process_does(work: Work, work_with: Callable[..., Worker]) -> None:
    rows = rows_of(work)
    found = told(work_with(Script()), rows)
    order = work.order
    session: Any = ScriptedSession(Script())
    asking = Asking(session, order.settings, order.template, order.by_rows)
    answers = Answering(session, asking, order.effort).answers(iter(rows))
    expected = {one.row.number: one.answer for one in answers if isinstance(one, Answered)}
    assert len(expected) == 13
    assert {one["row"]: json.dumps(one["answer"]) for one in found} == {
        number: json.dumps(answer) for number, answer in expected.items()
    }
    assert Path.cwd() == work.folder


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (Script(weights="other"), " has other weights"),
        (Script(context=99), " has context 99, not 100"),
    ],
)
def test_a_worker_with_another_model_says_so(
    work: Work, work_with: Callable[..., Worker], script: Script, words: str
) -> None:
    (failure,) = told(work_with(script), rows_of(work))
    assert failure["failure"]["code"] == 1
    assert words in failure["failure"]["message"]


def test_a_worker_without_the_model_says_so(
    work: Work, work_with: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(model: Any) -> Any:
        raise ModelError("no such folder", hint="copy it")

    work_with(Script())
    monkeypatch.setattr(worker, "open_session", missing)
    other = Worker(Post(work.order, {}, "2026-01-01T00:00:00", str(work.folder), 1, 1))
    (failure,) = told(other, rows_of(work))
    assert failure["failure"] == {"code": 3, "message": "no such folder", "hint": "copy it"}


def test_a_worker_elsewhere_says_what_it_misses(
    work: Work, work_with: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: Any) -> Any:
        raise OSError(5, "Input/output error", "/model")

    work_with(Script())
    monkeypatch.setattr(worker, "open_session", broken)
    (failure,) = told(Worker(Post(work.order, {}, "2026-01-01T00:00:00", "/nowhere", 1, 1)), [])
    assert "Input/output error `/model`" in failure["failure"]["message"]


@pytest.mark.parametrize("kind", [LmtoolError, UsageError, ModelError, InputError])
def test_an_error_comes_back_as_what_it_was(kind: type[LmtoolError]) -> None:
    error = kind("what", hint="what to do")
    again = cluster._error(json.loads(json.dumps(worker.error_json(error))))
    assert (type(again), again.message, again.hint) == (kind, "what", "what to do")


class Lossy(Cluster):
    """A cluster that answers only some of what it is handed: `takes(n)` of n rows, each twice."""

    def __init__(self, work: Work, takes: Callable[[int], int]) -> None:
        session: Any = ScriptedSession(Script())
        order = work.order
        self._asking = Asking(session, order.settings, order.template, order.by_rows)
        self._stopping = Stopping()
        self._takes = takes
        self.handed: list[int] = []

    def _handed_out(self, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
        self.handed.append(len(rows))
        for row in rows[: self._takes(len(rows))]:
            for _ in range(2):
                yield {"row": row.number, "answer": {"text": "x"}, "moments": None}


def test_what_is_lost_is_asked_again_and_nothing_twice(work: Work) -> None:
    lossy = Lossy(work, lambda count: -(-count // 2))
    answered = list(lossy.answers(work.order.source.rows(Meter())))
    numbers = [one.row.number for one in answered if isinstance(one, Answered)]
    assert sorted(numbers) == list(range(1, 15))
    assert lossy.handed == [13, 6, 3, 1]
    assert sum(isinstance(one, Decoded) for one in answered) == 13


def test_windows_bound_what_is_handed_out(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "WINDOW", 60)
    lossy = Lossy(work, lambda count: count)
    list(lossy.answers(work.order.source.rows(Meter())))
    assert sum(lossy.handed) == 13
    assert max(lossy.handed) <= 3


def test_a_cluster_that_answers_nothing_is_given_up(work: Work) -> None:
    lossy = Lossy(work, lambda count: 0)
    with pytest.raises(LmtoolError, match="doesn't answer 13 rows"):
        list(lossy.answers(work.order.source.rows(Meter())))
    assert lossy.handed == [13] * PATIENCE


def test_rows_that_fail_do_so_once_those_before_are_answered(work: Work) -> None:
    def rows() -> Iterator[Row]:
        yield from rows_of(work)[:2]
        raise InputError("the disk is gone")

    lossy = Lossy(work, lambda count: count)
    answers = lossy.answers(rows())
    found = [next(answers) for _ in range(4)]
    assert sum(isinstance(one, Answered) for one in found) == 2
    with pytest.raises(InputError, match="the disk is gone"):
        next(answers)


@pytest.mark.parametrize(
    ("address", "code", "words"),
    [
        ("127.0.0.1:1", 1, "no Ray cluster at `127.0.0.1:1`: Connection refused; `ray start"),
        ("nonsense", 2, "`nonsense` is no Ray address"),
        ("foo:bar", 2, "`foo:bar` is no Ray address"),
        ("", 2, "`` is no Ray address"),
        ("ray://127.0.0.1:1", 2, "can't go through Ray Client"),
    ],
)
def test_no_cluster_is_one_line_and_begins_nothing(
    command: Run, work: Work, address: str, code: int, words: str
) -> None:
    order = work.order
    arguments = (str(order.source.path), "-o", str(order.files.output))
    command("batch", *arguments, "--ray", address).fails(code, words)
    assert not work.names()


def test_without_ray(command: Run, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    order = work.order
    arguments = (str(order.source.path), "-o", str(order.files.output))
    command("batch", *arguments, "--ray", "auto").fails(2, "pip install 'lmtool[ray]'")
    command("batch", *arguments, "--workers", "2").fails(2, "--workers", "--ray")


def test_only_our_own_words_are_seen(capfd: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    with hushed(terminal):
        os.write(1, b"chatter\n")
        os.write(2, b"chatter\n")
        terminal.note("ours")
    terminal.note("after")
    assert capfd.readouterr() == ("", "ours\nafter\n")
    with hushed(replace(terminal, verbosity=1)):
        os.write(2, b"asked for\n")
    assert capfd.readouterr().err == "asked for\n"
