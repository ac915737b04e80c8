"""What a talk is made of: messages, ids, files, commands, entries, settings. No model."""

from __future__ import annotations

import io
import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from lmtool import InputError, UsageError
from lmtool.cli.entries import Entry, LineReader, entry_of
from lmtool.cli.live_settings import ChatSampling, ChatStops, LiveSettings, TurnSettings
from lmtool.cli.slash_commands import HELP, Command, help_page, read
from lmtool.cli.talk import Lineage, Said, Talk
from lmtool.cli.talk_file import load_talk, save_talk
from reference import chats

TEXTS = some.text(some.characters(exclude_categories=["Cs"]), max_size=20)


def talk_of(*letters: str) -> Talk:
    roles = {"u": "user", "a": "assistant"}
    return Talk(said=[Said(roles[one[0]], one) for one in letters])  # type: ignore[arg-type]


def test_undo_and_retry_take_back_what_was_said_last() -> None:
    talk = talk_of("u1", "a1", "u2", "a2")
    assert talk.take_answer()
    assert [one.content for one in talk.said] == ["u1", "a1", "u2"]
    assert talk.take_answer()  # not answered yet: nothing to take
    assert len(talk.said) == 3
    assert talk.undo()
    assert [one.content for one in talk.said] == ["u1", "a1"]
    assert talk.undo()
    assert not talk.undo()
    assert not talk.take_answer()
    only = talk_of("a1")
    assert not only.undo()
    assert not only.take_answer()


def test_turns_are_forgotten_one_by_one_but_for_the_last() -> None:
    talk = talk_of("u1", "a1", "u2", "a2", "u3")
    assert talk.forget()
    assert [one.content for one in talk.seen] == ["u2", "a2", "u3"]
    assert talk.forget()
    assert [one.content for one in talk.seen] == ["u3"]
    assert not talk.forget()
    assert len(talk.said) == 5
    talk.undo()
    assert [one.content for one in talk.seen] == ["u1", "a1", "u2", "a2"]


def spell(ids: object) -> str:
    """Each id is a letter, but 9 stands for "ab" and 0 for a special token."""
    names = {0: "<0>", 9: "ab", 1: "a", 2: "b", 3: "c"}
    return "".join(names[id] for id in ids)  # type: ignore[attr-defined]


def test_an_answer_keeps_the_tokens_it_was_written_in() -> None:
    lineage = Lineage()
    assert lineage.onto((3, 0), spell) == (3, 0)
    lineage.grow((3, 0), (1, 2, 3), {0})
    assert lineage.onto((3, 0, 9, 3, 0, 3), spell) == (3, 0, 1, 2, 3, 0, 3)
    assert lineage.onto((3, 0, 9, 2, 0, 3), spell) == (3, 0, 9, 2, 0, 3)  # another text
    assert lineage.onto((3, 0, 9), spell) == (3, 0, 9)  # a shorter one
    # The same after another turn is taken back, and with a special token that gave no text.
    lineage.grow((3, 0, 1, 2, 3, 0, 3), (1, 0, 2), {0})
    assert lineage.onto((3, 0, 9, 3, 0, 1), spell) == (3, 0, 1, 2, 3, 0, 1)
    again = lineage.onto((3, 0, 9, 3, 0, 3, 9, 0), spell)
    assert again == (3, 0, 1, 2, 3, 0, 3, 1, 0, 2, 0)
    lineage.grow(again, (3,), {0})
    assert lineage.onto((3, 0, 9, 3, 0, 3, 9, 0, 3), spell) == (*again, 3)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    from lmtool.tokenizer.tokenizer import Tokenizer

    return Tokenizer.load(chats.save_chat_tokenizer(tmp_path_factory.mktemp("talk")))


def test_ids_of_any_answer_are_found_again(tokenizer) -> None:
    """Random ids, bytes that are no UTF-8 and special tokens among them, as a bad model writes."""
    end = tokenizer.pipeline.token_to_id("<|im_end|>")
    rest = [end, *tokenizer.encode_plain(["\nnext"])[0]]

    def spelled(ids):
        return tokenizer.decode(ids, skip_special=False)

    @given(some.lists(some.integers(0, tokenizer.vocab_size - 1), max_size=12))
    @example([end])
    @example([end, end - 1])
    @example([*rest[1:], end])
    def holds(answer: list[int]) -> None:
        prompt = [end, *tokenizer.encode_plain(["user says\n"])[0]]
        lineage = Lineage()
        lineage.grow(prompt, answer, tokenizer.special_ids)
        text = tokenizer.decode(answer)
        anew = [*prompt, *tokenizer.encode_plain([text])[0], *rest]
        known = [*prompt, *answer]
        # An end that the model wrote may be the very one that the template writes.
        expected = anew if anew[: len(known)] == known else [*known, *rest]
        assert list(lineage.onto(anew, spelled)) == expected

    holds()


