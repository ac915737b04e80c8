"""The front door: a checkpoint opened for generation, where text meets ids."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from .. import InputError, ModelError, UsageError
from ..tokenizer.files import replacing
from ..tokenizer.formats.found import has_tokenizer
from ..tokenizer.stream import SpelledStream, Stream, TextStream
from ..tokenizer.tokenizer import Tokenizer
from .ablation import without
from .device import find_device, find_dtype, find_kv_dtype, memory_errors
from .fit import Fit, Overflow, fit
from .kept import Keeper
from .knockout import Part, digest
from .loop import CHUNK, Loop
from .machine import peak_memory
from .matrix import Placement
from .model.decoder import Decoder
from .prompt_cache import Key, PromptCache
from .quant.kinds import Quant
from .request import Outcome, PromptToken, Request, Timings, Token
from .runner import Compiled, Runner, check_compiler, find_runner
from .sampling.grammar import Constraint, Vocabulary, compile_grammar
from .speculate import DRAFTED, Guessing, LookupDrafter, ModelDrafter, Price, Way, step_bytes
from .voice import Voice
from .waves import in_waves
from .weights.adapter import Lora
from .weights.checkpoint import Checkpoint, open_checkpoint
from .weights.fingerprint import fingerprint
from .weights.load import load_decoder
from .weights.shapes import adapt


@dataclass(frozen=True)
class ModelCard:
    """What was loaded: the contract's "model" object."""

    name: str
    path: str
    family: str
    parameters: int
    dtype: str
    quant: Quant | None = None


@dataclass
class Generation:
    """A generation under way: iterate over it for its tokens, then read what it took.

    `prompts` has a list a request, which fills when its prefill is done if the request asked for
    prompt log-probabilities. Texts are decoded together and their tokens come interleaved.
    """

    timings: Timings
    prompts: list[list[PromptToken]]
    _tokens: Generator[Token] = field(repr=False)
    _voices: dict[tuple[int, int], Voice] = field(
        default_factory=dict[tuple[int, int], Voice], repr=False
    )

    def __iter__(self) -> Iterator[Token]:
        """The tokens, each once."""
        return self._tokens

    def rest(self) -> dict[tuple[int, int], tuple[str, tuple[float, ...]]]:
        """What is held back of each text under way, by request and sample, and how sure that is.

        For whoever breaks off: it could have become a stop text, or was half a character.
        """
        return {key: voice.rest() for key, voice in self._voices.items()}

    def close(self) -> None:
        """Break it off, if it isn't over: what was cached until now can then be reused."""
        self._tokens.close()

    @property
    def prompt(self) -> list[PromptToken]:
        """The first request's prompt."""
        return self.prompts[0]


