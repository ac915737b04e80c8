"""`tokenize FILE… -o corpus.bin`: what it can be told, and how a person sees it work."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

import typer

from .. import UsageError
from .progress import StatusLine, megabytes
from .signals import Ended
from .terminal import Terminal
from .token_options import EncodeSettings, TextOptions

if TYPE_CHECKING:
    from ..tokenizer.tokenizer import Tokenizer


class _Form(Protocol):
    @property
    def binary(self) -> bool: ...


@dataclass(frozen=True)
class FlatOptions:
    """How files become a .bin file with its index."""

    panel: ClassVar[str] = "Corpora (FILE… -o corpus.bin)"

    doc_separator: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Text that parts documents in a file, and isn't encoded; repeat for more.",
            show_default=False,
        ),
    ] = None
    text_field: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The field of .jsonl, or column of .parquet, with the text. Default: text.",
            show_default=False,
        ),
    ] = None
    append_eos: Annotated[
        bool,
        typer.Option(
            "--append-eos",
            help="Put the end-of-text token behind each document.",
            show_default=False,
        ),
    ] = False
    threads: Annotated[
        int | None,
        typer.Option(
            *("-t", "--threads"),
            min=1,
            metavar="N",
            help="Threads that encode. Default: every core.",
            show_default=False,
        ),
    ] = None
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            help="Throw away what a run that was stopped has left, and begin again.",
            show_default=False,
        ),
    ] = False

    def wanted(self, form: _Form, text: TextOptions) -> bool:
        """Whether a corpus is to be written. Raises `UsageError` for options that need one."""
        corpus = form.binary and bool(text.files) and not (text.file or text.records)
        given = {
            "--doc-separator": self.doc_separator is not None,
            "--text-field": self.text_field is not None,
            "--append-eos": self.append_eos,
            "--threads": self.threads is not None,
            "--fresh": self.fresh,
        }
        for name, is_given in given.items():
            if is_given and not corpus:
                raise UsageError(
                    f"{name} is for corpora", hint="`lmtool tokenize FILE… -o corpus.bin`"
                )
        if corpus and text.prompt is not None:
            raise UsageError("-p and the files both name a text", hint="give one of them")
        if corpus and self.doc_separator and "" in self.doc_separator:
            raise UsageError("--doc-separator '' parts nothing")
        return corpus


def write_corpus(
    terminal: Terminal,
    tokenizer: Tokenizer,
    output: Path,
    text: TextOptions,
    encoding: EncodeSettings,
    options: FlatOptions,
) -> None:
    """Encode the files that `text` names to `output`, and say on stderr what came of it."""
    from ..tokenizer.corpus import STDIN, Corpus, find_files
    from ..tokenizer.corpus_encoding import Wishes, encode_corpus
    from .sources import named_once, say_if_typing

    paths = find_files(named_once(text.paths))
    if STDIN in paths:
        say_if_typing(terminal, "text")
    corpus = Corpus(
        paths,
        tuple(options.doc_separator or ()),
        errors=text.errors.value,
        text_field=options.text_field or "text",
        exact=True,
    )
    wishes = Wishes(
        encoding.special.value,
        encoding.bos.value,
        options.append_eos,
        options.threads,
        options.fresh,
    )
    with _watched(terminal, output, corpus.size) as on_progress:
        facts = encode_corpus(corpus, tokenizer, output, wishes, on_progress)
    _tell(terminal, output, facts)


@contextmanager
def _watched(
    terminal: Terminal, output: Path, total: int | None
) -> Generator[Callable[[int, int], None]]:
    """A line that says how far we are, and after an interruption, how to go on."""
    status = StatusLine(terminal)

    def show(size: int, tokens: int) -> None:
        of = f" of {megabytes(total)}" if total else ""
        status.show(f"encoded {megabytes(size)}{of}, {tokens:,} tokens")

    try:
        yield show
    except (KeyboardInterrupt, Ended):
        status.clear()
        if output.with_name(output.name + ".progress").exists():
            terminal.note(
                f"interrupted: what is done is in `{output}.partial`, and the same command goes "
                "on from there"
            )
        raise
    finally:
        status.clear()


def _tell(terminal: Terminal, output: Path, facts: dict[str, Any]) -> None:
    bad = [file for file in facts["files"] if file["bad_bytes"]]
    if bad:
        count = sum(file["bad_bytes"] for file in bad)
        terminal.warn(
            f"{count:,} places in {len(bad)} of the files are not UTF-8, the first file is "
            f"`{bad[0]['name']}`"
        )
    reason = facts["encoder_reason"]
    terminal.detail(f"encoder: {facts['encoder']}" + (f" ({reason})" if reason else ""))
    terminal.note(
        f"written: {output}, {facts['tokens']:,} tokens ({facts['dtype']}) of "
        f"{facts['documents']:,} {'document' if facts['documents'] == 1 else 'documents'}, "
        f"{megabytes(facts['bytes'])} of text"
    )