@settings(max_examples=30)
@given(
    some.none() | TEXTS,
    some.lists(some.tuples(some.sampled_from(["user", "assistant"]), TEXTS), max_size=5),
)
def test_a_talk_comes_back_as_it_was_saved(system: str | None, said: list[tuple[str, str]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "talk.json"
        talk = Talk(system or None, [Said(*one) for one in said])  # type: ignore[arg-type]
        save_talk(path, talk, "m", {"temp": 0.5, "stop": ("x", "y")})
        saved = load_talk(path)
        assert saved.talk == talk
        assert (saved.model, saved.settings) == ("m", {"temp": 0.5, "stop": ["x", "y"]})
        save_talk(path, Talk(), "n", {})  # over a talk
        assert load_talk(path).talk.said == []
        assert [one.name for one in Path(folder).iterdir()] == ["talk.json"]


def test_others_formats_of_talks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    system = {"role": "system", "content": "s"}
    path.write_text(json.dumps([system, {"role": "user", "content": "u"}]))
    assert load_talk(path).talk == Talk("s", [Said("user", "u")])
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"messages": [], "system": "s"}).encode())
    assert load_talk(path).talk == Talk("s")


MESSAGE = {"role": "user", "content": "u"}
HOSTILE = {
    "empty": (b"", "not JSON: line 1, column 1"),
    "cut short": (b'{"messages": [{"role": "us', "not JSON"),
    "binary": (b"\x80\x04\x95", "not UTF-8 at offset 0"),
    "deep": (b"[" * 200_000, "nested too deep"),
    "number": (b"7", "no talk, but a number"),
    "text": (b'"talk"', "no talk, but a text"),
    "nothing": (b"null", "no talk, but nothing"),
    "no messages": (b"{}", "no list of messages"),
    "messages": (b'{"messages": {}}', "no list of messages"),
    "message": (b"[7]", "message 1 of"),
    "role": (b'[{"role": 1, "content": "x"}]', "needs a role and a content"),
    "stranger": (b'[{"role": "tool", "content": "x"}]', "is by `tool`"),
    "late system": (json.dumps([MESSAGE, {**MESSAGE, "role": "system"}]).encode(), "message 2"),
    "content": (b'[{"role": "user", "content": ["x"]}]', "needs a role and a content"),
    "half": (b'[{"role": "user", "content": "\\ud800"}]', "half a character: U+D800"),
    "half system": (b'{"messages": [], "system": "\\udc00"}', "half a character"),
    "nan": (b'{"messages": [], "settings": {"temp": NaN}}', "NaN is no number"),
    "long number": (b"9" * 10_000, "not JSON"),
    "settings": (b'{"messages": [], "settings": []}', "settings must be an object"),
    "model": (b'{"messages": [], "model": 7}', "model and system must be text"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "talk.json"
    data, said = HOSTILE[name]
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        load_talk(path)
    assert said in caught.value.message
    assert len(caught.value.message) < 300


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (
        tmp_path,
        tmp_path / "fifo",
        Path("/dev/zero"),
        tmp_path / "none",
        Path("a" * 999),
    ):
        with pytest.raises(InputError, match="cannot read"):
            load_talk(path)


def test_saving_spares_other_files(tmp_path: Path) -> None:
    work = tmp_path / "work.json"
    work.write_text('{"dear": "to me"}')
    for path, why in ((work, "something else than a talk"), (tmp_path, "is a folder")):
        with pytest.raises(InputError, match=why):
            save_talk(path, Talk(), "m", {})
    assert work.read_text() == '{"dear": "to me"}'
    with pytest.raises(Exception, match="cannot write"):
        save_talk(tmp_path / "no" / "folder.json", Talk(), "m", {})


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("hello", "hello"),
        ("  two words ", "  two words "),
        ("//etc is a folder", "/etc is a folder"),
        (" /etc", "/etc"),
        ("/help", Command("help")),
        ("/?", Command("help")),
        ("/quit", Command("exit")),
        ("/system You are\nold. ", Command("system", "You are\nold.")),
        ("/set  top-k 5", Command("set", "top-k 5")),
        ("/save my talk.json", Command("save", "my talk.json")),
    ],
)
def test_commands_and_messages_are_told_apart(text: str, meant: object) -> None:
    assert read(Entry(text)) == meant
    assert read(Entry(text, literal=True)) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/sav x", "did you mean /save?"),
        ("/frobnicate", "/help lists them"),
        ("/etc/passwd is", "no command is called `/etc/passwd`"),
        ("/", "no command is called `/`"),
        ("/undo 2", "/undo takes nothing"),
        ("/load", "/load takes the name of a file"),
    ],
)
def test_commands_that_make_no_sense(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(Entry(text))
    assert said in f"{caught.value.message}; {caught.value.hint}"


def test_help_names_every_command() -> None:
    assert all(f"/{name}" in help_page() for name in HELP)


def entries(data: bytes) -> list[str]:
    reader = LineReader(io.BytesIO(data))
    found: list[str] = []
    while True:
        try:
            found.append(reader.read().text)
        except EOFError:
            return found


def test_lines_and_how_they_go_on() -> None:
    assert entries(b"one\r\n\ntwo") == ["one", "", "two"]
    assert entries(b"one\\\ntwo\\\n\nthree\n") == ["one\ntwo\n", "three"]
    assert entries(b"one\\") == ["one\n"]
    assert entries(b'"""one\n  two\\\n"""\n/x\n') == ["one\n  two\\", "/x"]
    assert entries(b'"""one"""\n""""""\n"""\n\nx\n"""') == ["one", "", "\nx"]
    assert entries(b'"""a""" b\n') == ['"""a""" b']
    assert entry_of('"""/help"""') == Entry("/help", literal=True)
    assert entry_of('"""one""" and """two"""') == Entry('"""one""" and """two"""')
    with pytest.raises(InputError, match="ends within"):
        entries(b'"""one\ntwo\n')
    with pytest.raises(InputError, match="byte 0xff at offset 7"):
        entries(b"good\nba\xff\n")


@given(some.binary(max_size=40))
def test_any_bytes_are_entries_or_one_error(data: bytes) -> None:
    try:
        found = entries(data)
    except InputError:
        return
    assert sum(map(len, found)) <= len(data)


def settings_of(**sampling: object) -> LiveSettings:
    return LiveSettings(ChatSampling(**sampling), ChatStops(), TurnSettings())  # type: ignore[arg-type]


def test_settings_change_by_any_of_their_names() -> None:
    settings = settings_of()
    for name in ("temp", "temperature", "--temp", "TEMP"):
        changed = settings.changed(name, "0.5")
        assert changed.named("temp")[1].value == 0.5
        assert changed.named("temp")[1].source == "/set"
    assert settings.changed("max-tokens", "-1").stops.max_tokens.value == -1
    assert settings.changed("n_predict", "7").named("max-tokens")[0] == "max_tokens"
    changed = settings.changed("stop", "a b").changed("overflow", "truncate-left")
    assert changed.stops.texts() == ("a b",)
    assert changed.given() == {"stop": ("a b",), "overflow": "truncate-left"}
    assert changed.changed("stop", "default").stops.texts() == ()
    assert settings.with_all(json.loads(json.dumps(changed.given()))).given() == changed.given()
    assert settings == settings_of()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("temp", "hot", "`temp` must be a number, 0 or more, not `hot`"),
        ("top_p", 2, "`top_p` must be a number from 0 to 1, not `2`"),
        ("top-k", [1], "`top_k` must be a whole number"),
        ("overflow", "shift", "`overflow` must be error or truncate-left"),
        ("tempo", "1", "no setting is called `tempo`; did you mean `temp`?"),
        ("samples", "2", "no setting is called `samples`"),
        ("timeout", "2", "no setting is called `timeout`"),
        ("zzz", "2", "/set alone lists them"),
    ],
)
def test_settings_that_cannot_be(name: str, value: object, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings_of().changed(name, value)
    assert said in f"{caught.value.message}; {caught.value.hint}"


def test_history_is_private_and_bounded(tmp_path: Path) -> None:
    from lmtool.cli.line_history import LARGEST, LinesInFile, history_path, open_history

    path = history_path({"XDG_STATE_HOME": str(tmp_path)})
    assert path == tmp_path / "lmtool" / "chat_history"
    assert history_path({"XDG_STATE_HOME": "here"}).is_absolute()
    open_history(path)
    path.chmod(0o644)
    open_history(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = LinesInFile(path, lambda text: text)
    for text in ("one", "two\nlines", "x" * 9000, "\ud800", "three"):
        lines.append_string(text)
    kept = list(LinesInFile(path, str).load_history_strings())
    assert kept == ["three", "?", "two\nlines", "one"]
    with path.open("a") as file:
        file.write("\n# now\n+" + "y" * 99 * 10_300)
        file.writelines(f"\n# now\n+{number:090}\n" for number in range(LARGEST // 100))
    open_history(path)
    assert path.stat().st_size <= LARGEST
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = list(LinesInFile(path, str).load_history_strings())
    assert kept[0] == f"{LARGEST // 100 - 1:090}"
    assert all(len(one) == 90 for one in kept)
