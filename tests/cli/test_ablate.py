"""`lmtool generate --ablate`: the model does without what is named, and says what isn't there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtool import UsageError
from lmtool.cli.ablation_options import NUMBERS, AblationSettings, Parts, Tokens, Words, parse
from lmtool.cli.settings import declared_in
from lmtool.cli.text_table import display_width
from lmtool.cli.unseen import joined
from lmtool.engine.knockout import Part, find_parts
from lmtool.engine.request import Request
from lmtool.engine.session import Session
from reference.adapters import save_adapter
from reference.cases_experts import CASES

from .conftest import REAL, Make, Ran, Run

DEFAULT = Path(__file__).resolve().parents[2] / "models" / "default"
KEEPER = "The old keeper climbed the stairs of the lighthouse. The keeper"
GREEDY = ("--temp", "0", "--ignore-eos", "-n", "10")

picks = st.sampled_from(["*", "0", "7", "0-3", "12-12"])


@given(st.sampled_from(sorted(NUMBERS)), st.lists(picks, min_size=1, max_size=4))
def test_parts_take_as_many_numbers_as_they_have(kind: Any, numbers: list[str]) -> None:
    text = f"{kind}:{'.'.join(numbers)}"
    if len(numbers) not in NUMBERS[kind]:
        with pytest.raises(UsageError, match="must be head:LAYER"):
            declared_in(AblationSettings)["ablate"].accept([text], "--ablate")
        return
    spelled = {"*": "*", "0": range(1), "7": range(7, 8), "0-3": range(4), "12-12": range(12, 13)}
    assert parse(text) == Parts(kind, tuple(spelled[number] for number in numbers))


def test_a_part_is_written_as_it_is_read() -> None:
    layer: Any = SimpleNamespace(mixer=SimpleNamespace(heads=9), feed=SimpleNamespace(width=9))
    spec: Any = SimpleNamespace(layers=(layer,) * 9)
    for part in (Part("head", 5, 1), Part("mlp", 8), Part("layer", 0), Part("neuron", 3, 7)):
        what = parse(str(part))
        assert isinstance(what, Parts)
        assert find_parts(what.kind, what.picks, spec) == [part]
    assert parse("neuron:1.shared.17") == Parts("neuron", (range(1, 2), "shared", range(17, 18)))


def test_places_and_words() -> None:
    assert parse("tokens:3") == Tokens(range(3, 4))
    assert parse("tokens:3-5") == Tokens(range(3, 6))
    assert parse("text: a: b.c ") == Words(" a: b.c ")
    assert joined([range(4, 6), range(2), range(2, 3), range(5, 9), range(4, 5)]) == (
        range(3),
        range(4, 9),
    )


@pytest.mark.parametrize(
    "text",
    [
        *("", "head", "head:", "head:3", "head:3.1.2", "mlp:5-2", "mlp:-1", "mlp:1.", "tokens:*"),
        *("tokens:", "text:", "tokens:1.2", "heads:1.2", "mlp:\u0661", "mlp: 1", "head:3,1", "x:1"),
        *("mlp:1-2-3", "head:3..1", "mlp:" + "9" * 5000),
    ],
)  # fmt: skip
def test_what_can_not_be_read(generate: Run, text: str) -> None:
    ran = generate("Once", "--ablate", text)
    ran.fails(2, "--ablate must be head:LAYER.HEAD, ", "text:WORDS, not `")
    assert ran.request is None


@pytest.fixture
def lacking(real: Run, checkpoint: Path) -> Callable[..., Ran]:
    """`lacking("mlp:1", "text:fox")`: the tiny checkpoint's text without these."""

    def run(*what: str, more: tuple[str, ...] = (), prompt: str = "so the fox is a fox"):
        wanted = [word for text in what for word in ("--ablate", text)]
        return real(prompt, "-m", str(checkpoint), *GREEDY, "--json", *wanted, *more)

    return run


