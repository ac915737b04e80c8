"""Measuring models on texts: what `lmtool evaluate` and `lmtool scaling` have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shutil import copyfileobj
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import InputError
from .evaluate_options import Operands, Window
from .evaluate_report import Line
from .heat import Heat
from .progress import StatusLine
from .prompt_words import Spelling
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
    heats: dict[str, Heat] = field(default_factory=dict[str, Heat])
    """Where the losses sit, if that was asked for."""

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
    window: Window,
    terminal: Terminal,
    heat: int = 0,
) -> Result:
    """A model's losses on the texts, by windows of so many tokens and their stride.

    `heat` is how many tokens of each text are kept for a heat-map; with 0 there is none. Raises
    `InputError` where no text has a token to foretell.
    """
    from ..engine.score import Loss, losses
    from ..tokenizer.corpus import Corpus

    tokenizer = tokenizer_of(session)
    width, stride, asked = window
    vocabulary = hash(frozenset(tokenizer.pipeline.get_vocab().items()))
    result = Result(asdict(session.card), width, stride, vocabulary)
    separators = tuple(texts.doc_separator or ())
    status = StatusLine(terminal)
    for name, path in paths.items():
        loss = result.losses[name] = Loss()
        corpus = Corpus((path,), separators, exact=True)
        feed = _Feed(corpus, tokenizer, texts, width, stride)
        hot = Heat(Spelling(tokenizer), heat)
        try:
            for values in losses(session, feed.passages()):
                loss.add(values)
                done = feed.done()
                if heat:
                    done.warm(hot, values)
                if done.last:
                    loss.close()
                status.show(f"{session.card.name}: {name}: {loss.tokens:,} tokens")
        finally:
            status.clear()
        loss.close()
        loss.bytes = feed.bytes
        if heat:
            result.heats[name] = hot
        if not loss.tokens:
            terminal.warn(f"`{name}` has no token that another stands before: nothing to foretell")
        elif loss.tokens < width - 1:
            tell = terminal.warn if asked else terminal.detail
            tell(f"`{name}` is shorter than the window of {width:,} tokens: one window has it all")
    if not any(loss.tokens for loss in result.losses.values()):
        raise InputError("there is no text to foretell", hint="it takes two tokens or more")
    return result


def tokenizer_of(session: Session) -> Tokenizer:
    """The session's tokenizer. Raises `InputError` where it has none."""
    if session.tokenizer is None:
        raise InputError(f"`{session.card.path}` has no tokenizer, so it can't read text")
    return session.tokenizer


class _Done(NamedTuple):
    """A passage that was run: whether it is its document's first, or last."""

    passage: Passage
    begins: bool
    last: bool

    def warm(self, heat: Heat, values: Sequence[float]) -> None:
        """Hand on the tokens that were scored, and the one that a document begins with."""
        ids = self.passage.ids
        if self.begins:
            heat.begin(ids[0])
        heat.add(ids[self.passage.first :], values)


class _Feed:
    """A file's documents as windows of ids; `bytes` are those of the tokens to be scored."""

    def __init__(
        self, corpus: Corpus, tokenizer: Tokenizer, texts: Operands, width: int, stride: int
    ) -> None:
        self._corpus = corpus
        self._tokenizer = tokenizer
        self._texts = texts
        self._window = width, stride
        self._under_way: deque[_Done] = deque()
        self.bytes = 0

    def passages(self) -> Iterator[Passage]:
        """Every window of every document, in order."""
        from ..engine.score import slide

        for document in self._documents():
            before: Passage | None = None
            begins = True
            for passage in slide(self._ids(document), *self._window):
                if before is not None:
                    self._under_way.append(_Done(before, begins, last=False))
                    yield before
                    begins = False
                before = passage
            if before is not None:
                self._under_way.append(_Done(before, begins, last=True))
                yield before

    def done(self) -> _Done:
        """The passage whose losses came last; asked once for each."""
        return self._under_way.popleft()

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


def each_heat(results: Sequence[Result]) -> Iterator[tuple[Line, Heat]]:
    """Where the loss sits, of each model and text that there is something to show of."""
    for result in results:
        for line in result.lines()[: len(result.losses)]:  # without the total
            if line.loss.tokens and line.text in result.heats:
                yield line, result.heats[line.text]


def warn_of_tokenizers(results: list[Result], terminal: Terminal) -> None:
    """Say so if the models' losses are by tokens that differ."""
    if len({result.vocabulary for result in results}) > 1:
        terminal.warn(
            "the models have different tokenizers: only bits per byte compare, a loss or "
            "perplexity is by each model's own tokens"
        )
