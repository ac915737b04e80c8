"""A session that says what it is told to, without torch: for tests of what is around a model.

`python -m reference.scripted_model generate …` is `lmtool generate …` with such a model behind it,
and so is `chat`.
The environment variable SCRIPT holds a `Script` as JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EOS = 0


@dataclass
class Script:
    """What the model does. `texts` are the tokens of each sample in turn, the last one repeating.

    `endless` repeats the tokens for ever; `load_s` and `token_s` are how long things take.
    """

    texts: Sequence[Sequence[str]] = ((" there", " was", " a", " fox"),)
    endless: bool = False
    load_s: float = 0.0
    token_s: float = 0.0
    context: int = 100
    defaults: dict[str, Any] = field(default_factory=dict[str, Any])
    has_tokenizer: bool = True
    bos: bool = False
    fails_with: str | None = None
    """The name of an error class of lmtool's that ends the text where the tokens end."""
    sure: float = -0.5
    """The log-probability of each character, where they are asked for."""
    held: str = ""
    """What is held back of the first sample when it is broken off."""
    stubborn: bool = False
    """Never notices a signal, as a long matrix product doesn't."""
    deaf: bool = False
    """Swallows what a signal raises while it loads, as `import torch` can."""
    talker: str | None = None
    """A folder whose tokenizer, and chat template, it has; else each character is a token."""
    weights: str = "w"
    """What tells the weights from others."""
    rows: int = 4
    """Rows of a batch side by side."""
    fails: bool = True
    """Whether a batch's row with `FAIL` in it does."""
    diary: str | None = None
    """A file that gets a line `loading` and `token` whenever one of these begins."""

    def note(self, word: str) -> None:
        if self.diary:
            with open(self.diary, "a") as file:
                file.write(word + "\n")


class ScriptedTokenizer:
    """One token a character, its id the code point; BOS is 1 and EOS is 0."""

    def __init__(self, bos: bool) -> None:
        self.bos_id = 1 if bos else None
        self.eos_ids = frozenset({EOS})
        self.name = self.fingerprint = "scripted"
        self.named_specials: dict[str, str] = {}
        self.chat_templates: dict[str, str] = {}

    def encode(self, text: str, bos: str = "auto", special: str = "text") -> list[int]:
        first = [1] if bos == "on" or (bos == "auto" and self.bos_id) else []
        return first + [ord(letter) for letter in text]

    def encode_plain(self, texts: Sequence[str], special: str = "text") -> list[list[int]]:
        return [[ord(letter) for letter in text] for text in texts]

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        return "".join(chr(id) for id in ids if id > 1)

    def ids_holding(self, texts: Sequence[str]) -> frozenset[int]:
        return frozenset(map(ord, texts))

    def special_named(self, text: str) -> int | None:
        return {"<0>": 0, "<1>": 1}.get(text)

    def specials_in(self, text: str) -> tuple[Any, ...]:
        return ()

    def token_text(self, id: int) -> str:
        return f"<{id}>" if id <= 1 else chr(id)


@dataclass(frozen=True)
class Card:
    """Stands for ModelCard, whose module needs torch."""

    name: str = "scripted"
    path: str = "/models/scripted"
    family: str = "none"
    parameters: int = 1234
    dtype: str = "float32"
    quant: str | None = None


@dataclass(frozen=True)
class Key:
    """Stands for the engine's, whose module needs torch."""

    model: str
    adapters: str = ""
    dtype: str = "float32"
    device: str = "cpu"