@pytest.mark.parametrize(
    ("what", "parts"),
    [
        (["head:1.2"], [Part("head", 1, 2)]),
        (["head:*.0-1"], [Part("head", layer, head) for layer in range(3) for head in (0, 1)]),
        (["attention:0"], [Part("attention", 0)]),
        (["mlp:1-2"], [Part("mlp", 1), Part("mlp", 2)]),
        (["layer:2", "neuron:0.7"], [Part("layer", 2), Part("neuron", 0, 7)]),
    ],
)  # fmt: skip
def test_the_model_does_without(
    lacking: Callable[..., Ran], checkpoint: Path, what: list[str], parts: list[Part]
) -> None:
    found = lacking(*what, more=("--logprobs", "0")).json
    session = Session.load(checkpoint, threads=1)
    session.ablate(parts)
    request = Request(tuple(found["prompt_token_ids"]), 10, logprobs=0)
    wanted = list(session.generate(request))
    assert found["token_ids"] == [token.id for token in wanted]
    assert [one["logprob"] for one in found["logprobs"]] == pytest.approx(
        [token.logprob for token in wanted], abs=1e-4
    )
    whole = lacking(more=("--logprobs", "0")).json
    assert [one["logprob"] for one in whole["logprobs"]] != pytest.approx(
        [one["logprob"] for one in found["logprobs"]], abs=1e-4
    )
    assert found["settings"]["ablate"] == {"value": what, "source": "command line"}
    assert whole["settings"]["ablate"] == {"value": [], "source": "default"}


def test_words_are_the_tokens_that_they_touch(real: Run) -> None:
    def said(*what: str) -> list[int]:
        wanted = [word for text in what for word in ("--ablate", text)]
        return real(KEEPER, *GREEDY, "--json", *wanted).json["token_ids"]

    ran = real(KEEPER, *GREEDY, "--ablate", "text:lighthouse", "-v")
    assert "\nablated: the sight of tokens 11-12 `·lighthouse`\n" in f"\n{ran.err}"
    session = Session.load(DEFAULT, threads=1)
    assert session.tokenizer is not None
    ids = session.tokenizer.encode(KEEPER)
    assert session.tokenizer.decode(ids[11:13]) == " lighthouse"
    session.ablate([], [range(11, 13)])
    wanted = [token.id for token in session.generate(Request(tuple(ids), 10))]
    assert said("text:lighthouse") == said("tokens:11-12") == said("tokens:12", "tokens:11")
    assert said("text:lighthouse") == wanted != said()
    assert said("text:stairs of the", "text:of the lighthouse") == said("tokens:7-12")


def test_every_occurrence_but_the_one_that_ends_the_prompt(real: Run) -> None:
    ran = real(KEEPER, *GREEDY, "--ablate", "text:keeper", "-v")
    assert "`keeper` is seen where the prompt ends: the answer is read there\n" in ran.err
    assert "ablated: the sight of tokens 3-4 `·keeper`\n" in ran.err
    ran = real(KEEPER, *GREEDY, "--ablate", "text:the", "-v")
    assert "ablated: the sight of token 6 `·the`, the sight of token 10 `·the`\n" in ran.err
    assert "where the prompt ends" not in ran.err
    quiet = real(KEEPER, *GREEDY, "--ablate", "text:keeper", "-q")
    assert (quiet.code, quiet.err) == (0, "")


def test_it_says_where_tokens_hold_more_than_the_words(real: Run) -> None:
    ran = real("むかし、ある日のことです", *GREEDY, "--ablate", "text:日の")
    assert ran.err == "tokens are unseen as a whole, for `日の`: `日のこと`\n"


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("head:3.9", "--ablate head:3.9: no head 9: layer 3 has 4, numbered 0 to 3"),
        ("head:6.0", "--ablate head:6.0: no layer 6: the model has 6, numbered 0 to 5"),
        ("mlp:4-7", "no layer 6: the model has 6"),
        ("neuron:0.768", "no neuron 768: layer 0 has 768, numbered 0 to 767"),
        ("neuron:*.0-9999", "no neuron 768: layer 0 has 768"),
        ("expert:0.1", "layer 0 has no experts"),
        ("expert:*.1", "the model has no experts"),
        ("neuron:0.1.2", "layer 0 has no experts"),
        ("head:0.shared", "`shared` is an expert, not a head"),
        ("tokens:17", "no token 17: the prompt has 17, numbered 0 to 16"),
        ("tokens:3-99", "no token 17: the prompt has 17"),
        ("tokens:12-16", "--ablate tokens:12-16: the answer is read at the prompt's last token"),
        ("text:The keeper", "the answer is read at the prompt's last token"),
        ("text:whale", "--ablate text:whale: the prompt doesn't have it"),
        ("text:Keeper", "the prompt doesn't have it"),
        ("text:light", "it only within other words, as in `·lighthouse`"),
        ("text:keep", "as in `·keeper`"),
    ],
)
def test_what_is_not_there(real: Run, what: str, words: str) -> None:
    real(KEEPER, "--ablate", what).fails(2, words)


