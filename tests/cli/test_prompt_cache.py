"""--prompt-cache: a run goes on from what another has read, and says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reference.random_checkpoints import Case

from .conftest import Run

PROMPT = "The old lighthouse keeper climbed the stairs, " * 4
COMMON = ("--temp", "1", "--seed", "3", "-n", "12")


@pytest.fixture
def cached(real: Run, checkpoint: Path) -> Run:
    """`cached(PROMPT, …)` in the folder of the test, with the cache `p.cache` in it."""

    def run(prompt: str, *more: str, cache: str = "p.cache", **environ: str):  # type: ignore[no-untyped-def]
        arguments = ("-m", str(checkpoint), *COMMON, "--prompt-cache", cache, *more)
        return real(prompt, *arguments, **environ)

    return run


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_second_run_says_the_same_and_reads_nothing(
    cached: Run, real: Run, checkpoint: Path
) -> None:
    plain = real(PROMPT, "-m", str(checkpoint), *COMMON)
    first = cached(PROMPT, "-v")
    tokens = int(first.err.partition("prompt: ")[2].partition(" ")[0])
    size = Path("p.cache").stat().st_size
    assert f"prompt cache: 0 of {tokens} tokens came from `p.cache`\n" in first.err
    assert f"`p.cache` now holds {tokens} tokens, {size:,} bytes\n" in first.err
    second = cached(PROMPT, "-v", "--timings")
    assert f"prompt cache: {tokens} of {tokens} tokens came from `p.cache`\n" in second.err
    assert "now holds" not in second.err
    assert "prefill: 0 tokens in 0.00 s\n" in second.err
    assert f"reused: {tokens} tokens of the prompt\n" in second.err
    assert plain.out == first.out == second.out != ""
    assert cached(PROMPT).err == ""


def test_json_counts_the_whole_prompt(cached: Run) -> None:
    first, second = (cached(PROMPT, "--json", "--logprobs", "3").json for _ in range(2))
    assert second["usage"] == first["usage"]
    assert second["usage"]["prompt_tokens"] == len(second["prompt_token_ids"])
    assert second["logprobs"] == first["logprobs"]
    assert second["settings"]["prompt_cache"] == {"value": "p.cache", "source": "command line"}


def test_a_longer_prompt_reads_the_rest(cached: Run) -> None:
    cached(PROMPT, "-n", "0")
    before = Path("p.cache").read_bytes()
    longer = PROMPT + "and there she saw the sea."
    read_only = cached(longer, "-v", "--prompt-cache-ro")
    assert Path("p.cache").read_bytes() == before
    warm = cached(longer, "-v", LMTOOL_PROMPT_CACHE_RO="0")
    assert "now holds" in warm.err
    assert "prompt cache: 0 of" not in warm.err
    assert warm.out == read_only.out == cached(longer, cache="cold").out
    assert len(Path("p.cache").read_bytes()) > len(before)


def test_the_environment_names_the_file(cached: Run, real: Run, checkpoint: Path) -> None:
    ran = real(PROMPT, "-m", str(checkpoint), *COMMON, LMTOOL_PROMPT_CACHE="other")
    assert (ran.code, Path("other").exists()) == (0, True)


def test_another_models_file_is_refused(cached: Run, real: Run, folder: Path) -> None:
    cached(PROMPT)
    before = Path("p.cache").read_bytes()
    other = Case("other", "Llama").save(folder / "other")
    ran = real("--token-ids", "1,2,3", "-m", str(other), "--prompt-cache", "p.cache")
    ran.fails(3, "`p.cache` is the prompt cache of another model, `tiny`, not of `other`")
    cached(PROMPT, "--dtype", "bfloat16").fails(3, "of `tiny` in float32, not bfloat16")
    assert Path("p.cache").read_bytes() == before


def test_what_is_no_cache_is_left_alone(cached: Run) -> None:
    cached(PROMPT)
    whole = Path("p.cache").read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"a text of mine that I would miss\n"):
        Path("p.cache").write_bytes(content)
        for more in ((), ("--prompt-cache-ro",)):
            cached(PROMPT, *more).fails(3, "`p.cache` is ", "name another file")
        assert Path("p.cache").read_bytes() == content


def test_what_can_not_be_a_cache_is_seen_before_the_model_is(generate: Run, folder: Path) -> None:
    (folder / "d").mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to("loop")
    for name, code, words in (
        ("d", 1, "cannot write the prompt cache `d`: it is a folder"),
        ("fifo", 1, "it is not a plain file"),
        ("/dev/null", 1, "it is not a plain file"),
        ("none/cache", 1, "no such folder: `none`"),
        ("x" * 300, 1, "File name too long"),
        ("loop", 1, "cannot write"),
        ("d/../fifo/x", 1, "cannot write"),
        ("", 2, "--prompt-cache must be text that is not empty"),
    ):
        ran = generate("Once", "--prompt-cache", name)
        ran.fails(code, words)
        assert ran.request is None
    generate("Once", "--prompt-cache", "none", "--prompt-cache-ro").fails(1, "no such file")
    generate("Once", "--prompt-cache-ro").fails(2, "--prompt-cache FILE --prompt-cache-ro")
    ran = generate("Once", "--prompt-cache", "c", "-o", "./c")
    ran.fails(2, "`c` can't be both --output and --prompt-cache")
    assert sorted(path.name for path in folder.iterdir()) == ["d", "fifo", "loop"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to(generate: Run, folder: Path) -> None:
    (folder / "d").mkdir(mode=0o555)
    generate("Once", "--prompt-cache", "d/cache").fails(1, "permission denied")


def test_a_real_run_and_another(run_lmtool, folder: Path) -> None:
    arguments = ("generate", "Once upon a time", "-n", "20", "--temp", "0", "-t", "1")
    first, second = (run_lmtool(*arguments, "--prompt-cache", "c") for _ in range(2))
    assert first.returncode == second.returncode == 0
    assert first.stdout == second.stdout == run_lmtool(*arguments).stdout
    assert [path.name for path in folder.iterdir() if not path.name.startswith("config")] == ["c"]
