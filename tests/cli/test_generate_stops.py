"""Where `lmtool generate` ends a text: stop texts and tokens, ends that a checkpoint names."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from reference.scripted_model import Script

from .conftest import Child, Run

GREEDY = ("--temp", "0")


def test_a_stop_token_outside_the_vocabulary_is_refused(real: Run, checkpoint: Path) -> None:
    vocab = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    here = ("x", "-m", str(checkpoint), "-n", "2", *GREEDY, "--stop-token")
    real(*here, str(vocab)).fails(2, f"--stop-token {vocab}", f"vocabulary of {vocab} ids")
    assert real(*here, str(vocab - 1)).code == 0


@pytest.mark.parametrize("where", ["command line", "config"])
def test_an_empty_stop_text_is_refused(generate: Run, tmp_path: Path, where: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[generate]\nstop = ["a", ""]\n')
    arguments = ("--stop", "") if where == "command line" else ("--config", str(config))
    generate("x", *arguments).fails(2, "stop", "text that is not empty")


def test_a_special_token_can_be_named_as_text(generate: Run) -> None:
    """It gives no text, so that looking for it in the text would never find it."""
    stop = generate("x", "--stop", "<1>", "--stop", "a", "--stop-token", "7").request.stop
    assert stop.ids == {1, 7}
    assert stop.texts == ("<1>", "a")
    assert stop.spelled == ((1, "<1>"),)


def test_time_s_end_writes_what_was_held_back(generate: Run) -> None:
    script = Script(texts=(("a", "b"),), endless=True, token_s=0.02, held="<held>")
    ran = generate("x", "-n", "-1", "--timeout", "0.3", script=script)
    assert ran.code == 124
    assert ran.out.endswith("<held>")
    ran = generate("x", "-n", "-1", "--timeout", "0.3", "--json", script=script)
    assert ran.json["text"].endswith("<held>")
    assert ran.json["finish_reason"] == "timeout"


def test_ctrl_c_writes_what_was_held_back(scripted: Callable[..., Child]) -> None:
    child = scripted(texts=(("a", "b"),), endless=True, token_s=0.05, held="<held>")
    process = child.start("generate", "x", "-n", "-1")
    child.reached("token", 4)
    os.kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out.startswith(b"ab")
    assert out.endswith(b"<held>")