class Session:
    """A loaded checkpoint.

    It has a `tokenizer` (None if the folder has none), a `context` length in tokens and the one it
    was `made_for`, the `eos` ids of all sources joined, the `defaults` of generation_config.json,
    its `card` and its `spec`. `guessing` is how it guesses ahead, None if it doesn't; see
    `speculate`. `adapters` is a digest of the adapters that were added to its weights, empty
    without any, and `ablated` one of what it lacks: what was computed with others isn't the same
    model's.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        decoder: Decoder,
        tokenizer: Tokenizer | None,
        context: int,
        card: ModelCard,
        load_s: float,
    ) -> None:
        self.tokenizer = tokenizer
        self.context = context
        self.made_for = checkpoint.spec.max_positions
        self.eos = checkpoint.eos() | (tokenizer.eos_ids if tokenizer else frozenset[int]())
        self.defaults: dict[str, Any] = checkpoint.generation
        self.card = card
        self.spec = checkpoint.spec
        self.adapters = ""
        self.ablated = ""
        self._checkpoint = checkpoint
        self._decoder = decoder
        self._runner: Runner = decoder
        self._kv_dtype: torch.dtype | None = None
        self.guessing: Guessing | None = None
        self._load_s = load_s
        self._vocabulary: Vocabulary | None = None

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        context: int | None = None,
        threads: int | None = None,
        quant: Quant | None = None,
        kv_dtype: str = "auto",
        compiled: bool = False,
        loras: Sequence[Lora] = (),
    ) -> Session:
        """Open the checkpoint folder at `path`, its weights quantized to `quant` as they are read.

        `kv_dtype` is what keys and values are cached in: a dtype, "int8", or "auto", the model's.
        `compiled` decodes single texts by code that torch.compile makes at the first token.
        `loras` are added to the weights as these are read.
        Raises `ModelError` (missing, damaged, unsupported), `UsageError` (no such device),
        `OutOfMemoryError`.
        """
        began = perf_counter()
        where, precision, cached = find_device(device), find_dtype(dtype), find_kv_dtype(kv_dtype)
        if threads is not None:
            torch.set_num_threads(threads)
        checkpoint = open_checkpoint(path)
        tokenizer = Tokenizer.load(path) if has_tokenizer(path) else None
        if tokenizer is not None and tokenizer.vocab_size > checkpoint.spec.vocab:
            raise ModelError(
                f"`{path}`: the tokenizer has {tokenizer.vocab_size} ids, "
                f"but the embedding only {checkpoint.spec.vocab} rows",
                hint="the tokenizer and the weights don't belong together",
            )
        _check_quant(checkpoint, quant)
        if compiled:
            check_compiler(checkpoint.spec, where, quant or checkpoint.quantization)
        placement = Placement(constant=True) if compiled else None
        with memory_errors("loading the weights"):
            adapted = adapt(checkpoint, loras)
            if adapted is not None:
                checkpoint = adapted.checkpoint
            decoder, reader = load_decoder(checkpoint, precision, where, placement, quant, adapted)
        card = ModelCard(
            name=path.resolve().name,
            path=str(path),
            family=checkpoint.family.name,
            parameters=reader.parameters,
            dtype=str(reader.dtype).removeprefix("torch."),
            quant=reader.quant,
        )
        length = _context(checkpoint, context)
        session = cls(checkpoint, decoder, tokenizer, length, card, perf_counter() - began)
        session._runner = find_runner(decoder, compiled)
        session._kv_dtype = cached
        session.adapters = adapted.fingerprint if adapted is not None else ""
        gc.freeze()  # or every token would pay for looking through all that was imported
        return session

    @property
    def decoder(self) -> Decoder:
        """The model itself, for measuring: ids in, logits out."""
        return self._decoder

    @property
    def runner(self) -> Runner:
        """What generation runs its steps by: the decoder, or a faster form of it."""
        return self._runner

    def fit(self, ids: Sequence[int], max_new: int | None, overflow: Overflow) -> Fit:
        """What of `ids` to keep, so that an answer has room in the context: see `fit.fit`.

        Raises `InputError` for too long a prompt if `overflow` is "error", for an empty one, and
        for an id outside the vocabulary.
        """
        if not ids:
            raise InputError("the prompt is empty", hint="give at least one token of text")
        for place, id in enumerate(ids):
            if not 0 <= id < self.spec.vocab:
                raise InputError(
                    f"token id {id} at place {place} is outside the vocabulary of "
                    f"{self.spec.vocab} ids"
                )
        return fit(len(ids), self.context, max_new, overflow, self.begins(ids))

    def begins(self, ids: Sequence[int]) -> int:
        """How many first ids are never left out: a begin-of-text token, or none.

        A context of two has no room for it.
        """
        bos = self.tokenizer.bos_id if self.tokenizer else None
        return 1 if bos is not None and ids and ids[0] == bos and self.context > 2 else 0

    def speculate(self, lookup: int = 0, draft: Session | None = None) -> None:
        """From now on guess ahead, which changes no text: it can make fewer steps of it.

        Guesses are up to `lookup` tokens of what the text said before, or else what a smaller
        model, `draft`, would say. Raises `ModelError` where that has another vocabulary.
        """
        ways = [Way(LookupDrafter, lookup)] if lookup else []
        step = _step_bytes(self)
        if draft is not None:
            _check_vocabulary(self, draft)
            runner, context = draft.runner, min(draft.context, self.context)
            self._load_s += draft._load_s
            cost = _step_bytes(draft) / step
            ways.append(Way(lambda: ModelDrafter(runner, context, CHUNK), DRAFTED, cost))
        # Sums in another order differ by less than float32 can tell two tokens apart by, but not
        # so with fewer digits. On a GPU products differ with their number of rows already.
        dtype, device = self.decoder.dtype, self.decoder.device
        apart = device.type == "cpu" and dtype != torch.float32
        price = Price.apart(self.spec, dtype.itemsize, step) if apart else Price()
        self.guessing = Guessing(tuple(ways), price, apart) if ways else None

    def ablate(self, parts: Iterable[Part], unseen: Sequence[range] = ()) -> None:
        """From now on lack some parts, and see nothing of some places of a prompt: see `without`.

        What a prompt cache keeps is another model's.
        """
        parts = tuple(parts)
        self._decoder = without(self._decoder, parts, unseen)
        self._runner = find_runner(self._decoder, compiled=isinstance(self._runner, Compiled))
        self.ablated = digest(parts, unseen, self.ablated)

    def generate(self, request: Request, kept: Keeper | None = None) -> Generation:
        """Start on `request`; nothing runs before the first token is asked for.

        What `kept` has cached of the prompt isn't read again, and it keeps this text for the next.
        """
        return self._start([request], kept)

    @property
    def key(self) -> Key:
        """What the numbers of an answer depend on, besides the request. Reads the checkpoint."""
        return Key(
            model=fingerprint(self._checkpoint),
            adapters=self.adapters,
            ablated=self.ablated,
            dtype=self.card.dtype,
            kv_dtype=str(self._kv_dtype or self._decoder.dtype).removeprefix("torch."),
            quant=self.card.quant or "none",
            device=self._decoder.device.type,
        )

    def prompt_cache(self, path: Path, read_only: bool = False) -> PromptCache:
        """What the file at `path` keeps of a prompt, to generate with; it may not be there yet.

        A generation keeps its own prompt there instead, unless `read_only`. Raises `ModelError`
        for a file that is damaged, isn't a prompt cache, or is another model's.
        """
        write = None if read_only else replacing
        return PromptCache(path, self.card.name, self.key, self.spec, write)

    def generate_many(self, requests: Sequence[Request]) -> Generation:
        """Start on several requests, which run side by side as far as there is room.

        A token's `request` says whose it is. A text is the same as if its request ran alone, but
        for how sums are rounded. Raises where a request's grammar can't be followed: see
        `compile_grammar`.
        """
        return self._start(requests, None)

    def stream(self, requests: Iterable[Request]) -> Iterator[Token | Outcome]:
        """Answer any number of requests, which are taken one by one as there is room for them.

        Tokens come as they are decoded, and for each request, once it is complete, an `Outcome`
        that has them all: only that is certain, since a request may be begun anew. Both say by
        `request` whose they are, counted from 0. A request that can't be answered has an error
        for its outcome. Raises what concerns all of them.
        """
        return in_waves(requests, self.generate_many)

    def _start(self, requests: Sequence[Request], kept: Keeper | None) -> Generation:
        timings = Timings(load_s=self._load_s)
        loop = Loop(
            self._runner,
            requests,
            self.context,
            timings,
            guessing=self.guessing,
            kv_dtype=self._kv_dtype,
            constraints=[self._constraint(request) for request in requests],
            kept=kept,
        )
        voices: dict[tuple[int, int], Voice] = {}
        tokens = self._clocked(self._tokens(loop, voices), timings)
        return Generation(timings, loop.prompts, tokens, voices)

    def _constraint(self, request: Request) -> Constraint | None:
        """Where a request's grammar begins, None if it has none."""
        grammar = request.grammar
        if grammar is None:
            return None
        if self.tokenizer is None:
            raise ModelError(
                f"{grammar.name}: a grammar needs a tokenizer, and `{self.card.path}` has none"
            )
        if self._vocabulary is None:
            self._vocabulary = Vocabulary(self.tokenizer, self.spec.vocab)
        return compile_grammar(grammar, self._vocabulary, request.stop)

    def _clocked(self, tokens: Iterator[Token], timings: Timings) -> Generator[Token]:
        """The tokens; how long the first took and what memory all took goes to `timings`."""
        began = perf_counter()
        try:
            for token in tokens:
                if timings.first_token_s is None:
                    timings.first_token_s = perf_counter() - began
                yield token
        finally:
            timings.peak_bytes = peak_memory(self._decoder.device)

    def _tokens(self, loop: Loop, voices: dict[tuple[int, int], Voice]) -> Iterator[Token]:
        with memory_errors("generating"):
            for emission in loop.run():
                sequence = emission.sequence
                key = (sequence.number, sequence.sample)
                if key not in voices:
                    voices[key] = Voice(self._stream(sequence.request), sequence.request)
                yield voices[key].say(emission)
                if sequence.finish is not None:
                    del voices[key]

    def _stream(self, request: Request) -> Stream | None:
        """What makes text of a request's ids; under a grammar, just the text that it has seen."""
        if request.grammar is not None and self._vocabulary is not None:
            return SpelledStream(self._vocabulary.spellings)
        return TextStream(self.tokenizer, before=request.ids) if self.tokenizer else None


