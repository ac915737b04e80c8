"""Measuring models on texts: what `lmtool evaluate` and `lmtool scaling` have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import copyfileobj
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

from .. import InputError
from .evaluate_options import Operands
from .evaluate_report import Line
from .progress import StatusLine
from .sources import say_if_typing
from .terminal import Terminal

if TYPE_CHECKING:
    from ..engine.score import Loss, Passage
    from ..engine.session import Session
    from ..tokenizer.corpus import Corpus
    from ..tokenizer.tokenizer import Tokenizer


@dataclass
class Result:
    """One model's losses over all texts."""

    session_card: dict[str, Any]
    window: int
    stride: int
    vocabulary: int
    """A hash of the tokenizer's: equal ones give texts the same ids."""
    losses: dict[str, Loss] = field(default_factory=dict[str, "Loss"])

    @property
    def total(self) -> Loss:
        """All texts together."""
        from ..engine.score import Loss

        return sum(self.losses.values(), Loss())

    def lines(self) -> list[Line]:
        """A line for each text, and the total of several."""
        name = str(self.session_card["name"])
        lines = [Line(name, text, loss) for text, loss in self.losses.items()]
        return [*lines, Line(name, "total", self.total)] if len(lines) > 1 else lines

    def as_json(self) -> dict[str, Any]:
        """The object of --json."""
        return {
            "model": self.session_card,
            "window": self.window,
            "stride": self.stride,
            "texts": [{"file": name} | _figures(loss) for name, loss in self.losses.items()],
            "total": _figures(self.total),
        }


def _figures(loss: Loss) -> dict[str, float | int | None]:
    perplexity, error = loss.perplexity, loss.error
    return {
        "tokens": loss.tokens,
        "bytes": loss.bytes,
        "loss": loss.mean,
        "loss_error": error,
        "perplexity": perplexity,
        "perplexity_error": None if perplexity is None or error is None else perplexity * error,
        "bits_per_byte": loss.bits_per_byte,
        "bits_per_byte_error": loss.bits_error,
    }


@contextmanager
def rereadable(texts: list[Path], times: int, terminal: Terminal) -> Generator[dict[str, Path]]:
    """The texts as files that can be read once a model, by name: stdin is kept for the second."""
    from ..tokenizer.corpus import STDIN, find_files

    paths = {"stdin" if path == STDIN else str(path): path for path in find_files(texts)}
    if "stdin" in paths:
        say_if_typing(terminal, "text")
    if "stdin" not in paths or times == 1:
        yield paths
        return
    with NamedTemporaryFile(prefix="lmtool-", suffix=".txt") as kept:
        with open(0, "rb", closefd=False) as stream:
            copyfileobj(stream, kept)
        kept.flush()
        yield paths | {"stdin": Path(kept.name)}


def evaluate_texts(
    session: Session,
    paths: dict[str, Path],
    texts: Operands,
    window: tuple[int, int],
    terminal: Terminal,
) -> Result:
    """A model's losses on the texts, by windows of so many tokens and their stride.

    Raises `InputError` where no text has a token to foretell.
    """
    from ..engine.score import Loss, losses
    from ..tokenizer.corpus import Corpus

    tokenizer = tokenizer_of(session)
    width, stride = window
    vocabulary = hash(frozenset(tokenizer.pipeline.get_vocab().items()))
    result = Result(asdict(session.card), width, stride, vocabulary)
    separators = tuple(texts.doc_separator or ())
    status = StatusLine(terminal)
    for name, path in paths.items():
        loss = result.losses[name] = Loss()
        corpus = Corpus((path,), separators, exact=True)
        feed = _Feed(corpus, tokenizer, texts, width, stride)
        try:
            for values in losses(session, feed.passages()):
                loss.add(values)
                if feed.ended():
                    loss.close()
                status.show(f"{session.card.name}: {name}: {loss.tokens:,} tokens")
        finally:
            status.clear()
        loss.close()
        loss.bytes = feed.bytes
        if not loss.tokens:
            terminal.warn(f"`{name}` has no token that another stands before: nothing to foretell")
        elif loss.tokens < width - 1:
            terminal.detail(f"`{name}` is shorter than the window of {width:,} tokens")
    if not any(loss.tokens for loss in result.losses.values()):
        raise InputError("there is no text to foretell", hint="it takes two tokens or more")
    return result


def tokenizer_of(session: Session) -> Tokenizer:
    """The session's tokenizer. Raises `InputError` where it has none."""
    if session.tokenizer is None:
        raise InputError(f"`{session.card.path}` has no tokenizer, so it can't read text")
    return session.tokenizer


class _Feed:
    """A file's documents as windows of ids; `bytes` are those of the tokens to be scored."""

    def __init__(
        self, corpus: Corpus, tokenizer: Tokenizer, texts: Operands, width: int, stride: int
    ) -> None:
        self._corpus = corpus
        self._tokenizer = tokenizer
        self._texts = texts
        self._window = width, stride
        self._last: deque[bool] = deque()
        self.bytes = 0

    def passages(self) -> Iterator[Passage]:
        """Every window of every document, in order."""
        from ..engine.score import slide

        for document in self._documents():
            before: Passage | None = None
            for passage in slide(self._ids(document), *self._window):
                if before is not None:
                    self._last.append(False)
                    yield before
                before = passage
            if before is not None:
                self._last.append(True)
                yield before

    def ended(self) -> bool:
        """Whether the passage whose losses came last is a document's last; asked once for each."""
        return self._last.popleft()

    def _documents(self) -> Iterator[Iterator[str]]:
        parts = self._corpus.parts()
        for part in parts:

            def stretches(first: str = part.text, whole: bool = part.ends) -> Iterator[str]:
                yield first
                while not whole:
                    more = next(parts)
                    whole = more.ends
                    yield more.text

            yield stretches()

    def _ids(self, document: Iterator[str]) -> Iterator[list[int]]:
        from ..tokenizer.bulk import encode_blocks

        first = True
        texts = self._texts
        for encoded in encode_blocks(
            self._tokenizer, document, texts.bos.value, texts.special.value
        ):
            self.bytes += len(encoded.text.encode())
            if first and not encoded.added and encoded.ids:
                # The first token of all has nothing before it that could foretell it.
                alone = self._tokenizer.decode_bytes(encoded.ids[:1], skip_special=False)
                self.bytes -= min(len(alone), len(encoded.text.encode()))
            first = False
            yield encoded.ids


def warn_of_tokenizers(results: list[Result], terminal: Terminal) -> None:
    """Say so if the models' losses are by tokens that differ."""
    if len({result.vocabulary for result in results}) > 1:
        terminal.warn(
            "the models have different tokenizers: only bits per byte compare, a loss or "
            "perplexity is by each model's own tokens"
        )
