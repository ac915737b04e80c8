"""Texts held to a grammar: random weights at a high temperature, so that the mask does it all."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmtool import InputError, ModelError, UsageError
from lmtool.engine.request import Request, Sampling, Stop, Token
from lmtool.engine.session import Session
from reference.held_texts import ENDS, PADDING, by_sample, grammar, held, make_session, text_of
from reference.random_schemas import schemas
from reference.side_by_side import Texts

EOS = frozenset({ENDS["byte_level"]})
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "bc"]}, "maxItems": 3},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
OPEN = grammar("regex", "[a-z]+( [a-z]+)*")
"""Texts that may end almost anywhere and need never end."""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return make_session(tmp_path_factory.mktemp("held") / "byte_level")


def check(schema: Any, text: str) -> None:
    jsonschema.Draft202012Validator(schema).validate(json.loads(text))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=schemas, seed=st.integers(0, 1000))
def test_what_is_written_fits_the_schema(session: Session, schema: Any, seed: int) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    tokens = held(session, grammar("json_schema", schema), seed=seed, eos=EOS)[0]
    text = text_of(tokens)
    if tokens[-1].whole:
        check(schema, text)
        assert "\n" not in text
        assert not re.search(r"[,:]\s\s", re.sub(r'"(\\.|[^"\\])*"', '""', text))
    else:
        with pytest.raises(json.JSONDecodeError):
            json.loads(text)
        assert tokens[-1].finish == "length"


PATTERNS = (
    r"[0-9]{3}-[0-9]{4}",
    r"(the|old|light)( [a-z]{1,6}){0,3}\.",
    r"\"[^\"]{0,5}\"",
    r"a|ab|abc",
    r"(?i)yes|no",
    "/[A-Za-z]{1,3}/",
    "[а-я]{2,5}|[ぁ-ん]{1,3}",  # noqa: RUF001  letters that look alike
    r"\d\s\S",
    "a\nb?",
    r"(x{2}|y)*z",
)


@settings(max_examples=30, deadline=None)
@given(pattern=st.sampled_from(PATTERNS), seed=st.integers(0, 1000))
def test_what_is_written_matches_the_regex(session: Session, pattern: str, seed: int) -> None:
    tokens = held(session, grammar("regex", pattern), seed=seed, eos=EOS)[0]
    assert tokens[-1].whole
    assert re.fullmatch(in_python(pattern), text_of(tokens))


def in_python(pattern: str) -> str:
    """The pattern for `re`, to which \x1c to \x1f are white space, as Unicode has it not."""
    white = pattern.replace(r"\s", r"(?![\x1c-\x1f])\s")
    return white.replace(r"\S", r"(?:\S|[\x1c-\x1f])")


def test_separators_are_not_white_space(session: Session) -> None:
    assert re.fullmatch(in_python(r"\d\s\S"), "1 \x1f")
    assert not re.fullmatch(in_python(r"\d\s\S"), "1\x1fa")
    tokens = held(session, grammar("regex", r"a\S\x1fb"), eos=EOS)[0]
    assert re.fullmatch(in_python(r"a\S\x1fb"), text_of(tokens))


@settings(max_examples=30, deadline=None)
@given(choices=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4))
def test_what_is_written_is_one_of_the_choices(session: Session, choices: list[str]) -> None:
    tokens = held(session, grammar("choice", choices), eos=EOS)[0]
    assert text_of(tokens) in choices
    assert tokens[-1].finish in ("stop", "eos")


LARK = """
start: greeting ", " NAME "!"
greeting: "hello" | "good " DAYTIME
DAYTIME: "morning" | "evening"
NAME: /[A-Z][a-z]{1,7}/
"""


def test_what_is_written_follows_the_lark_grammar(session: Session) -> None:
    for seed in range(5):
        text = text_of(held(session, grammar("lark", LARK), seed=seed, eos=EOS)[0])
        assert re.fullmatch(r"(hello|good (morning|evening)), [A-Z][a-z]{1,7}!", text), text


@pytest.mark.parametrize("holes", [False, True], ids=["dense", "holes"])
@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback"])
def test_every_spelling_writes_json(tmp_path: Path, kind: str, holes: bool) -> None:
    session = make_session(tmp_path / "made", kind, holes=holes)
    assert session.tokenizer is not None
    assert session.spec.vocab == session.tokenizer.vocab_size + PADDING
    for prompt, seed in (("The old", 1), ("", 2)):
        start = prompt or "\n"
        ends = frozenset({ENDS[kind]})
        tokens = held(session, grammar("json_schema", PERSON), prompt=start, seed=seed, eos=ends)[0]
        check(PERSON, text_of(tokens))
        assert all(session.tokenizer.knows(one.id) for one in tokens)


@pytest.mark.parametrize("kind", ["unigram", "word_piece"])
def test_vocabularies_without_every_byte(tmp_path: Path, kind: str) -> None:
    session = make_session(tmp_path / "made", kind)
    ends = frozenset({ENDS[kind]})
    for wanted, pattern in ((grammar("regex", "( ?[a-z]+){2,3}"), "( ?[a-z]+){2,3}"),):
        assert re.fullmatch(pattern, text_of(held(session, wanted, eos=ends)[0]))
    with pytest.raises(ModelError, match=r"--json_schema: the vocabulary of `made` has no token"):
        held(session, grammar("json_schema", PERSON), eos=ends)
    with pytest.raises(ModelError, match="has no token that it allows to begin"):
        held(session, grammar("choice", ["日本"]), eos=ends)


def test_a_first_word_keeps_the_space_that_the_grammar_saw(tmp_path: Path) -> None:
    session = make_session(tmp_path / "made", "byte_fallback")
    request = Request((1,), 50, grammar=grammar("choice", [" lighthouse"]))  # nothing but <s>
    assert "".join(token.text for token in session.generate(request)) == " lighthouse"


def test_special_tokens_are_no_text(session: Session) -> None:
    assert session.tokenizer is not None
    wanted = grammar("regex", r"<\|endoftext\|>")
    for eos in (EOS, frozenset[int]()):
        tokens = held(session, wanted, eos=eos)[0]
        assert text_of(tokens) == "<|endoftext|>"
        assert ENDS["byte_level"] not in [one.id for one in tokens]


def test_lark_can_name_a_special_token(session: Session) -> None:
    tokens = held(session, grammar("lark", 'start: "a" <|endoftext|> "b"'))[0]
    assert [one.id for one in tokens if one.id == 0] == [0]
    with pytest.raises(InputError, match="unknown special token"):
        held(session, grammar("lark", 'start: "a" <|nothing|>'))


def test_an_end_that_spells_something_is_no_part_of_a_text(session: Session) -> None:
    assert session.tokenizer is not None
    (comma,) = session.tokenizer.encode(",")
    with pytest.raises(ModelError, match="has no token that it allows behind `a`"):
        held(session, grammar("regex", "a,b"), eos=frozenset({comma}))
    tokens = held(session, grammar("regex", "a[,b]*"), eos=frozenset({comma}))[0]
    assert re.fullmatch("ab*", text_of(tokens))
    assert tokens[-1].finish == "eos"


def test_how_a_text_ends(session: Session) -> None:
    # Nothing can follow: no token is spent on an end.
    tokens = held(session, grammar("choice", ["ab"]), eos=EOS)[0]
    assert (text_of(tokens), tokens[-1].finish, tokens[-1].id in EOS) == ("ab", "stop", False)
    # More could follow: the model's own end.
    tokens = held(session, OPEN, eos=EOS, most=None)[0]
    assert (tokens[-1].finish, tokens[-1].id in EOS) == ("eos", True)
    # No end in the vocabulary: as soon as it may.
    tokens = held(session, grammar("regex", "[0-9]{2,}"), most=None)[0]
    assert re.fullmatch("[0-9]{2,3}", text_of(tokens))  # 3 where one token holds two of them
    assert tokens[-1].finish == "stop"
    # Ends that no vocabulary has are none.
    assert held(session, OPEN, eos=frozenset({-1, 999_999}))[0][-1].finish == "stop"
    # A stop id counts as an end where the text is whole.
    tokens = held(session, OPEN, ids=EOS)[0]
    assert (tokens[-1].finish, tokens[-1].whole) == ("stop", True)


def test_a_text_cut_short_says_so(session: Session) -> None:
    wanted = grammar("json_schema", PERSON)
    whole = held(session, wanted, eos=EOS)[0]
    cut = held(session, wanted, eos=EOS, most=len(whole) - 1)[0]
    assert [one.id for one in cut] == [one.id for one in whole[:-1]]
    assert (cut[-1].finish, cut[-1].whole) == ("length", False)
    just = held(session, wanted, eos=EOS, most=len(whole))[0]
    assert (just[-1].finish, just[-1].whole) == ("stop", True)
    # Cut where it could have ended, a text is whole.
    cut = held(session, OPEN, eos=EOS, most=3)[0]
    assert cut[-1].whole == bool(re.fullmatch("[a-z]+( [a-z]+)*", text_of(cut)))


def test_min_tokens_bar_an_end_and_not_the_grammars(session: Session) -> None:
    tokens = held(session, OPEN, eos=EOS, min_tokens=30)[0]
    assert len(tokens) > 30
    assert re.fullmatch("[a-z]+( [a-z]+)*", text_of(tokens))
    assert len(held(session, OPEN, min_tokens=30)[0]) == 30  # no end but the grammar's
    tokens = held(session, grammar("choice", ["ab"]), eos=EOS, min_tokens=30)[0]
    assert (text_of(tokens), tokens[-1].finish) == ("ab", "stop")


def test_stop_texts_cut_and_the_cut_is_told(session: Session) -> None:
    wanted = grammar("json_schema", PERSON)
    for keep, text in ((False, "{"), (True, '{"name"')):
        tokens = held(session, wanted, eos=EOS, texts=('"name"',), keep=keep)[0]
        assert (text_of(tokens), tokens[-1].finish) == (text, "stop")
        assert not tokens[-1].whole


def test_samples_and_requests_side_by_side(session: Session) -> None:
    assert session.tokenizer is not None
    ids = tuple(session.tokenizer.encode("The old"))
    wanted = [grammar("json_schema", PERSON), OPEN, None, grammar("choice", [" yes", " no"])]
    requests = [
        Request(ids, 60, Sampling(2.0, seed=seed), Stop(EOS), 2, 1, grammar=one)
        for seed, one in enumerate(wanted)
    ]
    together: Texts | dict[int, list[Token]] = {}
    for token in session.generate_many(requests):
        together.setdefault(token.request, []).append(token)  # type: ignore[call-overload]
    for number, request in enumerate(requests):
        alone = by_sample(list(session.generate(request)), 2)
        assert [[one.id for one in sample] for sample in by_sample(together[number], 2)] == [
            [one.id for one in sample] for sample in alone
        ]
    check(PERSON, text_of(by_sample(together[0], 2)[1]))


def test_log_probabilities_are_the_models_own(session: Session) -> None:
    assert session.tokenizer is not None
    ids = tuple(session.tokenizer.encode("The old"))
    free = Request(ids, 1, logprobs=3)
    held_to = Request(ids, 1, logprobs=3, grammar=grammar("choice", ["é"]))
    (one,), (other,) = list(session.generate(free)), list(session.generate(held_to))
    assert one.id != other.id
    assert one.top == other.top
    assert other.logprob is not None
    assert other.logprob < one.logprob  # type: ignore[operator]


@pytest.mark.parametrize(
    "knobs",
    [
        {"top_nsigma": 1.0, "typical": 0.5, "top_p": 0.5},
        {"top_k": 1, "min_p": 1.0},
        {"xtc_probability": 1.0, "xtc_threshold": 0.05},
        {"presence": 2.0, "frequency": 2.0, "repetition": 3.0},
        {"no_repeat_ngram": 3, "dry_multiplier": 2.0},
    ],
    ids=lambda knobs: "-".join(knobs),
)
def test_samplers_choose_among_what_is_let_through(
    session: Session, knobs: dict[str, float]
) -> None:
    wanted = grammar("json_schema", PERSON)
    for temperature in (0.0, 1.5):
        sampling = Sampling(temperature=temperature, seed=4, **knobs)  # type: ignore[arg-type]
        request = Request((5, 6, 7), 300, sampling, Stop(EOS), grammar=wanted)
        check(PERSON, text_of(list(session.generate(request))))


def test_bans_that_leave_nothing_are_told(session: Session) -> None:
    assert session.tokenizer is not None
    (ban,) = session.tokenizer.encode("Z")
    wanted = grammar("choice", ["ZZ"])
    # What may not be repeated stands back where it alone is let through.
    request = Request((ban,), 9, Sampling(no_repeat_ngram=1), grammar=wanted)
    assert text_of(list(session.generate(request))) == "ZZ"
    request = Request((5,), 9, Sampling(logit_bias=((ban, float("-inf")),)), grammar=wanted)
    with pytest.raises(InputError, match="no token is left to choose"):
        list(session.generate(request))


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_guesses_change_nothing(tmp_path: Path, temperature: float) -> None:
    session = make_session(tmp_path / "made")
    wanted = [
        grammar("json_schema", {"type": "array", "items": PERSON, "minItems": 2, "maxItems": 3}),
        grammar("regex", "(ab|abc|the old ){3,}c?"),
    ]
    kinds = {"lookup": (8, None), "draft": (0, session), "both": (3, session)}
    for one in wanted:
        session.guessing = None
        plain = held(session, one, eos=EOS, temperature=temperature, most=120, samples=2)
        for lookup, draft in kinds.values():
            session.speculate(lookup, draft)
            guessed = held(session, one, eos=EOS, temperature=temperature, most=120, samples=2)
            assert [[t.id for t in sample] for sample in guessed] == [
                [t.id for t in sample] for sample in plain
            ]
            assert [sample[-1].whole for sample in guessed] == [s[-1].whole for s in plain]


def test_a_grammar_needs_a_tokenizer(tmp_path: Path) -> None:
    made = make_session(tmp_path / "made")
    (tmp_path / "made" / "tokenizer.json").unlink()
    session = Session.load(tmp_path / "made", device="cpu")
    assert made.tokenizer is not None
    with pytest.raises(ModelError, match="needs a tokenizer"):
        session.generate(Request((1,), 5, grammar=OPEN))


def test_a_grammar_that_does_not_compile_is_told_before_anything_runs(session: Session) -> None:
    for kind, source, error in (
        ("regex", "(a", UsageError),
        ("json_schema", "{", InputError),
        ("lark", "start: a", InputError),
    ):
        with pytest.raises(error):
            session.generate(Request((1,), 5, grammar=grammar(kind, source)))
