"""What a caller asks of the engine and what streams back: plain values, no tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Literal

from .. import LmtoolError

Finish = Literal["stop", "eos", "length", "context", "timeout"]
"""Why a generation ended: a stop text or id, an end-of-text id, `max_new`, the context's end."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. Every default is neutral: temperature 0 is greedy.

    What each does is told where it is done, in `sampling`. Those from `repetition` on act on greedy
    choices too. `repetition` looks at the last `repeat_last` ids of prompt and text (below 0: all
    of them), `presence` and `frequency` at the generated ids, `no_repeat_ngram` and `dry_…` at the
    whole text. `logit_bias` has an id once at most; `dry_breakers` are ids. `seed` starts the
    random stream; with the sample's number and the position it decides every draw, so a sample's
    text doesn't depend on its neighbours.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical: float = 1.0
    top_nsigma: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    repetition: float = 1.0
    repeat_last: int = 64
    presence: float = 0.0
    frequency: float = 0.0
    no_repeat_ngram: int = 0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_breakers: frozenset[int] = frozenset()
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int = 0

    @cached_property
    def adjusts(self) -> bool:
        """Whether anything acts on logits besides what narrows them for a draw."""
        return bool(
            self.logit_bias
            or self.repetition != 1
            or self.presence
            or self.frequency
            or self.no_repeat_ngram
            or self.dry_multiplier
        )

    def seed_of(self, sample: int) -> int:
        """The seed that gives sample number `sample` of this seed when it is the only one.

        The first has the seed itself, later ones 53 bits of a hash, which JSON readers that know
        only doubles keep exactly. Greedy choices are the same with any seed.
        """
        if sample == 0 or self.temperature == 0:
            return self.seed
        digest = blake2b(f"{self.seed} sample {sample}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") >> 11


@dataclass(frozen=True)
class Stop:
    """What ends a generation besides its length.

    `eos` and `ids` are token ids that end it (finish "eos" and "stop"); none of them is chosen
    before `min_tokens` tokens are out. `texts` are matched on text, across token borders, and are
    cut off unless `keep`; then the tokens that `spelled` gives a text are printed too.
    """

    eos: frozenset[int] = frozenset()
    ids: frozenset[int] = frozenset()
    texts: tuple[str, ...] = ()
    keep: bool = False
    min_tokens: int = 0
    spelled: tuple[tuple[int, str], ...] = ()


GrammarKind = Literal["json_schema", "regex", "choice", "lark"]


@dataclass(frozen=True)
class Grammar:
    """What a text must match as a whole.

    `source` is a JSON Schema, a regular expression, a JSON list of texts one of which it must be,
    or a Lark grammar, by its `kind`; `name` is what messages call it.
    """

    kind: GrammarKind
    source: str
    name: str


@dataclass(frozen=True)
class Request:
    """One prompt to be continued, `samples` times.

    `max_new` None runs to the end of the context. `logprobs` is how many alternatives to report
    at each position (0: the chosen token alone); None reports nothing. `prompt_logprobs` asks the
    same for the prompt's own tokens. `shift` is how many first ids stay where a full context is to
    lose its older half and go on; None ends the text there. `traced` asks for `Token.sure`, and
    needs `logprobs`. `grammar` holds the text to a form.
    """

    ids: tuple[int, ...]
    max_new: int | None = 256
    sampling: Sampling = field(default_factory=Sampling)
    stop: Stop = field(default_factory=Stop)
    samples: int = 1
    logprobs: int | None = None
    prompt_logprobs: bool = False
    grammar: Grammar | None = None
    shift: int | None = None
    traced: bool = False


@dataclass(frozen=True)
class Candidate:
    """A token that could stand at a position, with its natural-log probability."""

    id: int
    logprob: float


@dataclass(frozen=True)
class Token:
    """One decoded token of one sample, as it streams out.

    `text` is what may be printed now: whole characters, nothing that could still become a stop
    text. So it can lag behind `id`, be empty, or, on the last token, hold more than one token's
    text. `logprob` and `top` are of the model's own distribution, before temperature and
    truncation. `finish` is set on a sample's last token. `request` counts the requests that were
    asked for together. `whole` is false while the request's grammar asks for more. `shifted` counts
    the tokens that have left a full context so far. `sure` has a log-probability for each character
    of `text`, if the request is `traced`: that of its token, or of several the lowest.
    """

    sample: int
    id: int
    text: str = ""
    logprob: float | None = None
    top: tuple[Candidate, ...] = ()
    finish: Finish | None = None
    request: int = 0
    whole: bool = True
    shifted: int = 0
    sure: tuple[float, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a request of many: each sample's tokens, or what keeps it from any.

    `request` counts the requests in the order in which they were asked for. An `error` is this
    request's own, such as a grammar that the vocabulary can't spell: the others go on.
    """

    request: int
    samples: tuple[tuple[Token, ...], ...] = ()
    error: LmtoolError | None = None


@dataclass(frozen=True)
class PromptToken:
    """A token of the prompt with its log-probability given what stands before it.

    The first token has none.
    """

    id: int
    logprob: float | None
    top: tuple[Candidate, ...] = ()


@dataclass
class Timings:
    """Seconds spent, tokens they were spent on, and the most memory held.

    `first_token_s` is from the beginning of generation, the model loaded, to its first token.
    `peak_bytes` is filled in the end, and counts from the process's start. Of the tokens `guessed`
    ahead, None if nobody tried to, `right` ones came true. `prompt_tokens` are those that were
    read; `reused_tokens` of the prompt were cached before, None if nothing was kept. Texts were
    `preempted` so many times, and read again later.
    """

    load_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    prompt_tokens: int = 0
    decoded_tokens: int = 0
    first_token_s: float | None = None
    peak_bytes: int | None = None
    guessed: int | None = None
    right: int = 0
    reused_tokens: int | None = None
    preempted: int = 0

    @property
    def prefill_tokens_per_s(self) -> float | None:
        """Prompt tokens a second, or None before any."""
        return self.prompt_tokens / self.prefill_s if self.prefill_s else None

    @property
    def decode_tokens_per_s(self) -> float | None:
        """Decoded tokens a second over all samples, or None before any."""
        return self.decoded_tokens / self.decode_s if self.decode_s else None
