"""The tokenizer of the default model, made with our own command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from corpus import END_OF_TEXT, SOURCES, TOKENIZER_VOCAB


def train_tokenizer(data: Path, out: Path) -> None:
    """Runs `lmtool train-tokenizer` over every source; the result lies in the folder `out`."""
    files = [str(data / f"{source.file}.txt.xz") for source in SOURCES]
    command = [sys.executable, "-m", "lmtool", "train-tokenizer", *files, "-o", str(out)]
    command += ["--vocab-size", str(TOKENIZER_VOCAB), "--special", END_OF_TEXT]
    command += ["--bos", END_OF_TEXT, "--doc-separator", END_OF_TEXT, "--pattern", "gpt4"]
    subprocess.run(command, check=True)
