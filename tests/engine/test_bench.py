"""What a benchmark's figures mean, on made-up numbers; that it runs what generation runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lmtool import InputError
from lmtool.engine import bench, machine
from lmtool.engine.bench import (
    Ceiling,
    Point,
    Repeat,
    Result,
    Spread,
    Subject,
    Texts,
    check_room,
    run,
)
from lmtool.engine.cost import Cost
from lmtool.engine.session import Session
from reference.loaded import Loaded
from reference.random_checkpoints import Case

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Case("bench", "Llama", {"eos_token_id": list(range(200))}).save(
        tmp_path_factory.mktemp("bench")
    )


@pytest.fixture(scope="module")
def session(folder: Path) -> Session:
    return Session.load(folder, device="cpu")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ceilings made up, so that nothing has to be measured."""
    monkeypatch.setattr(bench, "memory_bandwidth", lambda device: 10e9)
    monkeypatch.setattr(bench, "matrix_rate", lambda device, dtype, quant: 100e9)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], Spread(3, 3, 3)),
        ([5.0, 1.0, 2.0], Spread(2, 1, 5)),
        ([4.0, 1.0, 2.0, 100.0], Spread(3, 1, 100)),
        ([], None),
    ],
)
def test_spread(values: list[float], expected: Spread | None) -> None:
    assert Spread.of(values) == expected


def made_up(*repeats: Repeat) -> Result:
    return Result(Point(2, 10, 100, 30), Cost(4e9, 1e9, 6e12), repeats)


def test_rates_count_every_row_and_shares_go_by_the_ceiling_beside() -> None:
    slow = Ceiling(bandwidth=50e9, matrix_rate=2e12)
    fast = Ceiling(bandwidth=100e9, matrix_rate=4e12)
    result = made_up(
        Repeat(4.0, 4.5, 6.0, slow, 100), Repeat(2.0, 2.5, 3.0, fast, 300), Repeat(4, 4, 6, slow, 2)
    )
    assert result.prefill == Spread(200 / 4, 200 / 4, 200 / 2)
    assert result.decode == Spread(60 / 6, 60 / 6, 60 / 3)
    assert result.first_token_s == Spread(4, 2.5, 4.5)
    # The machine was half as fast while the model was: the share is the same throughout.
    assert result.bandwidth_share == Spread(0.5, 0.5, 0.5)
    assert result.matrix_share == Spread(0.75, 0.75, 0.75)
    assert result.ceiling == slow
    assert result.peak_bytes == 300


def test_what_a_point_does_not_ask_for_has_no_figures() -> None:
    ceiling = Ceiling(1e9, 1e9)
    reading = made_up(Repeat(1.0, 1.5, None, ceiling, None))
    assert (reading.decode, reading.bandwidth_share, reading.peak_bytes) == (None, None, None)
    assert reading.prefill is not None
    writing = made_up(Repeat(None, None, 1.0, ceiling, None))
    assert (writing.prefill, writing.first_token_s, writing.matrix_share) == (None, None, None)
    failed = made_up()
    assert (failed.prefill, failed.decode, failed.ceiling, failed.peak_bytes) == (None,) * 4


def test_points_beyond_the_context_are_refused_before_anything_runs(session: Session) -> None:
    check_room([Point(1, 0, 500, 12)], 512)
    points = [Point(1, 0, 1, 1), Point(1, 400, 100, 13)]
    with pytest.raises(InputError, match=r"depth of 400.*prompt of 100.*13 tokens.*513.*has 512"):
        next(run(session, points, 1))


def test_every_point_is_measured_in_order_and_as_often_as_asked(session: Session) -> None:
    points = [Point(b, d, p, n) for b in (1, 3) for d in (40, 0) for p in (0, 9) for n in (0, 4)]
    heard: list[tuple[Point, int]] = []
    results = list(run(session, points, 2, watch=lambda point, n: heard.append((point, n))))
    assert [result.point for result in results] == points
    assert heard == [(point, number) for point in points for number in (0, 1, 2)]
    for result in results:
        assert [(one.decode_s is None) for one in result.repeats] == [result.point.tokens == 0] * 2
        assert (result.prefill is None) == (result.point.prompt == 0)
        for spread in (result.prefill, result.decode, result.first_token_s):
            assert spread is None or 0 < spread.low <= spread.median <= spread.high
        assert result.error is None


