"""Environment and config file, for the commands that Typer reads by itself and for all at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmtool.cli.app import COMMANDS, run
from lmtool.cli.config import TABLES
from reference.scripted_model import Script


@pytest.fixture
def lmtool(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path):
    """`lmtool("count", config="…", LMTOOL_BOS="on")`: code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    (tmp_path / "lmtool").mkdir()

    def ask(*arguments: str, config: str = "", **environ: str) -> tuple[int, str, str]:
        (tmp_path / "lmtool" / "config.toml").write_text(config)
        with monkeypatch.context() as scope:
            for name, value in environ.items():
                scope.setenv(name, value)
            capfd.readouterr()
            code = run(list(arguments))
        return (code, *capfd.readouterr())

    return ask


def ids(answer: tuple[int, str, str]) -> list[str]:
    code, out, err = answer
    assert (code, err) == (0, ""), err
    return out.split()


def test_the_command_line_comes_before_the_environment_before_the_file(lmtool) -> None:
    plain = ids(lmtool("tokenize", "-p", "hello"))
    with_bos = [*ids(lmtool("tokenize", "-p", "hello", "--bos", "on"))]
    without = ids(lmtool("tokenize", "-p", "hello", "--bos", "off"))
    assert plain == with_bos != without
    off = "[tokenize]\nbos = 'off'\n"
    assert ids(lmtool("tokenize", "-p", "hello", config=off)) == without
    assert ids(lmtool("tokenize", "-p", "hello", config=off, LMTOOL_BOS="on")) == with_bos
    answer = lmtool("tokenize", "-p", "hello", "--bos", "off", config=off, LMTOOL_BOS="on")
    assert ids(answer) == without
    assert ids(lmtool("tokenize", "-p", "hello", config=off, LMTOOL_BOS="")) == without


def test_a_file_may_be_named(lmtool, tmp_path: Path) -> None:
    without = ids(lmtool("tokenize", "-p", "hello", "--bos", "off"))
    named = tmp_path / "named.toml"
    named.write_text("[tokenize]\nbos = 'off'\n")
    assert ids(lmtool("tokenize", "-p", "hello", "--config", str(named))) == without
    assert ids(lmtool("tokenize", "-p", "hello", LMTOOL_CONFIG=str(named))) == without
    code, out, err = lmtool("tokenize", "-p", "hello", "--config", "nowhere.toml")
    assert (code, out) == (2, "")
    assert err == "error: cannot read config file `nowhere.toml`: No such file or directory\n"


@pytest.mark.parametrize("command", ["tokenize", "count", "detokenize", "inspect", "doctor"])
def test_each_command_takes_its_model_from_any_of_them(lmtool, command: str) -> None:
    for config, environ in (
        ('model = "./nowhere"', {}),
        (f'model = "./other"\n[{command}]\nmodel = "./nowhere"', {}),
        ('model = "./other"', {"LMTOOL_MODEL": "./nowhere"}),
    ):
        code, _, err = lmtool(command, config=config, **environ)
        assert code == 3
        assert "`./nowhere`" in err


def test_generate_takes_what_stands_above_the_tables(generate, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('model = "above"\ndevice = "cpu"\noffline = true\n[count]\nbos = "off"\n')
    ran = generate("x", "--config", str(config), script=Script())
    assert (ran.model.model.value, ran.model.offline.value) == ("above", True)
    config.write_text('model = "above"\n[generate]\nmodel = "own"\n')
    assert generate("x", "--config", str(config)).model.model.value == "own"


def test_training_has_its_own_table(lmtool, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cat sat on the mat\n" * 30)
    config = '[train-tokenizer]\nvocab-size = 270\nspecial = ["<a>", "<b>"]\nmin_frequency = 3\n'
    # LMTOOL_BOS is generate's; a special token of that name is none of ours.
    arguments = ("train-tokenizer", "a.txt", "-o", "made", "-q")
    assert lmtool(*arguments, config=config, LMTOOL_BOS="off") == (0, "", "")
    made = json.loads((tmp_path / "made" / "tokenizer.json").read_text())
    assert [added["content"] for added in made["added_tokens"]] == ["<a>", "<b>"]
    assert len(made["model"]["vocab"]) == 270
    arguments = ("train-tokenizer", "a.txt", "-o", "other", "-q", "--special", "<c>")
    assert lmtool(*arguments, config=config, LMTOOL_VOCAB_SIZE="265") == (0, "", "")
    made = json.loads((tmp_path / "other" / "tokenizer.json").read_text())
    assert [added["content"] for added in made["added_tokens"]] == ["<c>"]
    assert len(made["model"]["vocab"]) == 265


@pytest.mark.parametrize(
    ("command", "config", "parts"),
    [
        (
            "count",
            "[count]\nmdel = 'x'",
            ["unknown key `mdel` in [count]", "did you mean `model`?"],
        ),
        ("count", "[coutn]\n", ["unknown table `coutn`", "did you mean `count`?"]),
        ("count", "modl = 'x'", ["unknown key `modl` above the tables", "did you mean `model`?"]),
        ("count", "[count]\nqqqq = 1", ["unknown key `qqqq`", "`lmtool count --help` lists"]),
        ("count", "[count]\njson = true", ["unknown key `json` in [count]"]),
        ("count", "[count]\nbos = 'maybe'", ["`bos` in", "must be auto", "not `maybe`"]),
        ("count", "[count]\nbos = true", ["`bos` in", "not `True`"]),
        ("count", "[count]\nbos = ['on', 'off']", ["`bos` in", "not `on, off`"]),
        ("count", "[count]\noffline = 'perhaps'", ["`offline` in", "must be true or false"]),
        ("doctor", "[doctor]\noffline = 'yes'", ["`offline` in", "must be true or false"]),
        ("doctor", "[doctor]\nctx-size = 1.5", ["`ctx_size` in", "can't be `1.5`"]),
        ("doctor", "[doctor]\nctx-size = 0", ["`ctx_size` in", "can't be `0`"]),
        ("count", "count = 1", ["unknown key `count` above the tables"]),
        ("count", "[count", ["is not TOML"]),
    ],
)
def test_a_bad_file_is_named_with_its_place(lmtool, command: str, config: str, parts) -> None:
    code, out, err = lmtool(command, config=config)
    assert (code, out, err.count("\n"), err[:7]) == (2, "", 1, "error: ")
    assert "config.toml" in err
    for part in parts:
        assert part in err


def test_a_bad_variable_is_refused(lmtool) -> None:
    code, _, err = lmtool("count", LMTOOL_BOS="maybe")
    assert code == 2
    assert "LMTOOL_BOS must be auto, on or off, not `maybe`" in err
    assert lmtool("doctor", LMTOOL_CTX_SIZE="x")[0] == 2


def test_a_bad_table_of_another_command_is_its_own_affair(lmtool) -> None:
    assert lmtool("models", config="[count]\nbos = 'maybe'\n")[0] == 0


def test_every_command_may_have_a_table() -> None:
    assert set(COMMANDS) <= set(TABLES)
