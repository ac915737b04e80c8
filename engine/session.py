"""The front door: a checkpoint opened for generation, where text meets ids."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import tee
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from .. import InputError, ModelError
from ..tokenizer.files import replacing
from ..tokenizer.formats.found import has_tokenizer
from ..tokenizer.stream import SpelledStream, Stream, TextStream
from ..tokenizer.tokenizer import Tokenizer
from .ablation import without
from .cache.paged import find_plan
from .device import find_device, find_kv_dtype, memory_errors
from .fit import Fit, Overflow, fit
from .fixed import READ, find_exact, find_whole
from .generation import Generation
from .kept import Keeper
from .knockout import Part, digest
from .launch import alone, launched
from .loop import CHUNK, STREAMED, Loop
from .machine import peak_memory
from .model.decoder import Decoder
from .prompt_cache import Key, PromptCache
from .quant.kinds import Quant
from .ranks import Load, load_here
from .request import Outcome, Request, Timings, Token
from .runner import Compiled, Runner, check_compiler, find_runner
from .sampling.grammar import Constraint, Vocabulary, compile_grammar
from .speculate import DRAFTED, Guessing, LookupDrafter, ModelDrafter, Price, Way, step_bytes
from .streaming import Ready, streamed
from .voice import Voice
from .weights.adapter import Lora
from .weights.checkpoint import Checkpoint, check_quant, context_of, open_checkpoint
from .weights.fingerprint import fingerprint
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
        self._found: dict[bool, Runner] = {}

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
        where, cached = find_device(device), find_kv_dtype(kv_dtype)
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
        check_quant(checkpoint, quant)
        if compiled:
            check_compiler(checkpoint.spec, where, quant or checkpoint.quantization)
        order = Load(path, device, dtype, quant, tuple(loras), threads, compiled)
        with memory_errors("loading the weights"):
            adapted = adapt(checkpoint, loras)
            if adapted is not None:
                checkpoint = adapted.checkpoint
            decoder, reader = load_here(order, checkpoint, adapted)
        card = ModelCard(
            name=path.resolve().name,
            path=str(path),
            family=checkpoint.family.name,
            parameters=reader.parameters,
            dtype=str(reader.dtype).removeprefix("torch."),
            quant=reader.quant,
        )
        length = context_of(checkpoint, context)
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
        alone("leaving out parts")
        parts = tuple(parts)
        self._decoder = without(self._decoder, parts, unseen)
        self._runner = find_runner(self._decoder, compiled=isinstance(self._runner, Compiled))
        self.ablated = digest(parts, unseen, self.ablated)
        self._found.clear()

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
        alone("a prompt cache")
        write = None if read_only else replacing
        return PromptCache(path, self.card.name, self.key, self.spec, write)

    def generate_many(self, requests: Sequence[Request]) -> Generation:
        """Start on several requests, which run side by side as far as there is room.

        A token's `request` says whose it is. A text is the same as if its request ran alone, but
        for how sums are rounded. Raises where a request's grammar can't be followed: see
        `compile_grammar`.
        """
        return self._start(requests, None)

    def stream(
        self,
        requests: Request | Iterable[Request],
        *,
        max_memory: int | None = None,
        rows: int = STREAMED,
        deterministic: bool | None = False,
        timings: Timings | None = None,
    ) -> Iterator[Token | Outcome]:
        """Answer a request, or any number, which are taken one by one as there is room for them.

        Tokens come as they are decoded, and for each request, once it is complete, an `Outcome`
        that has them all: only that is certain, since a request may be begun anew. Both say by
        `request` whose they are, counted from 0. A request that can't be answered has an error
        for its outcome. Raises what concerns all of them.

        At most `rows` texts run at once, and their keys and values take at most `max_memory`
        bytes (None: most of what is free). `timings` are filled as it goes. Texts don't depend on
        each other but for how sums are rounded, and if `deterministic`, not even for that, whatever
        it costs; None, only where it costs nothing (docs/continuous-batching.md).
        """
        timings = timings or Timings()
        timings.load_s = self._load_s
        kv_dtype = self._kv_dtype or self._decoder.dtype
        plan = find_plan(self.spec, kv_dtype, self._decoder.device, max_memory, rows, self.context)
        runner: Runner = self._decoder
        if deterministic:
            alone("--deterministic")
            plan, runner = replace(plan, alike=READ), self._exact(True)
        elif deterministic is None and launched() is None and runner.device.type == "cpu":
            runner = self._exact(False)

        def prepare(request: Request) -> Ready:
            plan.check(request, self.context)
            return Ready(request, self._constraint(request))

        def start(coming: Iterator[Ready]) -> Iterator[Token]:
            ones, others = tee(coming)
            loop = Loop(
                runner,
                (one.request for one in ones),
                self.context,
                timings,
                rows,
                guessing=self.guessing,
                kv_dtype=kv_dtype,
                constraints=(one.constraint for one in others),
                plan=plan,
            )
            return self._clocked(self._tokens(loop, {}), timings)

        asked = [requests] if isinstance(requests, Request) else requests
        return streamed(asked, prepare, start)

    def _exact(self, costly: bool) -> Runner:
        """What computes a token alike in any company; the decoder as it is where that is costly."""
        if costly not in self._found:
            find = find_exact if costly else find_whole
            with memory_errors("trying out steps"):
                self._found[costly] = find(self._decoder) or self._decoder
        return self._found[costly]

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
            kept=None if launched() else kept,  # others' keys and values aren't here to be kept
        )
        voices: dict[tuple[int, int], Voice] = {}
        tokens = self._clocked(self._tokens(loop, voices), timings)
        prompts = [loop.prompts[number] for number in range(len(requests))]
        return Generation(timings, prompts, tokens, voices)

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
