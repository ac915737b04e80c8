"""`lmtool batch` goes on after anything, and ends with the same bytes as if nothing had been."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lmtool import LmtoolError, UsageError
from lmtool.cli.batch import log as log_module
from lmtool.cli.batch.job import Counts, Files
from lmtool.cli.batch.rows import Input
from lmtool.cli.batch.work import fulfil
from lmtool.cli.settings import Setting
from lmtool.cli.terminal import Terminal
from reference.batch_work import SETTINGS, Work
from reference.failing_disk import FailingDisk, Fault
from reference.scripted_model import Script, ScriptedSession

ENDED = {"out.jsonl", "out.jsonl.job"}


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flush after every third answer or so, not each second; and as if the disk were fast."""
    monkeypatch.setattr("os.fsync", lambda handle: None)
    chance = random.Random(1)

    def hasty(*arguments: Any) -> Any:
        return real(*arguments[:2], sync_s=0 if chance.random() < 0.3 else 1e9)

    real = log_module.open_log
    monkeypatch.setattr("lmtool.cli.batch.work.open_log", hasty)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Work]:
    numbers = iter(range(10_000))
    return lambda **more: Work(tmp_path / str(next(numbers)), **more)


@pytest.fixture
def undisturbed(make: Callable[..., Work]) -> bytes:
    work = make()
    assert work.run() == Counts(14, 2)
    return work.output.read_bytes()


def operations(make: Callable[..., Work], monkeypatch: pytest.MonkeyPatch, **run: Any) -> int:
    work = make()
    disk = FailingDisk(work.folder, at=-1)
    with disk.mounted(monkeypatch):
        work.run(**run)
    return disk.count


def ended_by(run: Callable[[], Any]) -> str | None:
    """What `run` has to say of its end, None if it doesn't know of any."""
    try:
        run()
    except LmtoolError as error:
        return error.message
    return None


