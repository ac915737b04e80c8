"""What a model is to do without, as `--ablate` has it: parts of it, or places of the prompt."""

# ruff: noqa: RUF009  # a setting() is a frozen declaration, safe to share

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from .. import UsageError
from ..engine.knockout import Part, PartKind, Pick, find_parts
from .option_groups import PromptOptions
from .prompt import argument_text
from .settings import Many, Setting, setting
from .terminal import Terminal
from .text_table import fitted

if TYPE_CHECKING:
    from ..engine.session import Session
    from ..engine.spec import ModelSpec
    from .prompt_words import Spelling

NUMBERS: dict[PartKind, tuple[int, ...]] = {
    "head": (2,),
    "attention": (1,),
    "mlp": (1,),
    "layer": (1,),
    "expert": (2,),
    "neuron": (2, 3),
}
"""How many numbers each kind of part takes."""
_RANGE = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)
_SHOWN = 40
"""Columns for the text of tokens that aren't seen."""
_NAMED = 12
"""Parts that -v names; more are counted."""


@dataclass(frozen=True)
class Parts:
    """Parts of the model, by their numbers."""

    kind: PartKind
    picks: tuple[Pick, ...]


@dataclass(frozen=True)
class Tokens:
    """Places of the prompt, counted from 0."""

    places: range


@dataclass(frozen=True)
class Words:
    """Words of the prompt, wherever it has them."""

    text: str


What: TypeAlias = "Parts | Tokens | Words"


@dataclass(frozen=True)
class AblationText:
    """A kind of part and its numbers, `tokens:` and places, or `text:` and words."""

    says: str = (
        "head:LAYER.HEAD, attention:LAYER, mlp:LAYER, layer:LAYER, expert:LAYER.EXPERT, "
        "neuron:LAYER.NUMBER, tokens:FIRST-LAST or text:WORDS"
    )

    def accept(self, raw: object) -> str:
        """See `Kind`."""
        if not isinstance(raw, str):
            raise ValueError
        parse(raw)
        return raw


def parse(text: str) -> What:
    """What is meant by `text`. Raises `ValueError` where that can't be told.

    >>> parse("head:3.0-5")
    Parts(kind='head', picks=(range(3, 4), range(0, 6)))
    """
    name, _, rest = text.partition(":")
    if not rest:
        raise ValueError
    if name == "text":
        return Words(rest)
    if name == "tokens":
        return Tokens(_range(rest))
    picks: list[Pick] = [_pick(part) for part in rest.split(".")]
    for kind, counts in NUMBERS.items():
        if kind == name and len(picks) in counts:
            return Parts(kind, tuple(picks))
    raise ValueError


def _pick(text: str) -> Pick:
    if text == "*":
        return "*"
    return "shared" if text == "shared" else _range(text)


def _range(text: str) -> range:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ValueError
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise ValueError
    return range(first, last + 1)


@dataclass(frozen=True)
class Ablation:
    """What is knocked out of a model: parts of it, and places of the prompt that it doesn't see."""

    parts: tuple[Part, ...] = ()
    unseen: tuple[range, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is."""
        return bool(self.parts or self.unseen)

    def words(self, ids: Sequence[int], spelling: Spelling) -> str:
        """It in words, for people, to follow "without": what the tokens of `ids` say is shown."""
        listed = [str(part) for part in self.parts[:_NAMED]]
        if more := len(self.parts) - len(listed):
            listed.append(f"{more:,} more parts")
        for places in self.unseen:
            shown = fitted(spelling.shown(*ids[places.start : places.stop]), _SHOWN)
            listed.append(f"the sight of {_numbered(places)} `{shown}`")
        return ", ".join(listed)


def _numbered(places: range) -> str:
    if len(places) == 1:
        return f"token {places.start}"
    return f"tokens {places.start}-{places.stop - 1}"


@dataclass(frozen=True)
class AblationSettings:
    """What the model does without."""

    panel: ClassVar[str] = "What if"

    ablate: Setting[tuple[str, ...]] = setting(
        "--ablate",
        kind=Many(AblationText()),
        default=(),
        metavar="WHAT",
        help="Do without head:LAYER.HEAD, attention:LAYER, mlp:LAYER, layer:LAYER, "
        "expert:LAYER.EXPERT, neuron:LAYER.NUMBER, or without seeing tokens:FIRST-LAST or "
        "text:WORDS of the prompt. Numbers may be ranges, 2-4, or *. Repeatable.",
    )

    def check(self, prompt: PromptOptions) -> None:
        """Raise `UsageError` for what makes no sense together."""
        moves = prompt.overflow.value == "shift"
        if moves and any(not isinstance(parse(text), Parts) for text in self.ablate.value):
            raise UsageError(
                "--ablate of tokens or text excludes --overflow shift, which moves the prompt",
                hint="--overflow truncate-left keeps it in its place",
            )

    def parts(self, spec: ModelSpec) -> tuple[Part, ...]:
        """The parts of the model that are meant. Raises `UsageError` for what it doesn't have."""
        found: list[Part] = []
        for text in self.ablate.value:
            what = parse(text)
            if isinstance(what, Parts):
                try:
                    found += find_parts(what.kind, what.picks, spec)
                except UsageError as error:
                    raise UsageError(f"--ablate {text}: {error.message}", error.hint) from None
        return tuple(dict.fromkeys(found))

    def unseen(
        self, session: Session, ids: Sequence[int], escape: bool, terminal: Terminal
    ) -> tuple[range, ...]:
        """The places of a prompt that are meant, in their order; the last one has to be seen.

        Raises `UsageError` for places and words that the prompt doesn't have.
        """
        from .unseen import joined, places_of

        found: list[range] = []
        for text in self.ablate.value:
            what, own = parse(text), list[range]()
            if isinstance(what, Tokens):
                own = [_within(what.places, len(ids), text)]
            elif isinstance(what, Words):
                escaped = escape and self.ablate.source != "config file"
                words = argument_text(what.text, "--ablate", escaped)
                own = places_of(words, ids, session.tokenizer, terminal)
            if any(len(ids) - 1 in places for places in own):
                raise UsageError(
                    f"--ablate {text}: the answer is read at the prompt's last token, which has "
                    "to be seen",
                    hint="give the prompt without its last words",
                )
            found += own
        return joined(found)

    def apply(
        self, session: Session, ids: Sequence[int], prompt: PromptOptions, terminal: Terminal
    ) -> Ablation:
        """From now on `session` lacks what is meant, where a text begins with `ids`."""
        from .prompt_words import Spelling

        if not self.ablate.value:
            return Ablation()
        found = Ablation(
            self.parts(session.spec), self.unseen(session, ids, prompt.escape, terminal)
        )
        session.ablate(found.parts, found.unseen)
        terminal.detail(f"ablated: {found.words(ids, Spelling(session.tokenizer))}")
        return found


def _within(places: range, length: int, text: str) -> range:
    if places.stop > length:
        missing = max(places.start, length)
        raise UsageError(
            f"--ablate {text}: no token {missing}: the prompt has {length}, "
            f"numbered 0 to {length - 1}"
        )
    return places
