"""Any number of requests: what comes of each is its own, whatever fails beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import pytest

from lmtool import InputError, OutOfMemoryError
from lmtool.engine.request import Outcome, Request, Sampling, Token
from lmtool.engine.session import Session
from lmtool.engine.streaming import Ready, streamed
from reference.random_checkpoints import Case
from reference.small_tokenizers import byte_level


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    folder = tmp_path_factory.mktemp("stream")
    tokenizer = byte_level()
    Case("stream", "Llama", {"vocab_size": tokenizer.get_vocab_size()}).save(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return Session.load(folder, device="cpu", threads=1)


def outcomes(events: Iterable[Token | Outcome]) -> dict[int, Outcome]:
    found: dict[int, Outcome] = {}
    for event in events:
        if isinstance(event, Outcome):
            assert event.request not in found
            found[event.request] = event
    return found


def test_each_request_has_one_outcome_and_its_tokens(session: Session) -> None:
    hot = Sampling(temperature=1.0, seed=3)
    asked = [Request((5, 6, 7 + n), n % 5, hot, samples=1 + n % 2) for n in range(23)]
    found = outcomes(session.stream(iter(asked)))
    assert sorted(found) == list(range(23))
    for place, request in enumerate(asked):
        alone: list[list[Token]] = [[] for _ in range(request.samples)]
        for token in session.generate(request):
            alone[token.sample].append(token)
        got = [[token.id for token in own] for own in found[place].samples]
        assert got == [[token.id for token in own] for own in alone]
        assert {token.request for own in found[place].samples for token in own} <= {place}


def test_a_request_that_fails_fails_alone(session: Session) -> None:
    every = range(session.spec.vocab)
    nothing = Sampling(logit_bias=tuple((id, float("-inf")) for id in every))
    asked = [Request((5, 6), 4), Request((5, 7), 4, nothing), Request((5, 8), 4)]
    found = outcomes(session.stream(asked))
    assert [type(found[place].error) for place in range(3)] == [type(None), InputError, type(None)]
    assert [len(own) for own in found[2].samples] == [4]


WAITING = 5


def pretended(coming: Iterable[Ready]) -> Iterator[Token]:
    """A few at a time, each says its first id, and 13 brings everybody down."""
    requests, place = iter(coming), 0
    while some := list(islice(requests, WAITING)):
        for request, _ in some:
            if request.ids[0] == 13:
                raise InputError("unlucky")
            yield Token(0, request.ids[0], finish="length", request=place)
            place += 1


def test_requests_are_taken_when_there_is_room() -> None:
    taken: list[int] = []

    def asked() -> Iterator[Request]:
        for number in range(100):
            taken.append(number)
            yield Request((number,))

    events = streamed(asked(), Ready, pretended)
    assert taken == []
    next(events)
    assert len(taken) == WAITING
    rest = outcomes(events)
    assert len(rest) == 100
    assert [rest[n].error is not None for n in range(100)].index(True) == 13
    assert sum(one.error is not None for one in rest.values()) == 1
    for number in (12, 14, 77):
        [[token]] = rest[number].samples
        assert token.id == token.request == number


def test_a_request_that_cannot_be_made_ready_is_never_started() -> None:
    def prepare(request: Request) -> Ready:
        if request.ids[0] % 2:
            raise InputError("odd")
        return Ready(request)

    started: list[int] = []

    def start(coming: Iterable[Ready]) -> Iterator[Token]:
        for place, (request, _) in enumerate(coming):
            started.append(request.ids[0])
            yield Token(0, request.ids[0], finish="length", request=place)

    asked = [Request((number,), max_new=number // 8) for number in range(20)]
    found = outcomes(streamed(asked, prepare, start))
    assert sorted(found) == list(range(20))
    assert started == [8, 10, 12, 14, 16, 18]
    assert [str(found[n].error) for n in (9, 19)] == ["odd"] * 2
    # Whoever wants nothing is never wrong.
    assert [found[n].samples for n in range(8)] == [((),)] * 8


def test_what_concerns_all_is_raised() -> None:
    def exhausted(coming: Iterable[Ready]) -> Iterator[Token]:
        yield from pretended(coming)
        raise OutOfMemoryError("no room")

    with pytest.raises(OutOfMemoryError):
        outcomes(streamed([Request((1,))], Ready, exhausted))

    def broken() -> Iterator[Request]:
        yield Request((1,))
        raise InputError("the file ended early")

    events = streamed(broken(), Ready, pretended)
    assert isinstance(next(events), Token)
    assert isinstance(next(events), Outcome)
    with pytest.raises(InputError, match="ended early"):
        next(events)
