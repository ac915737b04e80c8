"""A talk with a model: what was said, and the ids that the model has read and written of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["user", "assistant"]
ROLES: tuple[Role, ...] = ("user", "assistant")


@dataclass(frozen=True)
class Said:
    """One message. `finish` is how an answer ended: as in JSON output, or "cut" by Ctrl-C."""

    role: Role
    content: str
    finish: str | None = None


@dataclass
class Talk:
    """The messages in their order, and the system message before them.

    The first `forgotten` of them no longer fit the context: they stay in the talk, and are saved,
    but the model doesn't see them.
    """

    system: str | None = None
    said: list[Said] = field(default_factory=list[Said])
    forgotten: int = 0

    @property
    def seen(self) -> list[Said]:
        """What the model is shown."""
        return self.said[self.forgotten :]

    @property
    def asked(self) -> int | None:
        """The place of the last message that a user said, None if there is none."""
        places = [place for place, one in enumerate(self.said) if one.role == "user"]
        return places[-1] if places else None

    def reset(self) -> None:
        """Begin anew; the system message stays."""
        self._cut(0)

    def undo(self) -> bool:
        """Take back the last message of a user and the answer to it; False if there is none."""
        place = self.asked
        if place is not None:
            self._cut(place)
        return place is not None

    def take_answer(self) -> bool:
        """Take back the answer to the last message; False if there is no message."""
        place = self.asked
        if place is not None:
            self._cut(place + 1)
        return place is not None

    def forget(self) -> bool:
        """Show the model one turn less from the beginning; False if only the last is left."""
        later = (place for place, one in enumerate(self.said) if one.role == "user")
        place = next((place for place in later if place > self.forgotten), None)
        if place is not None:
            self.forgotten = place
        return place is not None

    def _cut(self, count: int) -> None:
        """Keep the first `count` messages."""
        del self.said[count:]
        # Whoever goes back to where all was seen can see it again.
        if self.forgotten >= count:
            self.forgotten = 0


@dataclass
class Lineage:
    """The ids that the model has read and written of a talk, answers in the tokens it chose.

    An answer's text, encoded anew with the next prompt, can come out in other tokens than it was
    written in, or without special tokens that it had, which give no text. Then all of it would
    have to be read again. So a prompt's ids are taken from here as far as they spell the same.
    """

    ids: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    """After how many ids an answer ends."""
    silent: frozenset[int] = frozenset()
    """The places of special tokens in answers."""

    def onto(self, ids: Sequence[int], spell: Callable[[Sequence[int]], str]) -> tuple[int, ...]:
        """`ids` of a prompt, in the tokens that are known as far as they go.

        `spell` gives the text of ids, special tokens spelled out.
        """
        alike = least = _alike(self.ids, ids)
        while least - 1 in self.silent:  # it may be alike by chance to what comes after the answer
            least -= 1
        for end in reversed([end for end in self.ends if end > alike]):
            heard = [id for place, id in enumerate(self.ids[:end]) if place not in self.silent]
            rest = _after(ids, least, spell(heard), spell)
            if rest is not None:
                return (*self.ids[:end], *rest)
        return tuple(ids)

    def grow(self, prompt: Sequence[int], answer: Sequence[int], special: AbstractSet[int]) -> None:
        """The model has read `prompt` and written `answer`."""
        alike = _alike(self.ids, prompt)
        self.ids = (*prompt, *answer)
        self.ends = (*(end for end in self.ends if end <= alike), len(self.ids))
        new = [place for place, id in enumerate(answer, len(prompt)) if id in special]
        self.silent = frozenset([*(place for place in self.silent if place < alike), *new])


def _alike(some: Sequence[int], others: Sequence[int]) -> int:
    """How many ids two texts have in common from the beginning."""
    pairs = enumerate(zip(some, others, strict=False))
    most = min(len(some), len(others))
    return next((place for place, (one, other) in pairs if one != other), most)


def _after(
    ids: Sequence[int], least: int, text: str, spell: Callable[[Sequence[int]], str]
) -> Sequence[int] | None:
    """What of `ids` comes after those that spell `text`, at least `least`; None if none do."""
    low, high = least, len(ids)
    while low < high:
        middle = (low + high) // 2
        if len(spell(ids[:middle])) < len(text):
            low = middle + 1
        else:
            high = middle
    found = None
    while low <= len(ids) and len(spelled := spell(ids[:low])) <= len(text):
        # The last one: before, it may end within a character, which looks like U+FFFD.
        found = low if spelled == text else found
        low += 1
    return None if found is None else ids[found:]
