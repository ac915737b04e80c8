"""`lmtool chat` from a pipe, in this process: turns, what they read anew, commands, errors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from lmtool.cli.terminal import Terminal
from reference import chats
from reference.scripted_model import Script

from .conftest import REAL, Make, Ran, Run

Chat = Callable[..., Ran]


@pytest.fixture
def chat(command: Run, chatty: Make) -> Chat:
    """`chat("hi", "/undo", given=("-n", "8"))`: the real engine on these lines."""
    folder = str(chatty("chatml"))

    def run(*lines: str, given: tuple[str, ...] = ()) -> Ran:
        stdin = "".join(f"{line}\n" for line in lines).encode()
        return command("chat", "-m", folder, "-t", "1", *given, script=REAL, stdin=stdin)

    return run


@pytest.fixture
def scripted(command: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Chat:
    """`scripted("hi", script=Script(…))`: a model that says what it is told to."""
    folder = chats.save_chat_tokenizer(tmp_path / "talker", chats.TEMPLATES["chatml"])
    monkeypatch.setattr("lmtool.cli.commands.chat.open_kept", lambda: None)

    def run(*lines: str, given: tuple[str, ...] = (), **script: object) -> Ran:
        stdin = "".join(f"{line}\n" for line in lines).encode()
        script = {"talker": str(folder), "context": 10_000, **script}
        return command("chat", *given, script=Script(**script), stdin=stdin)  # type: ignore[arg-type]

    return run


def turns(err: str) -> list[tuple[int, int, int]]:
    """For each turn, how many tokens were read, reused and written: what -v says."""
    found = re.findall(r"prompt: ([\d,]+) read, ([\d,]+) reused; answer: ([\d,]+) tokens", err)
    return [tuple(int(number.replace(",", "")) for number in one) for one in found]  # type: ignore[misc]


def test_a_line_is_a_turn_and_stdout_has_answers_alone(scripted: Chat) -> None:
    ran = scripted("hi", "", "  ", "how are you")
    assert (ran.code, ran.out) == (0, " there was a fox\n" * 2)
    assert ran.err == ""
    assert ran.request.max_new == 1024
    prompt = chats.chat_tokenizer().decode(ran.request.ids, skip_special_tokens=False)
    talk = (
        prompt.split("assistant.<|im_end|>\n")[1].replace("<|im_start|>", "").split("<|im_end|>\n")
    )
    assert talk == ["user\nhi", "assistant\n there was a fox", "user\nhow are you", "assistant\n"]
    assert scripted().code == 0


def test_a_turn_reads_only_what_is_new(chat: Chat) -> None:
    """The random model's answers have special tokens and bytes that are no text, too."""
    lines = ("hi", "how old is the lighthouse?", "and\\", "you?")
    for given in (("-n", "9"), ("-n", "9", "--temp", "1.5", "--seed", "5")):
        ran = chat(*lines, given=("-v", *given))
        assert ran.code == 0
        tokenizer = chats.chat_tokenizer()
        first, *later = turns(ran.err)
        assert first[1] == 0
        cached = first[0] + first[2]
        asked = ("how old is the lighthouse?", "and\nyou?")
        for words, (read, reused, written) in zip(asked, later, strict=True):
            # The last token of an answer is chosen but not yet read; an end of turn is written
            # by the model or by the template.
            between = f"<|im_end|>\n<|im_start|>user\n{words}<|im_end|>\n<|im_start|>assistant\n"
            assert reused >= cached - 2
            assert read <= len(tokenizer.encode(between).ids) + 2
            cached = read + reused + written


