"""Runs lmtool's command line with a scripted model behind it: in this process, or in a child."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from reference import chats
from reference.browser import Browser, browsing, find_browser
from reference.scripted_model import Script, opener

REAL = Script()
"""What stands for no script at all: the real engine answers."""

TESTS = Path(__file__).resolve().parents[1]


@dataclass
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str
    request: Any = None
    """What the engine was asked."""
    model: Any = None
    """The model settings that it was opened with."""

    @property
    def json(self) -> Any:
        """What was printed, which the schema in docs allows if it tells of texts."""
        found = json.loads(self.out)
        if "finish_reason" in (found[0] if isinstance(found, list) else found):
            answer_schema().validate(found)
        return found

    def fails(self, code: int, *parts: str) -> None:
        """It ended with `code`, with one line on stderr that has `parts`, and nothing else."""
        assert (self.code, self.out) == (code, ""), self
        assert self.err.startswith("error: "), self
        assert self.err.count("\n") == 1, self
        for part in parts:
            assert part in self.err, self


@contextmanager
def stdin_holding(data: bytes) -> Iterator[None]:
    """Standard input is a file with `data` while the block runs."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        kept = os.dup(0)
        os.dup2(file.fileno(), 0)
        try:
            yield
        finally:
            os.dup2(kept, 0)
            os.close(kept)


@cache
def answer_schema() -> Any:
    """What validates JSON by docs/generate.schema.json."""
    from jsonschema import Draft202012Validator

    schema = json.loads((TESTS.parent / "docs" / "generate.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


Run = Callable[..., Ran]
Make = Callable[..., Path]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> Run:
    """`command("generate", "Once", "--temp", "1", script=Script(…), stdin=b"…", LMTOOL_TOP_K="5")`.

    Runs in this process, with no settings of the user's in sight and an empty stdin.
    """
    for name in os.environ:
        if name.startswith("LMTOOL_") or name in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def run(
        name: str,
        *arguments: str,
        script: Script | None = None,
        stdin: bytes = b"",
        **environ: str,
    ) -> Ran:
        from lmtool.cli import app

        stand_in = opener(script or Script())
        with monkeypatch.context() as scope, stdin_holding(stdin):
            if script is not REAL:
                scope.setattr(f"lmtool.cli.commands.{name}.open_session", stand_in)
            for variable, value in environ.items():
                scope.setenv(variable, value)
            capfdbinary.readouterr()
            code = app.run([name, *arguments])
        caught = capfdbinary.readouterr()
        return Ran(
            code,
            caught.out.decode(),
            caught.err.decode(),
            stand_in.session.request,
            getattr(stand_in, "model", None),
        )

    return run


@pytest.fixture
def generate(command: Run) -> Run:
    """`generate("Once", "--temp", "1", script=Script(…))`: as `command` with that name."""
    return partial(command, "generate")


@dataclass
class Child:
    """How to start `lmtool` with a scripted model as a process of its own."""

    environ: dict[str, str]
    diary: Path

    def reached(self, word: str, times: int = 1) -> None:
        """Wait until the model has begun with `word`, `loading` or `token`, so many times."""
        for _ in range(3000):
            if self.diary.exists() and self.diary.read_text().split().count(word) >= times:
                return
            time.sleep(0.01)
        raise AssertionError(f"{word} was never reached")

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "reference.scripted_model"]

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """The process, its output in pipes and its stdin empty unless `options` say otherwise."""
        self.diary.unlink(missing_ok=True)
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
        options = {**streams, "stderr": subprocess.PIPE, "env": self.environ, **options}
        return subprocess.Popen([*self.command, *arguments], **options)

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        """The finished process; stdin is empty unless `options` say otherwise."""
        options = {"env": self.environ, "capture_output": True, "timeout": 60, **options}
        if "stdin" not in options:
            options.setdefault("input", b"")
        return subprocess.run([*self.command, *arguments], check=False, **options)


@pytest.fixture
def scripted(lmtool_environ: dict[str, str], tmp_path_factory: Any) -> Callable[..., Child]:
    """`scripted(endless=True, token_s=0.1)`: a `Child` whose model follows that `Script`."""

    def make(**script: Any) -> Child:
        diary = tmp_path_factory.mktemp("diary") / "diary"
        script["diary"] = str(diary)
        return Child(
            lmtool_environ | {"PYTHONPATH": str(TESTS), "SCRIPT": json.dumps(script)}, diary
        )

    return make


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama with a byte-level tokenizer, as transformers and tokenizers save them."""
    from reference.random_checkpoints import Case
    from reference.small_tokenizers import byte_level

    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    tokenizer = byte_level()
    size = tokenizer.get_vocab_size()
    Case("tiny", "Llama", {"vocab_size": size, "eos_token_id": 0}).save(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "TokenizersBackend", "eos_token": "<|endoftext|>"})
    )
    return folder


@pytest.fixture
def real(generate: Run) -> Run:
    """`real("Once", "-m", …)`: as `generate`, with the real engine behind it, on one thread."""
    return partial(generate, "-t", "1", script=REAL)


@pytest.fixture(scope="session")
def bodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama for the chat tokenizer."""
    from reference.random_checkpoints import Case

    folder = tmp_path_factory.mktemp("bodies") / "tiny"
    size = chats.chat_tokenizer().get_vocab_size()
    Case("tiny", "Llama", {"vocab_size": size, "eos_token_id": 0}).save(folder)
    return folder


@pytest.fixture
def chatty(bodies: Path, tmp_path: Path) -> Make:
    """`chatty("gemma")`: that checkpoint with a template; by name, or its source."""

    def make(template: str | None, **config: Any) -> Path:
        folder = tmp_path / "talker"
        chats.save_chat_tokenizer(folder, chats.TEMPLATES.get(template or "", template), **config)
        for file in bodies.iterdir():
            if not (folder / file.name).exists():
                (folder / file.name).symlink_to(file)
        return folder

    return make


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A real browser, where one is installed."""
    command = find_browser()
    if command is None:
        pytest.skip("no Chromium is installed here; BROWSER_FOR_TESTS may name one")
    with browsing(command, tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The browser; in the end it must have had no complaints, and asked for files alone."""
    chromium.requests.clear()
    chromium.complaints.clear()
    yield chromium
    assert chromium.complaints == []
    assert [one for one in chromium.requests if not one.startswith("file:")] == []
