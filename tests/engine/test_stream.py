"""Any number of requests: what comes of each is its own, whatever fails beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from lmtool import InputError, OutOfMemoryError
from lmtool.engine.request import Outcome, Request, Sampling, Token
from lmtool.engine.session import Session
from lmtool.engine.waves import WAVE, in_waves
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


def pretended(requests: Iterable[Request]) -> Iterator[Token]:
    """Each says its first id, and 13 brings everybody down."""
    for place, request in enumerate(requests):
        if request.ids[0] == 13:
            raise InputError("unlucky")
        yield Token(0, request.ids[0], finish="length", request=place)


def test_requests_are_taken_when_there_is_room() -> None:
    taken: list[int] = []

    def asked() -> Iterator[Request]:
        for number in range(3 * WAVE):
            taken.append(number)
            yield Request((number,))

    events = in_waves(asked(), pretended)
    assert taken == []
    next(events)
    assert len(taken) == WAVE
    rest = outcomes(events)
    assert len(rest) == 3 * WAVE
    assert [rest[n].error is not None for n in range(3 * WAVE)].index(True) == 13
    assert sum(one.error is not None for one in rest.values()) == 1
    for number in (12, 14, 700):
        [[token]] = rest[number].samples
        assert token.id == token.request == number


def test_what_concerns_all_is_raised() -> None:
    def exhausted(requests: Iterable[Request]) -> Iterator[Token]:
        yield from pretended(requests)
        raise OutOfMemoryError("no room")

    with pytest.raises(OutOfMemoryError):
        outcomes(in_waves([Request((1,))], exhausted))

    def broken() -> Iterator[Request]:
        yield Request((1,))
        raise InputError("the file ended early")

    with pytest.raises(InputError, match="ended early"):
        outcomes(in_waves(broken(), pretended))
