"""A contestant: a process with one engine and one model in it, which does as it is told.

`contest.py` starts it as `python contestants.py ENGINE MODEL THREADS OPTIONS`, OPTIONS being JSON.
Once loaded it says who it is, then it answers each line on stdin with a line on stdout, and idles
in between:

    {"about": "llama-cpp-python 0.3.36, ..."}
    <- {"do": "decode", "prompt": 128, "tokens": 64, "seed": 0}
    {"seconds": 1.25, "tokens": 64}

`prefill` (`prompt`) takes the time from ids to the first token, `decode` from the first token to
the last of `tokens` more, and `batch` (`lengths`: pairs of prompt and new tokens) that of all of
it. Prompts are random ids, the same ones for all contestants, and no token ends a text. An answer
with `error` says what went wrong.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

Ask = tuple[list[int], int]
"""A prompt and how many tokens to add to it."""


class Contestant(Protocol):
    """An engine with a model loaded."""

    about: str
    vocab: int

    def decode(self, ids: list[int], count: int) -> list[float]:
        """Add `count` tokens greedily; the moment before, and the one when each was there."""
        ...

    def batch(self, asks: list[Ask]) -> int:
        """Do all of `asks`, side by side if it can; how many of the asked-for tokens came."""
        ...


class Lmtool:
    """`Session.load`, which gets all options but `stream`, and `Session.generate`.

    `stream` are options of `Session.stream`, by which a batch runs then.
    """

    def __init__(
        self, model: Path, threads: int, stream: dict[str, Any] | None = None, **options: Any
    ) -> None:
        import torch

        import lmtool
        from lmtool.engine.session import Session

        self._streaming = stream
        self._session = Session.load(model, threads=threads, **options)
        self.about = f"lmtool {lmtool.__version__}, torch {torch.__version__}"
        self.vocab = self._session.spec.vocab

    def _request(self, ids: list[int], count: int) -> Any:
        from lmtool.engine.request import Request, Stop

        return Request(ids=tuple(ids), max_new=count, stop=Stop())

    def decode(self, ids: list[int], count: int) -> list[float]:
        """As tokens stream."""
        moments = [perf_counter()]
        moments.extend(perf_counter() for _ in self._session.generate(self._request(ids, count)))
        return moments

    def batch(self, asks: list[Ask]) -> int:
        """As many at once as `generate_many` or `stream` sees fit."""
        if self._streaming is not None:
            from lmtool.engine.request import Token

            requests = [self._request(*ask) for ask in asks]
            events = self._session.stream(requests, **self._streaming)
            return sum(isinstance(event, Token) for event in events)
        generate_many = getattr(self._session, "generate_many", None)
        if generate_many is None:
            raise NotImplementedError("this lmtool has no `Session.generate_many`")
        return sum(1 for _ in generate_many([self._request(*ask) for ask in asks]))


class Transformers:
    """`AutoModelForCausalLM.from_pretrained`, which gets all options but `rows`, and `generate`.

    `rows` is how many rows a padded batch has: all, if nothing is said.
    """

    def __init__(self, model: Path, threads: int, rows: int | None = None, **options: Any) -> None:
        import torch
        import transformers

        self._rows = rows
        torch.set_num_threads(threads)
        self._torch = torch
        self._model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            model, **{"dtype": "auto", **options}
        )
        # The checkpoint's own may sample, or penalize repetition, which isn't the same work.
        self._model.generation_config = transformers.GenerationConfig(pad_token_id=0)
        self.about = f"transformers {transformers.__version__}, torch {torch.__version__}"
        self.vocab = self._model.config.get_text_config().vocab_size

    def _generate(self, ids: Any, mask: Any, count: int, **more: Any) -> Any:
        return self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=count,
            min_new_tokens=count,
            **more,
        )

    def decode(self, ids: list[int], count: int) -> list[float]:
        """As tokens reach a streamer."""
        watch = Watch()
        prompt = self._torch.tensor([ids])
        began = perf_counter()
        self._generate(prompt, self._torch.ones_like(prompt), count, streamer=watch)
        return [began, *watch.moments[1:]]  # the prompt itself is streamed first

    def batch(self, asks: list[Ask]) -> int:
        """Padded batches, each of which runs until its last row has all its tokens."""
        rows = self._rows or len(asks)
        return sum(self._padded(asks[n : n + rows]) for n in range(0, len(asks), rows))

    def _padded(self, asks: list[Ask]) -> int:
        longest = max(len(ids) for ids, _ in asks)
        prompts = self._torch.zeros((len(asks), longest), dtype=self._torch.int64)
        mask = self._torch.zeros_like(prompts)
        for row, (ids, _) in enumerate(asks):
            prompts[row, longest - len(ids) :] = self._torch.tensor(ids)
            mask[row, longest - len(ids) :] = 1
        count = max(count for _, count in asks)
        made = self._generate(prompts, mask, count).shape[1] - longest
        return sum(min(count, made) for _, count in asks)


class Watch:
    """A streamer that looks at the clock."""

    def __init__(self) -> None:
        self.moments: list[float] = []

    def put(self, value: Any) -> None:
        """A token is there."""
        self.moments.append(perf_counter())

    def end(self) -> None:
        """All are there."""


class LlamaCpp:
    """The C interface, without the wrapper around it; options are `llama_context_params`.

    What isn't said is as llama.cpp has it, but that a prompt of any length may go in at once: it
    cuts it up into `n_ubatch` (512) tokens itself.
    """

    def __init__(self, model: Path, threads: int, **options: Any) -> None:
        import llama_cpp

        from conversion import hush_llama

        hush_llama()
        self._llama: Any = llama_cpp
        loaded = self._llama.llama_model_load_from_file(
            str(model).encode(), llama_cpp.llama_model_default_params()
        )
        if loaded is None:
            raise RuntimeError(f"llama.cpp can't load {model.name}")
        params = llama_cpp.llama_context_default_params()
        params.n_threads = params.n_threads_batch = threads
        params.n_ctx = 4096
        for name, value in options.items():
            setattr(params, name, value)
        params.n_batch = params.n_ctx
        self._slots, self._ubatch = params.n_seq_max, params.n_ubatch
        self._context = self._llama.llama_init_from_model(loaded, params)
        if self._context is None:
            raise RuntimeError(f"llama.cpp can't make a context of {params.n_ctx} tokens")
        self._memory = self._llama.llama_get_memory(self._context)
        self.vocab = self._llama.llama_vocab_n_tokens(self._llama.llama_model_get_vocab(loaded))
        self.about = f"llama-cpp-python {llama_cpp.__version__} ({self._built_with()})"

    def _built_with(self) -> str:
        """The processor features it was built for: `AVX2 AVX512 ...`."""
        told = self._llama.llama_print_system_info().decode().replace("CPU :", "").split("|")
        return " ".join(one.split("=")[0].strip() for one in told if one.strip().endswith("= 1"))

    def _run(self, batch: Any) -> None:
        code = self._llama.llama_decode(self._context, batch)
        if code != 0:
            raise RuntimeError(f"llama_decode gives {code}")

    def _choose(self, place: int) -> int:
        """The likeliest token after a place of the last batch."""
        from numpy.ctypeslib import as_array

        logits = self._llama.llama_get_logits_ith(self._context, place)
        return int(as_array(logits, (self.vocab,)).argmax())

    def decode(self, ids: list[int], count: int) -> list[float]:
        """One `llama_decode` for the prompt, and one for every token but the last."""
        moments = [perf_counter()]
        self._llama.llama_memory_clear(self._memory, False)
        for _ in range(count):
            tokens = (ctypes.c_int32 * len(ids))(*ids)
            self._run(self._llama.llama_batch_get_one(tokens, len(ids)))
            ids = [self._choose(-1)]
            moments.append(perf_counter())
        return moments

    def batch(self, asks: list[Ask]) -> int:
        """Continuous batching, as its server does it: a row has a sequence until its last token.

        `n_seq_max` rows run at once. A step has a token of each that answers, and `n_ubatch` tokens
        of prompts at most beside.
        """
        self._llama.llama_memory_clear(self._memory, False)
        batch = self._llama.llama_batch_init(self._slots + self._ubatch, 0, 1)
        coming = iter(asks)
        free = list(range(self._slots))
        running: dict[int, _Row] = {}
        came = 0
        while True:
            for slot, (ids, count) in zip(list(free), coming, strict=False):
                free.remove(slot)
                running[slot] = _Row(ids, count)
            if not running:
                break
            ends = self._fill(batch, running)
            self._run(batch)
            for slot, place in ends.items():
                row = running[slot]
                row.ids = [self._choose(place)]
                row.left -= 1
                came += 1
                if not row.left:
                    del running[slot]
                    free.append(slot)
                    self._llama.llama_memory_seq_rm(self._memory, slot, -1, -1)
        self._llama.llama_batch_free(batch)
        return came

    def _fill(self, batch: Any, running: dict[int, _Row]) -> dict[int, int]:
        """Lay the rows' next tokens end to end; the place of each row's last, if it is among them.

        Who answers comes first; a prompt goes in as far as there is room.
        """
        place, ends, room = 0, dict[int, int](), self._ubatch
        for slot, row in sorted(running.items(), key=lambda pair: len(pair[1].ids)):
            some = row.ids[: 1 if len(row.ids) == 1 else room]
            room -= len(some) if len(row.ids) > 1 else 0
            for id in some:
                batch.token[place] = id
                batch.pos[place] = row.cached
                batch.n_seq_id[place] = 1
                batch.seq_id[place][0] = slot
                batch.logits[place] = False
                row.cached += 1
                place += 1
            row.ids = row.ids[len(some) :]
            if some and not row.ids:
                ends[slot] = place - 1
                batch.logits[place - 1] = True
        batch.n_tokens = place
        return ends


@dataclass
class _Row:
    """A text under way in llama.cpp: what isn't cached yet, how much is, and tokens to come."""

    ids: list[int]
    left: int
    cached: int = 0