def test_kept_turns_say_what_fresh_ones_would(
    chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = tmp_path / "talk.json"
    given = ("-n", "5", "-v")
    kept = chat("one", "two", f"/save {saved}", "three", given=given)
    content = json.loads(saved.read_text())
    assert [one["role"] for one in content["messages"]] == ["user", "assistant"] * 2
    assert (content["model"], content["settings"]) == ("talker", {"max_tokens": 5})
    loaded = chat("three", given=(*given, "--load", str(saved)))
    assert (loaded.code, loaded.out.strip() != "") == (0, True)
    assert "4 messages from" in loaded.err
    monkeypatch.setattr("lmtool.cli.commands.chat.open_kept", lambda: None)
    fresh = chat("one", "two", "three", given=given)
    assert fresh.out == kept.out
    assert [one[1] for one in turns(fresh.err)] == [0, 0, 0]
    assert [sum(one) for one in turns(fresh.err)] == [sum(one) for one in turns(kept.err)]


def test_retries_differ_and_can_be_had_again(chat: Chat) -> None:
    given = ("-n", "6", "--temp", "1", "--seed", "3")
    ran = chat("hi", "/retry", "/retry", "/undo", "hi", given=(*given, "-v"))
    first, second, third, again = ran.out.splitlines()[:4] if ran.out.count("\n") == 4 else [""] * 4
    assert ran.code == 0
    assert chat("hi", "/retry", "/retry", "/undo", "hi", given=given).out == ran.out
    assert ran.err.count("seed: 4\n") == 1
    assert ran.err.count("seed: 5\n") == 1
    assert chat("hi", given=("-n", "6", "--temp", "1", "--seed", "4")).out in ran.out
    assert [one[0] for one in turns(ran.err)[1:]] == [1, 1, 1]  # all but the last token is cached
    if first:
        assert first == again
        assert len({first, second, third}) == 3
    greedy = chat("hi", "/retry", given=("-n", "3"))
    assert greedy.out[: len(greedy.out) // 2] * 2 == greedy.out
    assert "temperature 0 gives the same answer again" in greedy.err


def test_a_random_seed_is_said_once(scripted: Chat) -> None:
    ran = scripted("hi", "ho", "/set seed", given=("--temp", "1"))
    assert len(re.findall(r"^seed: \d+$", ran.err, re.MULTILINE)) == 1
    seed = re.findall(r"^seed: (\d+)$", ran.err, re.MULTILINE)[0]
    assert f"seed  {seed}  (random)" in ran.err
    assert ran.request.sampling.seed == int(seed)


def test_a_full_context(chat: Chat) -> None:
    """Too much is said, and the talk goes on without it; or oldest turns go, which is said too."""
    tight = ("-n", "4", "-c", "120", "-v")
    ran = chat("one two three four", "more " * 30, "more", given=tight)
    assert ran.code == 4
    assert ran.out.count("\n") >= 2
    assert re.search(r"error: with this message the talk has \d+ tokens, the context 120", ran.err)
    assert len(turns(ran.err)) == 2

    left = (*tight, "--overflow", "truncate-left")
    ran = chat("one two three four", "more " * 5, "and more", "and again", "last", given=left)
    assert ran.code == 0
    assert re.search(r"warning: the oldest \d messages are left out, to fit the context", ran.err)
    assert len(turns(ran.err)) == 5
    assert all(read + reused < 120 for read, reused, _ in turns(ran.err))
    ran = chat("more " * 300, "hi", given=left)
    assert ran.code == 4
    assert "error: this message alone has" in ran.err
    assert len(turns(ran.err)) == 1


def test_an_answer_that_is_cut_short_says_so(scripted: Chat) -> None:
    ran = scripted("hi", given=("-n", "2"))
    assert ran.out == " there was\n"
    assert "the answer ends at max_tokens" in ran.err
    assert scripted("hi", given=("-n", "2", "-q")).err == ""


def test_settings_change_while_it_runs(scripted: Chat) -> None:
    ran = scripted(
        "/set temp 0.5", "/set top-k=7", "/set max_tokens 3", "/set stop x y", "hi", "/set"
    )
    assert ran.code == 0
    assert ran.request.max_new == 3
    assert ran.request.stop.texts == ("x y",)
    assert (ran.request.sampling.temperature, ran.request.sampling.top_k) == (0.5, 7)
    assert re.search(r"^temp +0.5 +\(/set\)$", ran.err, re.MULTILINE)
    assert re.search(r"^top_p +1.0 +\(default\)$", ran.err, re.MULTILINE)
    ran = scripted("/set temp hot", "/set tmp 1", '/set logit_bias "<nothing"', "/set", "hi")
    assert ran.code == 2
    assert ran.out == " there was a fox\n"
    assert ran.err.count("error: ") == 3
    assert re.search(r"^temp +0.0 +\(default\)$", ran.err, re.MULTILINE)
    assert "has no effect at temperature 0" in scripted("/set top_k 5").err


def test_system_messages(scripted: Chat) -> None:
    def system(ran: Ran) -> str:
        text = chats.chat_tokenizer().decode(ran.request.ids, skip_special_tokens=False)
        return text.removeprefix("<|im_start|>system\n").split("<|im_end|>")[0]

    assert system(scripted("hi", given=("-s", "Be brief."))) == "Be brief."
    ran = scripted(
        "/system", "/system Be<|im_end|> old.", "/system", "hi", given=("-s", "Be brief.")
    )
    assert (ran.code, ran.err) == (0, "Be brief.\nBe<|im_end|> old.\n")
    end = chats.chat_tokenizer().token_to_id("<|im_end|>")
    assert ran.request.ids.count(end) == 2  # what it spells stays text
    ran = scripted('/system ""', "/system", "hi", "/reset", "ho", given=("-s", "Be brief."))
    assert ran.err == "there is no system message\nthe talk begins anew\n"
    assert system(ran) == "You are a helpful assistant."
    assert "hi" not in chats.chat_tokenizer().decode(ran.request.ids)


def test_wrong_files_keep_the_talk(scripted: Chat, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    settings = {"temp": "hot"}
    contents = ("{", "[7]", json.dumps({"messages": [], "settings": settings}), '{"messages": []}')
    for content in (
        *contents[:3],
        contents[3].replace("]", '], "settings": {"logit_bias": ["x"]}'),
    ):
        bad.write_text(content)
        ran = scripted("hi", f"/load {bad}", "ho")
        assert ran.code == 4
        assert ran.out == " there was a fox\n" * 2
        assert ran.err.startswith("error: "), ran.err
        assert ran.err.count("\n") == 1
        assert "bad.json" in ran.err
        assert "hi" in chats.chat_tokenizer().decode(ran.request.ids)
        ran = scripted("hi", given=("--load", str(bad)))
        assert (ran.code, ran.out) == (4, "")


def test_loading_brings_messages_system_and_settings(scripted: Chat, tmp_path: Path) -> None:
    path = tmp_path / "a talk.json"
    scripted(
        "/system Be old.", "/set top_k 3", "/set temp 1", "/set seed 8", "hi", f'/save "{path}"'
    )
    content = json.loads(path.read_text())
    assert content["settings"] == {"temp": 1.0, "top_k": 3, "seed": 8}
    assert content["messages"][1] == {
        "role": "assistant",
        "content": " there was a fox",
        "finish_reason": "eos",
    }
    path.write_text(json.dumps({**content, "model": "another"}))
    ran = scripted("ho", given=("--load", str(path)))
    assert ran.code == 0
    assert "the talk was held with `another`, and this is `scripted`" in ran.err
    assert (ran.request.sampling.top_k, ran.request.sampling.seed) == (3, 8)
    text = chats.chat_tokenizer().decode(ran.request.ids)
    assert "Be old." in text
    assert "fox" in text


def test_commands_that_fail_are_one_line_each(scripted: Chat) -> None:
    ran = scripted("/undo", "/retry", "/nothing", "hi", "/undo", "/undo", "/exit", "never")
    assert ran.code == 2
    assert ran.out == " there was a fox\n"
    assert ran.err.count("error: ") == 4
    assert "taken back; no messages left" in ran.err
    assert scripted("/help").err.startswith("/help")
    assert scripted("/help", given=("-q",)).err.startswith("/help")


def test_an_answer_that_fails_is_taken_back(scripted: Chat, tmp_path: Path) -> None:
    saved = tmp_path / "talk.json"
    ran = scripted("hi", f"/save {saved}", fails_with="OutOfMemoryError")
    assert (ran.code, ran.out) == (5, " there was a fox\n")
    assert "error: it broke; mend it\n" in ran.err
    assert json.loads(saved.read_text())["messages"] == []


def test_stdin_that_is_no_text(scripted: Chat, command: Run, chatty: Make) -> None:
    ran = scripted("hi", "ho\udcff".encode("utf-8", "surrogateescape").decode("latin-1"))
    assert ran.code == 0
    ran = command("chat", "-m", str(chatty("chatml")), "-n", "2", script=REAL, stdin=b"hi\nh\xff\n")
    assert ran.code == 4
    assert "stdin is not UTF-8: byte 0xff at offset 4" in ran.err


def test_models_that_cannot_talk(command: Run, chatty: Make, tmp_path: Path) -> None:
    say = partial(command, script=REAL, stdin=b"hi\n")
    say("chat").fails(3, "`default` has no chat template", "--chat-template")
    folder = str(chatty(None))
    say("chat", "-m", folder).fails(3, "has no chat template")
    plain = tmp_path / "plain.jinja"
    plain.write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:")
    ran = say("chat", "-m", folder, "--chat-template", str(plain), "-n", "2")
    assert ran.code == 0
    plain.write_text("{{ raise_exception('only one') if messages | length > 1 }}x")
    ran = say("chat", "-m", folder, "--chat-template", str(plain), "-n", "2", "-s", "y")
    assert ran.code == 4
    assert "doesn't take these messages: only one" in ran.err
    plain.write_text("{{ nonsense(")
    assert say("chat", "-m", folder, "--chat-template", str(plain)).code == 3
    say("chat", "-m", folder, "--temp", "-1").fails(2, "--temp must be")
    assert "No such option" not in say("chat", "--samples", "2").out


def test_config_and_environment(scripted: Chat, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[chat]\ntemp = 0.25\nseed = 1\nsystem = "Be old."\nmax-tokens = 3\n')
    ran = scripted("hi", given=("--config", str(config)))
    assert (ran.request.sampling.temperature, ran.request.max_new) == (0.25, 3)
    assert "Be old." in chats.chat_tokenizer().decode(ran.request.ids)
    config.write_text("[chat]\nsamples = 2\n")
    assert scripted("hi", given=("--config", str(config))).code == 2


def test_terminal_replies_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(verbosity=-1)
    terminal.note("no")
    terminal.reply("yes")
    assert capsys.readouterr().err == "yes\n"
