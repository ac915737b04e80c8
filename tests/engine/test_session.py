"""Session end to end, on a tiny checkpoint with a tiny byte-level tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lmtool import InputError, ModelError, UsageError
from lmtool.engine.loop import CHUNK, ROWS
from lmtool.engine.request import Request, Sampling, Stop, Token
from lmtool.engine.session import Session
from lmtool.engine.weights.checkpoint import open_checkpoint
from reference.random_checkpoints import Case, reference_logprobs
from reference.small_tokenizers import byte_level

TEXT = "The old lighthouse, Straße und 灯台"
HOT = Sampling(temperature=1.3, seed=7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose three sources name different ends of a text."""
    folder = tmp_path_factory.mktemp("session")
    tokenizer = byte_level()
    size = tokenizer.get_vocab_size()
    Case("session", "Llama", {"vocab_size": size, "max_position_embeddings": 700}).save(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    ends = {"config.json": 5, "generation_config.json": [6, 7, 999_999, -1]}
    for name, eos in ends.items():
        path = folder / name
        fields = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(fields | {"eos_token_id": eos}))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|endoftext|>"}')
    return folder


@pytest.fixture(scope="module")
def session(folder: Path) -> Session:
    return Session.load(folder, device="cpu")


@pytest.fixture(scope="module")
def prompt(session: Session) -> tuple[int, ...]:
    assert session.tokenizer is not None
    return tuple(session.tokenizer.encode(TEXT))


@pytest.fixture(scope="module")
def plain(session: Session, prompt: tuple[int, ...]) -> list[Token]:
    """A sampled text of 60 tokens that nothing ends early."""
    return run(session, Request(prompt, 60, HOT))[0]


def run(session: Session, request: Request) -> list[list[Token]]:
    """Each sample's tokens."""
    return by_sample(session.generate(request), request.samples)


def by_sample(tokens: Iterable[Token], samples: int) -> list[list[Token]]:
    out: list[list[Token]] = [[] for _ in range(samples)]
    for token in tokens:
        out[token.sample].append(token)
    return out


def ids_of(tokens: list[Token]) -> list[int]:
    return [token.id for token in tokens]


def text_of(tokens: list[Token]) -> str:
    return "".join(token.text for token in tokens)


def decoded(session: Session, ids: list[int]) -> str:
    assert session.tokenizer is not None
    return session.tokenizer.decode(ids)


def new_at(ids: list[int], after: int) -> int:
    """The first place from `after` on of an id that isn't there before."""
    return next(place for place in range(after, len(ids)) if ids[place] not in ids[:place])