def test_experts(real: Run, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == "qwen2_moe")
    folder = str(case.save(tmp_path / "experts"))
    asked = ("--token-ids", "5 6 7 8", "-m", folder, *GREEDY, "--json")
    plain = real(*asked).json["token_ids"]
    for what in ("expert:1.*", "expert:1.shared", "neuron:1.*.0-39", "tokens:1-2"):
        ran = real(*asked, "--ablate", what)
        assert ran.json["token_ids"] != plain
    real(*asked, "--ablate", "expert:1.99").fails(2, "no expert 99: layer 1 has ")
    real(*asked, "--ablate", "neuron:1.5").fails(2, "neurons are numbered one by one", "EXPERT")
    real(*asked, "--ablate", "text:a").fails(3, "the model has no tokenizer", "tokens:FIRST-LAST")


def test_guesses_and_files_change_nothing(
    lacking: Callable[..., Ran],
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    what = ("head:1.2", "text:fox")
    wanted = lacking(*what).json["token_ids"]
    assert wanted != lacking().json["token_ids"]
    for more in (
        ("--lookup", "5"),
        ("--draft-model", str(checkpoint)),
        ("--prompt-cache", "p.cache"),
        ("--prompt-cache", "p.cache"),
    ):
        assert lacking(*what, more=more).json["token_ids"] == wanted
    assert [one["token_ids"] for one in lacking(*what, more=("--samples", "2")).json] == [
        wanted
    ] * 2
    lacking(more=("--prompt-cache", "p.cache")).fails(3, "of `tiny` with something else ablated")
    lacking(more=("--prompt-cache", "whole"))
    lacking("mlp:0", more=("--prompt-cache", "whole")).fails(3, "of `tiny` with nothing ablated")


def test_with_adapters_and_fewer_bits(
    lacking: Callable[..., Ran], checkpoint: Path, tmp_path: Path
) -> None:
    adapter = save_adapter(checkpoint, tmp_path / "adapter", target_modules=["o_proj"])
    for more in (("--lora", str(adapter)), ("--quant", "int8"), ("--kv-dtype", "int8")):
        texts = [lacking(*what, more=more).json["token_ids"] for what in ((), ("attention:0-1",))]
        assert texts[0] != texts[1]
    # Where all that an adapter changes is gone, so is the adapter.
    gone = lacking("attention:*").json["token_ids"]
    assert lacking("attention:*", more=("--lora", str(adapter))).json["token_ids"] == gone


def test_places_are_those_of_what_the_context_holds(real: Run, checkpoint: Path) -> None:
    def asked(count: int, *more: str) -> Ran:
        ids = " ".join(map(str, range(5, 5 + count)))
        given = ("--token-ids", ids, "-m", str(checkpoint), "-c", "16", *GREEDY, "-n", "4")
        return real(*given, "--json", "-q", *more)

    cut = asked(40, "--overflow", "truncate-left", "--ablate", "tokens:3-5").json
    assert cut["prompt_token_ids"] == list(range(33, 45))
    short = real(
        *("--token-ids", " ".join(map(str, range(33, 45))), "-m", str(checkpoint), *GREEDY),
        *("-n", "4", "--json", "--ablate", "tokens:3-5"),
    )
    assert cut["token_ids"] == short.json["token_ids"]
    far = asked(40, "--overflow", "truncate-left", "--ablate", "tokens:20")
    far.fails(2, "no token 20: the prompt has 12")
    moved = asked(6, "--overflow", "shift", "--ablate", "tokens:1")
    moved.fails(2, "--ablate of tokens or text excludes --overflow shift")
    assert asked(6, "--overflow", "shift", "--ablate", "mlp:1", "-n", "30").code == 0


def test_a_talk_s_words(real: Run, chatty: Make) -> None:
    asked = ("--chat", "-m", str(chatty("chatml")), *GREEDY, "-v")
    ran = real("Hello, wise helper", *asked, "--ablate", "text:wise", "--ablate", "text:assistant")
    assert "wise`" in ran.err
    assert "where the prompt ends" not in ran.err  # a line break follows the role


def test_the_environment_the_config_file_and_escapes(
    real: Run, checkpoint: Path, tmp_path: Path
) -> None:
    asked = ("so\nthe\nfox", "-m", str(checkpoint), *GREEDY, "--json")
    wanted = real(*asked, "--ablate", "text:so\nthe").json
    assert real(*asked, LMTOOL_ABLATE="text:so\nthe").json["token_ids"] == wanted["token_ids"]
    escaped = real(*asked, "-e", "--ablate", r"text:so\nthe").json
    assert escaped["token_ids"] == wanted["token_ids"]
    config = tmp_path / "mine.toml"
    config.write_text('[generate]\nablate = ["mlp:1", "text:so\\nthe"]\n')
    found = real(*asked, "--config", str(config)).json["settings"]["ablate"]
    assert found == {"value": ["mlp:1", "text:so\nthe"], "source": "config file"}
    real(*asked, "--ablate", "text:\udcff").fails(4, "--ablate is not UTF-8")


BALL = "Tom had a red ball. He gave the"


def explained(command: Run, *arguments: str) -> Any:
    ran = command("explain", *arguments, "--json", script=REAL)
    assert (ran.code, ran.err) == (0, ""), ran
    return ran.json


def test_an_explanation_beside_the_whole_model_s(command: Run) -> None:
    whole = explained(command, BALL)
    assert "ablation" not in whole
    assert "whole" not in whole["predictions"][0]
    what = ("--ablate", "text:ball", "--ablate", "head:3.0-1")
    found = explained(command, BALL, *what, "--answer", " ball")
    assert found["ablation"] == {
        "parts": ["head:3.0", "head:3.1"],
        "unseen": [{"first": 5, "last": 5, "text": " ball"}],
    }
    (one,), (before,) = found["predictions"], whole["predictions"]
    assert one["whole"]["answer"] == before["answer"]
    assert (one["whole"]["rank"], one["whole"]["top"]) == (1, before["top"])
    ball = one["whole"]["moved"][0]
    assert (ball["token"], one["answer"]["token"]) == (" ball", " ball")
    for name, answer in (("whole", before["answer"]), ("without", one["answer"])):
        assert ball[name]["probability"] == pytest.approx(answer["probability"], abs=1e-6)
        assert ball[name]["logit"] == pytest.approx(answer["logit"], abs=1e-4)
    assert ball["whole"]["probability"] > 0.5 > 10 * ball["without"]["probability"]
    assert one["whole"]["kl"] > 1
    assert one["origins"][5]["norm"] == one["origins"][5]["logit"] == 0
    assert one["layers"][3]["heads"][:2] == [0, 0]


def test_what_it_writes_then(command: Run, real: Run) -> None:
    what = ("--ablate", "text:ball")
    found = explained(command, BALL, *what, "-n", "3", "--top", "2")
    written = real(BALL, *what, "--temp", "0", "-n", "3", "--json").json["token_ids"]
    assert [one["answer"]["id"] for one in found["predictions"]] == written
    assert [len(one["whole"]["top"]) for one in found["predictions"]] == [2] * 3
    # At a place within, only what stands before it counts.
    at = explained(command, BALL, "--at", "6", "--ablate", "tokens:2-4")
    assert at["predictions"][0]["position"] == 6
    failed = command("explain", BALL, "--at", "6", *what, script=REAL)
    failed.fails(2, "--ablate text:ball: the answer is read at the prompt's last token")
    failed = command("explain", BALL, "--at", "5", *what, script=REAL)
    failed.fails(2, "--ablate text:ball: the prompt doesn't have it")


@pytest.mark.parametrize("prompt", [BALL, "むかし、ある日のことです。少年は山へ行きました。少年は"])
def test_the_report_has_both(command: Run, prompt: str) -> None:
    text = "text:ball" if prompt == BALL else "text:山へ行きました"
    what = ("--ablate", text, "--ablate", "mlp:*", "--ablate", "head:*.*")
    ran = command("explain", prompt, *what, script=REAL)
    assert "\nWhat if: without mlp:0, mlp:1, " in ran.out
    assert "the sight of token" in " ".join(ran.out.split())
    assert " 18 more parts, " in " ".join(ran.out.split())
    lines = iter(ran.out.splitlines())
    heads = next(line for line in lines if line.startswith("token ") and "whole model" in line)
    assert heads.split()[3:] == ["logit", "without", "logit", "change", "logit"]
    first = next(lines).split()
    assert f"answer  {first[0]}  {first[3]} likely" in ran.out
    assert max(map(display_width, ran.out.splitlines())) <= 80
    wrong = command("explain", prompt, "--ablate", "mlp:9", script=REAL)
    wrong.fails(2, "no layer 9: the model has 6, numbered 0 to 5")