def test_memory_that_ends_costs_one_point_only(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(spec, rows, *rest):
        if rows > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return cache(spec, rows, *rest)

    cache = bench.StaticCache
    monkeypatch.setattr(bench, "StaticCache", small)
    first, second, third = run(session, [Point(b, 0, 3, 2) for b in (1, 4, 2)], 1)
    assert (first.error, third.error) == (None, None)
    assert third.decode is not None
    assert second.error is not None
    assert "measuring batch 4, depth 0, prompt 3, 2 tokens" in second.error.message
    assert second.repeats == ()


def test_it_writes_what_generation_writes(folder: Path) -> None:
    loaded = Loaded.open(folder)
    texts = Texts(loaded.decoder, 2, 512, seed=5)
    point = Point(2, 30, 20, 12)
    texts.warm_up(point)
    for _ in range(2):  # rewound in between
        ids = texts.choose(texts.read(30, 50), 50)
        last = texts.write(ids, 50, 12)
        for row in range(2):
            expected = loaded.greedy(texts.span(row, 0, 50), 13)[0]
            assert (ids[row], last[row]) == (expected[0], expected[-1])


def test_prompts_share_steps_and_none_is_wider_than_a_chunk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "CHUNK", 16)
    loaded = Loaded.open(folder)
    widths: list[list[int]] = []

    class Spy:
        spec, dtype, device = loaded.decoder.spec, loaded.decoder.dtype, CPU

        def __call__(self, step, cache):
            widths.append([segment.width for segment in step.segments])
            return loaded.decoder(step, cache)

    texts = Texts(Spy(), 3, 512, seed=1)
    logits = texts.read(0, 20)
    assert widths == [[16], [4, 12], [8, 8], [12]]
    monkeypatch.setattr(bench, "CHUNK", 512)
    whole = Texts(loaded.decoder, 3, 512, seed=1).read(0, 20)
    torch.testing.assert_close(logits, whole, rtol=1e-4, atol=1e-4)


def test_ids_depend_on_the_seed_and_the_row_alone(folder: Path) -> None:
    decoder = Loaded.open(folder).decoder
    few, many = Texts(decoder, 1, 512, seed=1), Texts(decoder, 3, 512, seed=1)
    assert few.span(0, 0, 40) == many.span(0, 0, 40) != many.span(1, 0, 40)
    assert few.span(0, 0, 40) != Texts(decoder, 1, 512, seed=2).span(0, 0, 40)
    assert few.span(0, 5, 9) == few.span(0, 0, 40)[5:9]


def test_a_depth_is_filled_once(folder: Path) -> None:
    loaded = Loaded.open(folder)
    fed: list[int] = []

    class Spy:
        spec, dtype, device = loaded.decoder.spec, loaded.decoder.dtype, CPU

        def __call__(self, step, cache):
            fed.append(len(step.ids))
            return loaded.decoder(step, cache)

    texts = Texts(Spy(), 1, 512, seed=1)
    for depth, reads in ((100, [100, 8, 1]), (40, [8, 1]), (300, [191, 8, 1])):
        fed.clear()
        texts.warm_up(Point(1, depth, 8, 1))
        assert fed == reads, depth


def test_getting_warm_meets_every_doubling_of_the_length(folder: Path) -> None:
    loaded = Loaded.open(folder)
    lengths: set[int] = set()

    class Spy:
        spec, dtype, device = loaded.decoder.spec, loaded.decoder.dtype, CPU

        def __call__(self, step, cache):
            lengths.add(step.longest)
            return loaded.decoder(step, cache)

    Texts(Spy(), 1, 512, seed=1).warm_up(Point(1, 50, 20, 300))
    assert {70, 71, 129, 257} <= lengths
    assert max(lengths) == 257
    assert bench.doublings(64, 64) == bench.doublings(0, 1) == []
    assert bench.doublings(64, 65) == [64]


def test_ceilings_are_measured_anew_when_they_are_old(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter(range(1, 100))
    monkeypatch.setattr(bench, "memory_bandwidth", lambda device: float(next(measured)))
    fresh = next(run(session, [Point(1, 0, 2, 2)], 3))
    assert [one.ceiling.bandwidth for one in fresh.repeats] == [1, 1, 1]
    monkeypatch.setattr(bench, "FRESH_S", 0.0)
    stale = next(run(session, [Point(1, 0, 2, 2)], 3))
    assert [one.ceiling.bandwidth for one in stale.repeats] == [2, 3, 4]


def test_the_subject_says_what_and_where(session: Session) -> None:
    subject = Subject.of(session)
    assert subject.model == session.card
    assert subject.weight_bytes == pytest.approx(4 * session.card.parameters, rel=0.01)
    assert subject.machine.processor
    assert subject.machine.threads == torch.get_num_threads()
    assert subject.machine.torch == torch.__version__


def test_ceilings_of_this_machine_are_sane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "READ", 8 << 20)
    monkeypatch.setattr(machine, "WIDTH", 256)
    monkeypatch.setattr(machine, "ROWS", 64)
    assert 1e8 < machine.memory_bandwidth(CPU) < 1e13
    for dtype in (torch.float32, torch.bfloat16):
        for quant in (None, "int8", "int4"):
            assert 1e6 < machine.matrix_rate(CPU, dtype, quant) < 1e15


def test_peak_memory_forgets_what_was() -> None:
    block = torch.ones(64 << 20)
    held = machine.peak_memory(CPU)
    del block
    machine.forget_peak_memory(CPU)
    after = machine.peak_memory(CPU)
    assert held is not None
    assert after is not None
    assert held - after > 200 << 20