class ScriptedSession:
    """Behaves as `Session` does, and keeps the last request for a test to look at."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.tokenizer = ScriptedTokenizer(script.bos) if script.has_tokenizer else None
        if script.talker is not None:
            from lmtool.tokenizer.tokenizer import Tokenizer

            self.tokenizer = Tokenizer.load(Path(script.talker))
        self.context = self.made_for = script.context
        self.eos = frozenset({EOS})
        self.defaults = script.defaults
        self.card = Card()
        self.spec = SimpleNamespace(vocab=0x110000)
        self.request: Any = None

    def fit(self, ids: Sequence[int], max_new: int | None, overflow: Any) -> Any:
        from lmtool import InputError
        from lmtool.engine.fit import fit

        if not ids:
            raise InputError("the prompt is empty")
        return fit(len(ids), self.context, max_new, overflow, int(ids[0] == 1))

    def begins(self, ids: Sequence[int]) -> int:
        return int(ids[0] == 1)

    def speculate(self, lookup: int, draft: Any) -> None:
        assert draft is None
        self.lookup = lookup

    @property
    def key(self) -> Key:
        return Key(self.script.weights)

    def stream(self, requests: Iterable[Any], **effort: Any) -> Iterator[Any]:
        """Some texts side by side, each of its own length: they end out of order.

        What a text says depends on its request alone. One whose prompt has `FAIL` fails.
        """
        from lmtool import InputError
        from lmtool.engine.request import Outcome, Token

        self.effort = effort
        coming = enumerate(requests)
        self.asked = 0
        live: list[tuple[int, list[Any]]] = []
        told: dict[int, list[Token]] = {}
        while True:
            for number, request in islice(coming, self.script.rows - len(live)):
                self.request = request
                self.asked += 1
                said = reply(request)
                if said == "FAIL" and not self.script.fails:
                    said = "well"
                live.append((number, list(said)))
                told[number] = []
            if not live:
                return
            for number, left in list(live):
                self.script.note("token")
                if self.script.token_s:
                    self._wait(self.script.token_s)
                if left == list("FAIL"):
                    live.remove((number, left))
                    yield Outcome(number, error=InputError("it can't be said", hint="say else"))
                    continue
                if left:
                    letter = left.pop(0)
                    finish = None if left else "eos"
                    token = Token(0, ord(letter), letter, -0.5, finish=finish, request=number)
                    told[number].append(token)
                    yield token
                if not left:
                    live.remove((number, left))
                    yield Outcome(number, (tuple(told.pop(number)),))

    def generate(self, request: Any, kept: Any = None) -> Any:
        from lmtool.engine.request import PromptToken, Timings

        assert kept is None
        self.request = request
        timings = Timings(load_s=0.5, prompt_tokens=len(request.ids), prefill_s=0.25)
        prompt: list[PromptToken] = []
        tokens = self._tokens(request, timings, prompt)
        return _Generation(timings, prompt, tokens, self.script.held)

    def _tokens(self, request: Any, timings: Any, prompt: list[Any]) -> Iterator[Any]:
        from lmtool.engine.request import Candidate, PromptToken, Token

        def top(id: int) -> tuple[Candidate, ...]:
            return (Candidate(id, -0.5), Candidate(ord("z"), -1.5))[: request.logprobs or 0]

        if request.prompt_logprobs:
            for place, id in enumerate(request.ids):
                prompt.append(PromptToken(id, -1.0 if place else None, top(id) if place else ()))
        live = list(range(request.samples))
        step = 0
        while live:
            for sample in list(live):
                self.script.note("token")
                texts = self.script.texts[min(sample, len(self.script.texts) - 1)]
                if self.script.token_s:
                    self._wait(self.script.token_s)
                if self.script.fails_with and step >= len(texts):
                    self._fail(self.script.fails_with)
                last = step + 1 == request.max_new
                ended = not self.script.endless and step + 1 >= len(texts)
                finish = "length" if last else None
                if ended and not self.script.fails_with:
                    finish = finish or "eos"
                text = texts[step % len(texts)]
                timings.decoded_tokens += 1
                timings.decode_s += 0.1
                id = ord(text[-1]) if text else EOS
                logprob = -0.5 if request.logprobs is not None else None
                sure = (self.script.sure,) * len(text) if request.traced else ()
                yield Token(sample, id, text, logprob, top(id), finish, sure=sure)
                if finish:
                    live.remove(sample)
            step += 1

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        if self.script.stubborn:  # one call that runs for minutes
            hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)
        time.sleep(max(0.0, until - time.monotonic()))

    def _fail(self, name: str) -> None:
        if name == "MemoryError":
            raise MemoryError
        import lmtool

        raise getattr(lmtool, name)("it broke", hint="mend it")


def reply(request: Any) -> str:
    """What a batch is answered: letters, and how many, by the prompt, the seed and the length."""
    prompt = "".join(map(chr, request.ids))
    if "FAIL" in prompt:
        return "FAIL"
    seed = f"{prompt} {request.sampling.seed if request.sampling.temperature else 0}"
    digest = hashlib.sha256(seed.encode("utf-8", "surrogatepass")).hexdigest()
    most = 64 if request.max_new is None else request.max_new
    # Most are short, few are long.
    return digest[: min(most, 1 + int(digest[0], 16) ** 2 // 4)]


@dataclass
class _Generation:
    timings: Any
    prompt: list[Any]
    tokens: Any
    held: str

    def rest(self) -> dict[tuple[int, int], Any]:
        return {(0, 0): (self.held, (-0.1,) * len(self.held))}

    def __iter__(self) -> Iterator[Any]:
        return self.tokens

    def close(self) -> None:
        self.tokens.close()


def opener(script: Script) -> Any:
    """What stands in for `open_session`; `opener.session` is what it opened last."""

    def open_session(model: Any, terminal: Any = None) -> ScriptedSession:
        script.note("loading")
        try:
            time.sleep(script.load_s)
        except BaseException:
            if not script.deaf:
                raise
            time.sleep(script.load_s)
        open_session.session = ScriptedSession(script)  # type: ignore[attr-defined]
        open_session.model = model  # type: ignore[attr-defined]
        return open_session.session  # type: ignore[attr-defined]

    open_session.session = SimpleNamespace(request=None)  # type: ignore[attr-defined]
    return open_session


def main() -> None:
    """Run lmtool's command line on the script in SCRIPT."""
    import importlib.util

    spec = importlib.util.spec_from_file_location(
        "lmtool", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["lmtool"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    from lmtool.cli import entry
    from lmtool.cli.commands import batch, chat, generate

    script = Script(**json.loads(os.environ.get("SCRIPT", "{}")))
    generate.open_session = chat.open_session = batch.open_session = opener(script)
    chat.open_kept = lambda: None
    entry.main()


if __name__ == "__main__":
    main()