def test_what_a_session_knows(session: Session, folder: Path) -> None:
    assert session.eos == {0, 5, 6, 7, 999_999, -1}
    assert session.context == 700
    assert session.defaults["eos_token_id"] == [6, 7, 999_999, -1]
    card = session.card
    assert (card.family, card.dtype, card.quant) == ("llama", "float32", None)
    assert (card.name, card.path) == (folder.name, str(folder))
    model = Case("x", "Llama", {"vocab_size": session.spec.vocab}).model()
    assert card.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_every_source_names_ends(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    config = checkpoint.config | {"text_config": {"eos_token_id": [8, 5]}}
    assert replace(checkpoint, config=config).eos() == {5, 6, 7, 8, 999_999, -1}
    bad = checkpoint.config | {"text_config": {"eos_token_id": "</s>"}}
    with pytest.raises(ModelError, match="`eos_token_id` of the checkpoint is '</s>'"):
        replace(checkpoint, config=bad).eos()


def test_text_streams_whole_characters(session: Session, plain: list[Token]) -> None:
    assert text_of(plain) == decoded(session, ids_of(plain))
    assert [token.finish for token in plain] == [None] * 59 + ["length"]
    # A random model writes bytes that are no character: they come late, but nothing is lost.
    assert "�" in text_of(plain)


def test_an_end_of_text_is_silent(
    session: Session, prompt: tuple[int, ...], plain: list[Token]
) -> None:
    ids = ids_of(plain)
    place = new_at(ids, 10)
    for stop, finish in (
        (Stop(eos=frozenset({ids[place]})), "eos"),
        (Stop(ids=frozenset({ids[place]})), "stop"),
        (Stop(ids=frozenset({ids[place]}), eos=frozenset({ids[place]})), "stop"),
    ):
        [got] = run(session, Request(prompt, 60, HOT, stop))
        assert ids_of(got) == ids[: place + 1]
        assert got[-1].finish == finish
        assert text_of(got) == decoded(session, ids[:place])
    [got] = run(session, Request(prompt, 60, HOT, Stop(ids=frozenset({ids[place]}), keep=True)))
    assert text_of(got) == decoded(session, ids[: place + 1])


def test_stop_texts_end_a_text_wherever_tokens_end(
    session: Session, prompt: tuple[int, ...], plain: list[Token]
) -> None:
    whole = text_of(plain)
    for begin in range(5, 40, 7):
        stop = whole[begin : begin + 4]
        cut = whole.index(stop)
        for keep in (False, True):
            [got] = run(session, Request(prompt, 60, HOT, Stop(texts=(stop,), keep=keep)))
            assert got[-1].finish == "stop"
            assert text_of(got) == whole[: cut + (len(stop) if keep else 0)]
            assert ids_of(got) == ids_of(plain)[: len(got)]
    [got] = run(session, Request(prompt, 60, HOT, Stop(texts=("never written",))))
    assert text_of(got) == whole
    assert got[-1].finish == "length"


def test_whoever_breaks_off_gets_what_is_held_back(
    session: Session, prompt: tuple[int, ...], plain: list[Token]
) -> None:
    for count in range(1, 60, 6):
        so_far = ids_of(plain)[:count]
        ending = decoded(session, so_far)[-2:] + "never written"
        generation = session.generate(Request(prompt, 60, HOT, Stop(texts=(ending,))))
        tokens = iter(generation)
        shown = "".join(next(tokens).text for _ in range(count))
        assert shown + generation.rest()[0, 0][0] == decoded(session, so_far)
    assert session.generate(Request(prompt, 60, HOT)).rest() == {}


def test_min_tokens_puts_every_end_off(
    session: Session, prompt: tuple[int, ...], plain: list[Token]
) -> None:
    ids = ids_of(plain)
    first = ids[0]
    everything = Stop(
        eos=session.eos | {first}, ids=frozenset({ids[1]}), texts=("e", "�"), min_tokens=20
    )
    [got] = run(session, Request(prompt, 60, HOT, everything))
    assert len(got) > 20
    assert not {first, ids[1]} & set(ids_of(got[:20]))
    nothing = replace(everything, min_tokens=60)
    [got] = run(session, Request(prompt, 60, HOT, nothing))
    assert (len(got), got[-1].finish) == (60, "length")


def test_a_text_runs_to_the_end_of_the_context(
    folder: Path, prompt: tuple[int, ...], plain: list[Token]
) -> None:
    context = len(prompt) + 30
    short = Session.load(folder, device="cpu", context=context)
    for max_new in (None, 60):
        [got] = run(short, Request(prompt, max_new, HOT))
        assert ids_of(got) == ids_of(plain)[:30]
        assert got[-1].finish == "context"
    [got] = run(short, Request(prompt, 30, HOT))
    assert got[-1].finish == "length"


def test_no_tokens_asked_for(session: Session, prompt: tuple[int, ...]) -> None:
    request = Request(prompt, 0, samples=20, logprobs=1, prompt_logprobs=True)
    generation = session.generate(request)
    assert list(generation) == []
    assert len(generation.prompt) == len(prompt)


def test_fit(session: Session) -> None:
    ids = [(place * 7) % 300 for place in range(900)]
    assert session.fit(ids[:699], None, "error").of(ids[:699]) == tuple(ids[:699])
    with pytest.raises(InputError, match="the prompt has 900 tokens, the context 700"):
        session.fit(ids, 10, "error")
    with pytest.raises(InputError, match="the prompt has 700 tokens, the context 700"):
        session.fit(ids[:700], 10, "error")
    assert session.fit(ids, 10, "truncate-left").of(ids) == tuple(ids[210:])
    with pytest.raises(InputError, match="the prompt is empty"):
        session.fit([], 10, "truncate-left")
    for wrong in (-1, session.spec.vocab):
        with pytest.raises(InputError, match=f"token id {wrong} at place 1 is outside"):
            session.fit([1, wrong], 10, "error")


def test_truncation_keeps_what_begins_every_text(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bos"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).symlink_to(path)
    (copy / "tokenizer_config.json").unlink()
    (copy / "tokenizer_config.json").write_text('{"bos_token": "<|endoftext|>"}')
    session = Session.load(copy, device="cpu", context=10)
    ids = [0, *range(100, 130)]
    assert session.fit(ids, 4, "truncate-left").of(ids) == (0, *range(125, 130))
    assert session.fit(ids[1:], 4, "truncate-left").of(ids[1:]) == tuple(range(124, 130))
    tight = Session.load(copy, device="cpu", context=2)
    assert tight.fit(ids, 4, "truncate-left").of(ids) == (129,)
    with pytest.raises(UsageError, match="a context of 1 tokens is too small"):
        Session.load(copy, device="cpu", context=1)


def near(got: float | None, wanted: Tensor) -> None:
    assert got == pytest.approx(wanted.item(), abs=1e-4)


@pytest.mark.parametrize("length", [1, 30, CHUNK, CHUNK + 1])
def test_logprobs_are_transformers_own(session: Session, folder: Path, length: int) -> None:
    ids = torch.randint(0, 300, (length,), generator=torch.Generator().manual_seed(1)).tolist()
    generation = session.generate(Request(tuple(ids), 6, HOT, logprobs=3, prompt_logprobs=True))
    tokens = list(generation)
    wanted = reference_logprobs(folder, ids + ids_of(tokens))
    assert [token.id for token in generation.prompt] == ids
    assert (generation.prompt[0].logprob, generation.prompt[0].top) == (None, ())
    for place, token in enumerate([*generation.prompt, *tokens]):
        if place == 0:
            continue
        near(token.logprob, wanted[place - 1, token.id])
        best = wanted[place - 1].topk(3)
        assert [candidate.id for candidate in token.top] == best.indices.tolist()
        for candidate, value in zip(token.top, best.values, strict=True):
            near(candidate.logprob, value)


def test_logprobs_of_the_chosen_alone(session: Session, prompt: tuple[int, ...]) -> None:
    [got] = run(session, Request(prompt, 3, HOT, logprobs=0))
    assert all(token.logprob is not None and token.top == () for token in got)
    [got] = run(session, Request(prompt, 3, HOT))
    assert all(token.logprob is None and token.top == () for token in got)
    [got] = run(session, Request(prompt, 1, HOT, logprobs=10**6))
    assert len(got[0].top) == session.spec.vocab


def test_a_sample_is_the_same_alone_and_among_others(
    session: Session, prompt: tuple[int, ...], plain: list[Token]
) -> None:
    few = run(session, Request(prompt, 60, HOT, samples=3))
    many = run(session, Request(prompt, 60, HOT, samples=ROWS + 3))
    assert ids_of(few[0]) == ids_of(plain)
    assert many[:3] == few
    assert len({tuple(ids_of(sample)) for sample in many}) == ROWS + 3
    assert all(text_of(sample) == decoded(session, ids_of(sample)) for sample in many)
    # Some end early and leave gaps between the rows that go on.
    ends = Stop(eos=frozenset(range(0, 300, 12)))
    ended = run(session, Request(prompt, 60, HOT, ends, samples=ROWS + 3))
    assert len({len(sample) for sample in ended}) > 5
    for whole, part in zip(many, ended, strict=True):
        assert ids_of(whole)[: len(part)] == ids_of(part)


def test_requests_side_by_side(session: Session, prompt: tuple[int, ...]) -> None:
    asked = [
        Request(prompt, 20, HOT, samples=2),
        Request(prompt[:3], 30, Sampling(), Stop(texts=("e",)), logprobs=1, prompt_logprobs=True),
        Request(prompt[2:], 0, prompt_logprobs=True, logprobs=0),
        Request(prompt[5:], 10, replace(HOT, seed=1), Stop(eos=session.eos)),
    ]
    generation = session.generate_many(asked)
    tokens = list(generation)
    for number, request in enumerate(asked):
        alone = session.generate(request)
        own = by_sample((t for t in tokens if t.request == number), request.samples)
        for got, wanted in zip(own, by_sample(alone, request.samples), strict=True):
            assert ids_of(got) == ids_of(wanted)
            assert text_of(got) == text_of(wanted)
            assert [token.finish for token in got] == [token.finish for token in wanted]
        assert len(generation.prompts[number]) == len(alone.prompt)
    assert generation.timings.decoded_tokens == len(tokens)
    assert generation.timings.prompt_tokens == sum(len(request.ids) for request in asked)


def test_a_prompt_is_scored_once_for_many_samples(
    session: Session, prompt: tuple[int, ...]
) -> None:
    request = Request(prompt, 2, HOT, samples=ROWS + 1, logprobs=0, prompt_logprobs=True)
    generation = session.generate(request)
    assert len(list(generation)) == 2 * (ROWS + 1)
    assert len(generation.prompt) == len(prompt)
    assert generation.timings.decoded_tokens == 2 * (ROWS + 1)


def test_seeds_differ(session: Session, prompt: tuple[int, ...], plain: list[Token]) -> None:
    [again] = run(session, Request(prompt, 60, HOT))
    assert again == plain
    [other] = run(session, Request(prompt, 60, replace(HOT, seed=8)))
    assert ids_of(other) != ids_of(plain)


def test_a_checkpoint_without_a_tokenizer(
    folder: Path, tmp_path: Path, prompt: tuple[int, ...], plain: list[Token]
) -> None:
    for name in ("config.json", "model.safetensors", "generation_config.json"):
        (tmp_path / name).symlink_to(folder / name)
    session = Session.load(tmp_path, device="cpu")
    assert session.tokenizer is None
    assert session.eos == {5, 6, 7, 999_999, -1}
    [got] = run(session, Request(prompt, 60, HOT))
    assert ids_of(got) == ids_of(plain)
    assert text_of(got) == ""


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_on_the_cpu(folder: Path, prompt: tuple[int, ...], dtype: str) -> None:
    session = Session.load(folder, device="cpu", dtype=dtype)
    assert session.card.dtype == dtype
    [got] = run(session, Request(prompt, 5, logprobs=0))
    wanted = reference_logprobs(folder, list(prompt))[-1]
    # Two or three digits are left of logits near 10.
    assert got[0].logprob == pytest.approx(wanted[got[0].id].item(), abs=0.3)


def test_a_tokenizer_with_more_ids_than_the_embedding(tmp_path: Path) -> None:
    Case("small", "Llama").save(tmp_path)
    tokenizer = byte_level()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    with pytest.raises(ModelError, match=rf"has {size} ids, but the embedding only 211 rows"):
        Session.load(tmp_path, device="cpu")
