"""Runs what README and docs tell a reader to type."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _load_transcripts():
    spec = importlib.util.spec_from_file_location("transcripts", ROOT / "docs" / "transcripts.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["transcripts"] = module
    spec.loader.exec_module(module)
    return module


transcripts = _load_transcripts()


def words(text: str) -> list[str]:
    return text.split()


@pytest.mark.parametrize("page", transcripts.pages(), ids=lambda page: page.name)
def test_snippets_do_what_the_page_shows(page: Path, tmp_path: Path, warm: Path) -> None:
    environ = transcripts.fill_workplace(tmp_path)
    environ["PATH"] = f"{warm.parent}{os.pathsep}{environ['PATH']}"
    for snippet in transcripts.find_snippets(page.read_text("utf-8")):
        for command, shown in snippet.steps if snippet.runs else ():
            code, output = transcripts.run(command, tmp_path, environ)
            assert code == 0, f"{page.name}: `{command}` exits {code}: {output}"
            if snippet.exact:
                assert words(output) == words(shown), command
            else:
                assert bool(output.strip()) == bool(shown.strip()), command


def test_what_programs_are_told_to_write_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    program = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    environ = transcripts.fill_workplace(tmp_path) | {"PYTHONPATH": str(tmp_path / ".bin")}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environ, capture_output=True, check=True
    )
    tale, tales = done.stdout.decode().rstrip().rsplit("\n", 1)
    assert len(tale.split()) > 10
    assert re.fullmatch(r"\{'\w+': .*'\w+': .*'\w+': .*\}", tales)


@pytest.mark.parametrize("page", transcripts.pages(), ids=lambda page: page.name)
def test_every_console_block_says_whether_it_runs(page: Path) -> None:
    snippets = list(transcripts.find_snippets(page.read_text("utf-8")))
    assert len(snippets) == page.read_text("utf-8").count("```console")
    for snippet in snippets:
        assert snippet.runs or re.match(r"not run: \w+", snippet.mark), snippet.steps
        assert snippet.steps


@pytest.mark.parametrize("page", transcripts.pages(), ids=lambda page: page.name)
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text("utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_list_of_pages_has_every_page() -> None:
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "README.md").read_text("utf-8"))
    there = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert sorted(listed) == sorted(there)


def test_readme_names_the_families_that_run() -> None:
    from lmtool.engine.families.table import FAMILIES

    readme = (ROOT / "README.md").read_text("utf-8")
    section = readme[readme.index("## Models") : readme.index("## The default model")]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[2])]
    assert sorted(set(named) - {"model_type"}) == sorted(FAMILIES)


PAGE = """text
<!-- run exact -->
```console
$ printf 'one two\\n'
one two
$ printf '%s' \\
    "$TERM"
dumb
```
<!-- not run: it needs a network -->
```console
$ curl example.org
```
"""


def test_a_page_is_read_as_it_is_meant() -> None:
    first, second = transcripts.find_snippets(PAGE)
    assert [output for _, output in first.steps] == ["one two\n", "dumb\n"]
    assert first.steps[1][0] == "printf '%s' \\\n    \"$TERM\""
    assert first.exact
    assert not second.runs


def test_outputs_are_written_back(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("one two\n$", "old\n$").replace("dumb", "vt100"), "utf-8")
    assert transcripts.rewrite(page) == []
    assert page.read_text("utf-8") == PAGE


def test_a_failing_command_is_named_and_the_page_kept(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = "<!-- run -->\n```console\n$ exit 3\nfine\n```\n"
    page.write_text(text, "utf-8")
    assert transcripts.rewrite(page) == ["page.md: `exit 3` exits 3"]
    assert page.read_text("utf-8") == text


def test_a_snippet_sees_this_checkout(tmp_path: Path) -> None:
    environ = transcripts.fill_workplace(tmp_path)
    code, output = transcripts.run("lmtool --version | tee out.txt", tmp_path, environ)
    assert (code, (tmp_path / "out.txt").read_text()) == (0, output)
