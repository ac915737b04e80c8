"""Runs the console snippets of README and docs, and writes what they print back into the page.

    python docs/transcripts.py                  # every page: run, and rewrite the outputs
    python docs/transcripts.py README.md        # one page

A snippet is a ```console block under one of these comments (tests/docs sees that none lacks it):

    <!-- run -->                every command must exit 0; what it prints may differ
    <!-- run exact -->          and it must print just this, whitespace aside
    <!-- not run: the reason -->

Commands start with `$ ` and run by bash on a terminal of 100 columns, all those of a page in one
folder that starts with README.md, LICENSE and recipes/ in it, as a fresh clone does.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import textwrap
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pexpect

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 96
BLOCK = re.compile(r"(?:<!-- (?P<mark>[^\n]*?) -->\n)?```console\n(?P<body>.*?)```\n", re.DOTALL)
COMMAND = re.compile(r"^\$ (?P<command>(?:.*\\\n)*.*)\n", re.MULTILINE)


@dataclass(frozen=True)
class Snippet:
    """A console block: its mark, and its (command, output) pairs."""

    mark: str
    steps: tuple[tuple[str, str], ...]

    @property
    def runs(self) -> bool:
        """Whether the page promises that the commands work as they stand."""
        return self.mark.split()[:1] == ["run"]

    @property
    def exact(self) -> bool:
        """Whether the output is the same on every machine."""
        return self.mark == "run exact"


def pages() -> list[Path]:
    """README and every page under docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def find_snippets(text: str) -> Iterator[Snippet]:
    """The console blocks of a page, in their order."""
    for block in BLOCK.finditer(text):
        parts = COMMAND.split(block["body"])
        steps = zip(parts[1::2], parts[2::2], strict=True)
        yield Snippet(block["mark"] or "", tuple(steps))


def fill_workplace(folder: Path) -> dict[str, str]:
    """Make `folder` what a reader has after cloning, and return an environment with `lmtool`."""
    for name in ("README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "recipes").symlink_to(ROOT / "recipes", target_is_directory=True)
    hidden = folder / ".bin"
    hidden.mkdir()
    (hidden / "lmtool").symlink_to(ROOT, target_is_directory=True)
    command = hidden / "bin" / "lmtool"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{hidden}" exec "{sys.executable}" -m lmtool "$@"\n')
    command.chmod(0o755)
    environ = {key: value for key, value in os.environ.items() if not key.startswith("LMTOOL_")}
    return environ | {
        "PATH": f"{command.parent}{os.pathsep}{environ['PATH']}",
        "XDG_CONFIG_HOME": str(hidden),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(hidden / "huggingface"),
        "TERM": "dumb",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
    }


def run(command: str, folder: Path, environ: dict[str, str]) -> tuple[int, str]:
    """Run `command` on a terminal of its own; its exit code and what the terminal showed."""
    child = pexpect.spawn(
        "bash",
        ["-c", command],
        cwd=str(folder),
        env=environ,
        timeout=300,
        dimensions=(40, 100),
        encoding="utf-8",
    )
    child.expect(pexpect.EOF)
    child.close()
    code = child.exitstatus if child.exitstatus is not None else 128 + (child.signalstatus or 0)
    return code, (child.before or "").replace("\r\n", "\n")


def fold(text: str) -> str:
    """`text` with its long lines folded at spaces, as it reads well on a page."""
    lines = [folded for line in text.rstrip("\n").split("\n") for folded in _folded(line)]
    return "\n".join(lines) + "\n" if text.strip() else ""


def _folded(line: str) -> list[str]:
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in line)
    if len(line) + wide <= WIDTH:
        return [line.rstrip()]
    width = WIDTH // 2 if wide else WIDTH
    return textwrap.wrap(line, width, break_on_hyphens=False) or [""]


def rewrite(page: Path) -> list[str]:
    """Run the page's snippets and put their outputs in; the commands that failed."""
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environ = fill_workplace(folder)

        def renew(block: re.Match[str]) -> str:
            (snippet,) = find_snippets(block[0])
            if not snippet.runs:
                return block[0]
            body = ""
            for command, _ in snippet.steps:
                code, output = run(command, folder, environ)
                if code:
                    failed.append(f"{page.name}: `{command}` exits {code}")
                body += f"$ {command}\n{fold(output)}"
            return f"<!-- {snippet.mark} -->\n```console\n{body}```\n"

        text = BLOCK.sub(renew, page.read_text("utf-8"))
    if not failed:
        page.write_text(text, "utf-8")
    return failed


def main(names: list[str]) -> int:
    """Rewrite the named pages, or all; a page with a failing command stays as it was."""
    failed = [line for page in map(Path, names or pages()) for line in rewrite(page)]
    print("\n".join(failed) or "every snippet ran", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
