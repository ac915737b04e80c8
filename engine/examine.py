"""Examine a checkpoint before loading it: all that loading would fail on, found in one go.

Nothing is checked twice in two ways: the decoder itself is built, from shapes instead of numbers,
so whatever it would ask of the weights is asked here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from .. import InputError, LmtoolError, ModelError
from ..tokenizer.chat import ChatTemplate, Message
from ..tokenizer.formats.found import has_tokenizer
from ..tokenizer.tokenizer import Tokenizer
from .device import available_memory, find_kv_dtype
from .facts import cache_bytes
from .model.decoder import Decoder
from .spec import ModelSpec
from .weights.checkpoint import (
    CONFIG,
    INDEX,
    SINGLE,
    Checkpoint,
    read_config,
    read_json,
    read_places,
    understand,
    unlisted,
)
from .weights.load import WeightReader
from .weights.shapes import ShapeReader
from .weights.shards import Shard, open_shard

T = TypeVar("T")

SHOWN = 5
"""Faults of one kind that are listed; more are counted."""


@dataclass(frozen=True)
class Finding:
    """What one check found: fine ("ok"), odd ("warning"), or fatal to loading ("error")."""

    check: str
    level: Literal["ok", "warning", "error"]
    message: str
    hint: str | None = None


class Examination:
    """The findings on one checkpoint folder, for a context of so many tokens or the model's own.

    `kv_dtype` is what the cache would hold, which is part of the memory needed.
    """

    def __init__(self, folder: Path, context: int | None = None, kv_dtype: str = "auto") -> None:
        self.findings: list[Finding] = []
        self._stored = find_kv_dtype(kv_dtype)
        self._folder = folder
        config = self._try(CONFIG, lambda: read_config(folder))
        if config is None:
            return
        understood = self._try(CONFIG, lambda: understand(config, f"`{folder / CONFIG}`"))
        if understood is not None:
            family, spec, quantization = understood
            quant = "" if quantization is None else f", quantized to {quantization.quant}"
            self._say(CONFIG, "ok", f"{family.name}, {len(spec.layers)} layers{quant}")
        generation = self._try(
            "generation_config.json",
            lambda: read_json(folder / "generation_config.json", needed=False),
        )
        shards = self._shards()
        tokenizer = self._tokenizer()
        if understood is None:
            return
        family, spec, quantization = understood
        checkpoint = Checkpoint(
            folder, config, generation or {}, family, spec, shards, quantization
        ).as_stored()
        if shards:
            self._weights(checkpoint, context or spec.max_positions)
        if tokenizer is not None:
            self._vocabulary(checkpoint, tokenizer)

    @property
    def failed(self) -> bool:
        """Whether loading would fail."""
        return any(finding.level == "error" for finding in self.findings)

    def _say(
        self,
        check: str,
        level: Literal["ok", "warning", "error"],
        message: str,
        hint: str | None = None,
    ) -> None:
        self.findings.append(Finding(check, level, message, hint))

    def _try(self, check: str, attempt: Callable[[], T]) -> T | None:
        try:
            return attempt()
        except ModelError as error:
            self._say(check, "error", error.message, error.hint)
            return None

    def _shards(self) -> tuple[Shard, ...]:
        """The shards that can be opened; each that can't is a finding."""
        try:
            places = read_places(self._folder)
        except ModelError as error:
            self._say("weights", "error", error.message, error.hint)
            return ()
        names = [SINGLE] if places is None else sorted(set(places.values()))
        shards: dict[str, Shard] = {}
        for name in names:
            shard = self._try("shards", lambda name=name: open_shard(self._folder / name))
            if shard is not None:
                shards[name] = shard
        if places is not None and (error := unlisted(self._folder, places, shards)):
            self._say(INDEX, "error", error.message, error.hint)
        if len(shards) == len(names):
            size = sum(shard.path.stat().st_size for shard in shards.values())
            self._say("shards", "ok", f"{len(names)}, whole: {size:,} bytes")
        return tuple(shards.values())

    def _weights(self, checkpoint: Checkpoint, context: int) -> None:
        """Every weight that the decoder asks for, and whether there are others."""
        reader = ShapeReader(checkpoint)
        Decoder(checkpoint.spec, reader)
        for fault in reader.faults[:SHOWN]:
            self._say("weights", "error", fault.message, fault.hint)
        if len(reader.faults) > SHOWN:
            self._say("weights", "error", f"{len(reader.faults) - SHOWN} more like these")
        if not reader.faults:
            self._try("weights", reader.refuse_rest)
            self._say("weights", "ok", f"{reader.parameters:,} parameters, all in place")
        self._memory(checkpoint.spec, reader, context)

    def _memory(self, spec: ModelSpec, reader: WeightReader, context: int) -> None:
        weights = reader.nbytes
        cache = cache_bytes(spec, context, self._stored or reader.dtype)
        need = f"{_size(weights)} of weights and {_size(cache)} of cache at {context:,} tokens"
        there = available_memory()
        if there is None or weights + cache <= there:
            self._say("memory", "ok", need)
            return
        self._say(
            "memory",
            "warning",
            f"{need}, but {_size(there)} are free",
            hint="a smaller context (-c), --kv-dtype or dtype needs less",
        )

    def _tokenizer(self) -> Tokenizer | None:
        if self._try("tokenizer", lambda: has_tokenizer(self._folder)) is False:
            self._say(
                "tokenizer",
                "warning",
                f"`{self._folder}` has no tokenizer.json or other tokenizer",
                hint="prompts must be given as ids (--token-ids)",
            )
            return None
        tokenizer = self._try("tokenizer", lambda: Tokenizer.load(self._folder))
        if tokenizer is not None:
            self._say("tokenizer", "ok", tokenizer.format)
        return tokenizer

    def _vocabulary(self, checkpoint: Checkpoint, tokenizer: Tokenizer) -> None:
        """Whether tokenizer, embedding, end-of-text ids and chat template belong together."""
        rows, ids = checkpoint.spec.vocab, tokenizer.vocab_size
        if ids > rows:
            self._say(
                "vocabulary",
                "error",
                f"the tokenizer has {ids:,} ids, but the embedding only {rows:,} rows",
                hint="the tokenizer and the weights don't belong together",
            )
        else:
            self._say("vocabulary", "ok", f"{ids:,} ids for {rows:,} rows")
        ends = checkpoint.eos() | tokenizer.eos_ids
        if outside := sorted(id for id in ends if id >= rows):
            self._say("end of text", "warning", f"id {outside[0]} is outside the vocabulary")
        if not ends:
            self._say(
                "end of text",
                "warning",
                "no id ends a text: generation runs to its length",
                hint="name one with --stop-token",
            )
        elif tokenizer.chat_template is not None:
            self._template(tokenizer, tokenizer.chat_template, ends)

    def _template(self, tokenizer: Tokenizer, template: str, ends: frozenset[int]) -> None:
        """Whether it renders, and closes turns with a token that ends a text: or answers run on."""
        if fault := _fault(tokenizer, template):
            # Loading doesn't need it, but --chat and `chat` do.
            hint = fault.hint or "--chat and `chat` fail; --chat-template takes another from a file"
            self._say("chat template", "warning", fault.message, hint)
            return
        spelled = {id for id, text in tokenizer.added.items() if text in template}
        if "eos_token" in template or spelled & ends:
            self._say("chat template", "ok", "it writes a token that ends a text")
            return
        if not spelled:
            self._say("chat template", "ok", "it renders, and spells no token of its own")
            return
        written = ", ".join(sorted(tokenizer.added[id] for id in spelled))
        self._say(
            "chat template",
            "warning",
            f"it writes {written}, none of which ends a text",
            hint="answers may not stop; name the one that closes a turn with --stop-token",
        )


def _fault(tokenizer: Tokenizer, template: str) -> LmtoolError | None:
    """What keeps a template from rendering any talk; that it refuses one message is no fault."""
    try:
        made = ChatTemplate(template, tokenizer, "it")
    except LmtoolError as error:
        return error
    try:
        made.render([Message("user", "a")])
    except InputError:
        return None
    except LmtoolError as error:
        return error
    finally:
        made.close()
    return None


def as_json(findings: list[Finding]) -> list[dict[str, Any]]:
    """The findings as plain values."""
    return [
        {"check": f.check, "level": f.level, "message": f.message, "hint": f.hint} for f in findings
    ]


def _size(count: int) -> str:
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"