@pytest.mark.parametrize("fault", ["killed", "power cut", "no space"])
def test_whatever_ends_it_at_any_write(
    make: Callable[..., Work], undisturbed: bytes, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    ends = operations(make, monkeypatch)
    assert ends > 20
    for at in range(ends):
        for seed in range(2):
            work = make()
            disk = FailingDisk(work.folder, at, fault, random.Random(seed))
            refusal = None
            with disk.mounted(monkeypatch):
                refusal = ended_by(work.run)
            assert refusal is None or (fault == "no space" and "No space left" in refusal)
            assert disk.count > at
            assert work.run(Script(rows=1 + seed)) == Counts(14, 2), (at, seed)
            assert work.output.read_bytes() == undisturbed, (at, seed)
            assert work.names() == ENDED, (at, seed)


def test_one_end_after_another(
    make: Callable[..., Work], undisturbed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(60):
        chance, work = random.Random(seed), make()
        for _ in range(chance.randint(2, 6)):
            fault: Fault = chance.choice(("killed", "power cut"))
            disk = FailingDisk(work.folder, chance.randint(0, 25), fault, chance)
            with disk.mounted(monkeypatch):
                work.run(Script(rows=chance.randint(1, 6)))
            if work.output.exists():
                assert work.output.read_bytes() == undisturbed, seed
        work.run()
        assert work.output.read_bytes() == undisturbed, seed
        assert work.names() == ENDED


def test_a_power_cut_costs_no_answer_that_was_flushed(
    make: Callable[..., Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = log_module.open_log
    monkeypatch.setattr(
        "lmtool.cli.batch.work.open_log", lambda path, output: opened(path, output, sync_s=0)
    )
    for at in range(6, 30, 3):
        work = make()
        disk = FailingDisk(work.folder, at, "power cut", random.Random(at))
        with disk.mounted(monkeypatch):
            work.run()
        lines = (work.folder / "out.jsonl.partial").read_bytes().count(b"\n")
        # Five for the beginning, then each answer is a write and a flush.
        assert lines - 1 >= (at - 5) // 2, at


def test_a_log_cut_at_every_byte(make: Callable[..., Work], undisturbed: bytes) -> None:
    """As SIGKILL leaves it: a beginning of what would have been written."""
    whole = partial_of(make())
    for end in range(0, len(whole), 211):
        work = make()
        (work.folder / "out.jsonl.partial").write_bytes(whole[:end])
        work.run()
        assert work.output.read_bytes() == undisturbed, end


def partial_of(work: Work) -> bytes:
    """The log of a job just before it is finished."""

    def stop(rows: Iterator[Any]) -> Iterator[Any]:
        yield from rows
        raise LmtoolError("the end")

    class Stopped(Input):
        def rows(self, meter: Any) -> Iterator[Any]:
            return stop(super().rows(meter))

    with pytest.raises(LmtoolError, match="the end"):
        work.run(source=Stopped(work.folder / "in.jsonl", "jsonl"))
    return (work.folder / "out.jsonl.partial").read_bytes()


def stopped(make: Callable[..., Work], lines: int) -> Work:
    """A job that was killed when so many of its answers were written."""
    work = make()
    whole = partial_of(make()).splitlines(keepends=True)
    (work.folder / "out.jsonl.partial").write_bytes(b"".join(whole[: 1 + lines]))
    return work


def test_answers_are_not_asked_for_twice(make: Callable[..., Work], undisturbed: bytes) -> None:
    work = stopped(make, 11)
    session: Any = ScriptedSession(Script())
    fulfil(work.order, lambda: session, Terminal(verbosity=-1))
    assert session.asked == 3
    assert work.output.read_bytes() == undisturbed


CHANGES: dict[str, tuple[Callable[[Work], dict[str, Any]], str]] = {
    "a setting": (
        lambda work: {
            "settings": replace(
                SETTINGS, sampling=replace(SETTINGS.sampling, temp=Setting(0.5, "command line"))
            )
        },
        "temp 1.0, not 0.5",
    ),
    "a template": (lambda work: {"template": "{{ n }}"}, 'template null, not "{{ n }}"'),
    "the weights": (lambda work: {"script": Script(weights="other")}, "other weights"),
    "the context": (lambda work: {"script": Script(context=50)}, "context 100, not 50"),
    "a row": (lambda work: edit(work, "row 7", "row seven"), "other rows"),
    "one row more": (lambda work: edit(work, "broken", "broken\nmore"), "14 rows, not 15"),
    "one row less": (lambda work: edit(work, "broken\n", ""), "14 rows, not 13"),
}


def edit(work: Work, old: str, new: str) -> dict[str, Any]:
    path = work.folder / "in.jsonl"
    path.write_text(path.read_text().replace(old, new))
    return {}


@pytest.mark.parametrize("finished", [False, True], ids=["stopped", "finished"])
@pytest.mark.parametrize("name", CHANGES)
def test_what_has_changed_is_named_and_refused(
    make: Callable[..., Work], name: str, finished: bool
) -> None:
    work = stopped(make, 5)
    if finished:
        work.run()
    before = {path: path.read_bytes() for path in work.folder.glob("out.*")}
    change, words = CHANGES[name]
    with pytest.raises(UsageError) as caught:
        work.run(**(changed := change(work)))
    assert words in caught.value.message
    assert caught.value.hint == "--fresh begins again"
    assert {path: path.read_bytes() for path in work.folder.glob("out.*")} == before
    fresh = work.run(fresh=True, **changed)
    assert work.names() == ENDED
    assert fresh.rows == len((work.folder / "in.jsonl").read_text().splitlines())


def test_order_threads_and_the_like_may_change(
    make: Callable[..., Work], undisturbed: bytes
) -> None:
    work = stopped(make, 5)
    work.run(Script(rows=9), ordered=False)
    lines = work.output.read_bytes().splitlines(keepends=True)
    assert lines != undisturbed.splitlines(keepends=True)
    assert sorted(lines) == sorted(undisturbed.splitlines(keepends=True))


def test_an_output_of_others_is_left_alone(make: Callable[..., Work], undisturbed: bytes) -> None:
    work = make()
    for name, data in (("out.jsonl", b"mine"), ("out.jsonl.partial", b"mine\n")):
        for text in (data, data + b"more"):
            path = work.folder / name
            path.write_bytes(text)
            with pytest.raises(UsageError, match="is there"):
                work.run()
            assert path.read_bytes() == text
            path.unlink()
    work.run()
    work.output.write_bytes(undisturbed + b"\n")
    with pytest.raises(UsageError, match="was changed after"):
        work.run()
    work.run(fresh=True)
    assert work.output.read_bytes() == undisturbed


def test_what_is_read_is_never_written(make: Callable[..., Work]) -> None:
    work = make()
    for name in ("in.jsonl", "in.jsonl.partial", "in.jsonl.job"):
        (work.folder / name).write_bytes(data := (work.folder / "in.jsonl").read_bytes())
        source = Input(work.folder / name, "jsonl")
        with pytest.raises(UsageError, match="in each other's way"):
            work.run(source=source, files=Files(work.folder / "in.jsonl"))
        assert (work.folder / name).read_bytes() == data


def test_the_second_of_two_refuses(make: Callable[..., Work], undisturbed: bytes) -> None:
    work = make()
    refused: list[str] = []

    class Nosy(Input):
        def rows(self, meter: Any) -> Iterator[Any]:
            for row in super().rows(meter):
                with pytest.raises(UsageError) as caught:
                    work.run()
                refused.append(caught.value.message)
                yield row

    work.run(source=Nosy(work.folder / "in.jsonl", "jsonl"))
    assert set(refused) == {f"another run is writing `{work.output}`"}
    assert work.output.read_bytes() == undisturbed


@pytest.mark.parametrize("finished", [False, True], ids=["stopped", "finished"])
def test_rows_that_failed_run_again_if_asked(make: Callable[..., Work], finished: bool) -> None:
    work = stopped(make, 9)
    if finished:
        work.run()
    session: Any = ScriptedSession(Script(fails=False))

    def run(**changes: Any) -> Counts:
        order = replace(work.order, **changes)
        return fulfil(order, lambda: session, Terminal(verbosity=-1))

    assert run(retry_errors=True) == Counts(14, 1)
    answers = [json.loads(line) for line in work.output.read_bytes().splitlines()]
    assert [one["row"] for one in answers] == list(range(1, 15))
    assert [one["row"] for one in answers if "error" in one] == [2]
    assert answers[2]["text"]
    if finished:
        assert session.asked == 1
    assert run() == Counts(14, 1)


def test_a_retry_that_is_killed_anywhere(
    make: Callable[..., Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    better = Script(fails=False)
    whole = make()
    whole.run()
    whole.run(better, retry_errors=True)
    for at in range(30):
        work = make()
        work.run()
        disk = FailingDisk(work.folder, at, "power cut", random.Random(at))
        with disk.mounted(monkeypatch):
            work.run(better, retry_errors=True)
        work.run(better, retry_errors=True)
        assert work.output.read_bytes() == whole.output.read_bytes(), at
        assert work.names() == ENDED


def test_a_file_that_changes_while_it_is_read(make: Callable[..., Work]) -> None:
    work = make()

    class Changing(Input):
        def rows(self, meter: Any) -> Iterator[Any]:
            edit(work, "row 9", "row nine")
            yield from super().rows(meter)

    with pytest.raises(UsageError, match="have changed"):
        work.run(source=Changing(work.folder / "in.jsonl", "jsonl"))
    assert not work.output.exists()