ENGINES: dict[str, Any] = {
    "lmtool": Lmtool,
    "transformers": Transformers,
    "llama.cpp": LlamaCpp,
}


def random_ids(count: int, vocab: int, seed: int) -> list[int]:
    """A prompt: the same for everyone who says the same numbers."""
    source = random.Random(f"{seed} {count}")
    return [source.randrange(vocab) for _ in range(count)]


def answer(contestant: Contestant, command: dict[str, Any]) -> dict[str, Any]:
    """Do what `command` says and tell how long it took."""
    seed: int = command.get("seed", 0)
    if command["do"] == "batch":
        asks = [
            (random_ids(prompt, contestant.vocab, seed * 1000 + row), count)
            for row, (prompt, count) in enumerate(command["lengths"])
        ]
        began = perf_counter()
        came = contestant.batch(asks)
        seconds, tokens = perf_counter() - began, sum(count for _, count in asks)
        if came != tokens:
            raise RuntimeError(f"{came} tokens came of {tokens}")
        return {"seconds": seconds, "tokens": tokens}
    ids = random_ids(command["prompt"], contestant.vocab, seed)
    tokens = command["tokens"] if command["do"] == "decode" else 0
    moments = contestant.decode(ids, tokens + 1)
    if len(moments) != tokens + 2:
        raise RuntimeError(f"{len(moments) - 1} tokens came of {tokens + 1}")
    if command["do"] == "decode":
        return {"seconds": moments[-1] - moments[1], "tokens": tokens}
    return {"seconds": moments[1] - moments[0], "tokens": len(ids)}


def main() -> None:
    """Load, say so, then answer until stdin ends."""
    engine, model, threads, options = sys.argv[1:]
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not get among the answers

    def attempt(work: Any) -> Any:
        try:
            return work()
        except Exception as error:  # whatever it is, the others go on
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=out)
            return None

    contestant = attempt(lambda: ENGINES[engine](Path(model), int(threads), **json.loads(options)))
    if contestant is None:
        return
    print(json.dumps({"about": contestant.about}), file=out)
    for line in sys.stdin:
        command = json.loads(line)
        reply = attempt(lambda command=command: answer(contestant, command))
        if reply is not None:
            print(json.dumps(reply), file=out)


if __name__ == "__main__":
    main()
