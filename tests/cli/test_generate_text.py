"""`lmtool generate` in text: what goes to stdout, in which order, and what doesn't."""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from reference.scripted_model import Script

from .conftest import Child, Run

Scripted = Callable[..., Child]
THREE = Script(texts=(("a", "b", "c"), ("d",), ("e", "f")))


def test_text_alone_is_on_stdout(generate: Run) -> None:
    ran = generate("Once")
    assert (ran.code, ran.out, ran.err) == (0, " there was a fox", "")


def test_prompt_comes_as_argument_or_option(generate: Run) -> None:
    for arguments in (("Once",), ("-p", "Once"), ("--prompt", "Once"), ("--", "Once")):
        assert bytes(generate(*arguments).request.ids) == b"Once"


def test_samples_are_in_order_and_parted(generate: Run) -> None:
    assert generate("x", "--samples", "3", script=THREE).out == "abc\n---\nd\n---\nef\n"


def test_samples_without_streaming_look_the_same(generate: Run) -> None:
    ran = generate("x", "--samples", "3", "--no-stream", script=THREE)
    assert ran.out == "abc\n---\nd\n---\nef\n"


def test_echo_puts_the_prompt_before_each_sample(generate: Run) -> None:
    assert generate("x, ", "--echo", script=THREE).out == "x, abc"
    ran = generate("x, ", "--echo", "--samples", "2", script=THREE)
    assert ran.out == "x, abc\n---\nx, d\n"


def test_token_ids_go_in_and_text_comes_out(generate: Run) -> None:
    for ids in ("97,98,99", "97 98 99", " 97, 98,\n99 ", "[97, 98, 99]"):
        ran = generate("--token-ids", ids, "--echo")
        assert ran.request.ids == (97, 98, 99)
        assert ran.out == "abc there was a fox"


def test_token_ids_come_from_stdin(generate: Run) -> None:
    assert generate("--token-ids", "-", stdin=b"97 98\n").request.ids == (97, 98)


def test_without_a_tokenizer_ids_are_printed(generate: Run) -> None:
    script = Script(texts=(("a", "b"),), has_tokenizer=False)
    assert generate("--token-ids", "1,2", script=script).out == "97 98"
    assert generate("--token-ids", "1,2", "--echo", script=script).out == "1 2 97 98"


def test_logprobs_with_text_are_a_table_on_stderr(generate: Run) -> None:
    ran = generate("xy", "--logprobs", "2", "--echo", script=THREE)
    assert ran.out == "xyabc"
    assert ran.err.splitlines() == [
        '      - "x"',
        ' -1.000 "y"  | -0.500 "y"  | -1.500 "z"',
        ' -0.500 "a"  | -0.500 "a"  | -1.500 "z"',
        ' -0.500 "b"  | -0.500 "b"  | -1.500 "z"',
        ' -0.500 "c"  | -0.500 "c"  | -1.500 "z"',
    ]


def test_timings_are_on_stderr(generate: Run) -> None:
    ran = generate("xy", "--timings")
    assert ran.out == " there was a fox"
    assert ran.err.splitlines() == [
        "load: 0.50 s",
        "prefill: 2 tokens in 0.25 s, 8.0 tokens/s",
        "decode: 4 tokens in 0.40 s, 10.0 tokens/s",
    ]


def test_timings_of_the_real_engine_have_first_token_and_memory(
    real: Run, checkpoint: Path
) -> None:
    lines = real("the", "-m", str(checkpoint), "-n", "3", "--timings", "--seed", "1").err
    names = [line.partition(":")[0] for line in lines.splitlines()]
    assert names == ["load", "prefill", "decode", "first token", "peak memory"]
    assert re.fullmatch(r"peak memory: [\d.,]+ [MG]B", lines.splitlines()[-1])


def test_quiet_says_nothing(generate: Run) -> None:
    ran = generate("x" * 200, "-q", "--temp", "1", "--timings", "--overflow", "truncate-left")
    assert (ran.code, ran.err) == (0, "")


def test_cut_prompt_is_said_aloud(generate: Run) -> None:
    ran = generate("x" * 200, "--overflow", "truncate-left")
    assert "first 150 of 200 tokens" in ran.err
    assert "context of 100" in ran.err


def test_output_file_has_the_same_bytes_as_stdout(generate: Run, tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    ran = generate("x", "-o", str(path))
    assert (ran.out, path.read_text()) == ("", " there was a fox")
    assert list(tmp_path.iterdir()) == [path]


def test_output_to_stdout_by_name_keeps_what_is_there(scripted: Scripted, tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    for name in ("-", "/dev/stdout"):
        with path.open("ab") as stdout:
            scripted().run("generate", "x", "-o", name, stdout=stdout, capture_output=False)
    assert path.read_text() == " there was a fox" * 2


def test_output_file_appears_only_when_complete(scripted: Scripted, tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    process = scripted(token_s=0.2).start("generate", "x", "-o", str(path))
    while process.poll() is None:
        assert not path.exists() or path.read_text() == " there was a fox"
        time.sleep(0.02)
    assert path.read_text() == " there was a fox"


def test_text_streams_as_it_is_decoded(scripted: Scripted) -> None:
    process = scripted(endless=True, token_s=0.05).start("generate", "x", "-n", "-1")
    assert process.stdout is not None
    begun = os.read(process.stdout.fileno(), 6)
    assert process.poll() is None
    assert begun == b" there"
    process.kill()
    process.communicate()


def test_without_streaming_text_comes_at_once(scripted: Scripted) -> None:
    process = scripted(token_s=0.1).start("generate", "x", "--no-stream")
    assert process.stdout is not None
    select.select([process.stdout], [], [])
    assert os.read(process.stdout.fileno(), 100) == b" there was a fox"
    process.communicate()


def test_line_ends_where_stdout_is_a_terminal(scripted: Scripted) -> None:
    child = scripted()
    talk = pexpect.spawn(child.command[0], [*child.command[1:], "generate", "x"], env=child.environ)
    talk.expect(pexpect.EOF)
    assert talk.before == b" there was a fox\r\n"


@pytest.mark.parametrize("first", ["\n", "日本", "é"])
def test_text_is_passed_on_as_it_is(generate: Run, first: str) -> None:
    script = Script(texts=((first, "\r\n", "\t\n"),))
    assert generate("x", script=script).out == f"{first}\r\n\t\n"