def _context(checkpoint: Checkpoint, asked: int | None) -> int:
    limit = checkpoint.spec.learned_positions
    if asked is None:
        return checkpoint.spec.max_positions
    if asked < 2:  # a token of prompt and one of answer
        raise UsageError(f"a context of {asked} tokens is too small")
    if limit is not None and asked > limit - checkpoint.spec.position_offset:
        raise UsageError(
            f"a context of {asked} tokens is too large: the model has learned "
            f"{limit - checkpoint.spec.position_offset} positions"
        )
    return asked


def _check_quant(checkpoint: Checkpoint, asked: Quant | None) -> None:
    """Raise `UsageError` if a checkpoint is quantized already, and not to what is asked."""
    stored = checkpoint.quantization
    if stored is not None and asked not in (None, stored.quant):
        raise UsageError(
            f"`{checkpoint.folder}` is quantized to {stored.quant} already, not to {asked}",
            hint="name the checkpoint that it was made from",
        )


def _check_vocabulary(session: Session, draft: Session) -> None:
    """Raise `ModelError` unless an id means the same to both."""
    refusal = f"`{draft.card.path}` can't draft for `{session.card.path}`: "
    sizes = draft.spec.vocab, session.spec.vocab
    if sizes[0] != sizes[1]:
        raise ModelError(f"{refusal}it has {sizes[0]:,} ids, not {sizes[1]:,}")
    if draft.tokenizer is None or session.tokenizer is None:
        return
    for id in range(sizes[0]):
        pieces = draft.tokenizer.piece(id), session.tokenizer.piece(id)
        if pieces[0] != pieces[1]:
            raise ModelError(f"{refusal}id {id} is `{pieces[0]}` there and `{pieces[1]}` here")


def _step_bytes(session: Session) -> float:
    widths = {None: session.decoder.dtype.itemsize, "int8": 1, "int4": 0.5}
    return step_bytes(session.spec, session.card.parameters, widths[session.card.quant])
