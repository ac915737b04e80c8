"""Stop texts over streamed text, matched across token borders.

They never leak, and nothing is held back longer than needed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class StopMatcher:
    """Finds the first stop text in a stream of pieces.

    An automaton (Aho and Corasick 1975) takes each character once, however many texts there are:
    its state is the longest end of the stream that a stop text begins with, and just that is held
    back.

    >>> matcher = StopMatcher(["aab"])
    >>> matcher.push("xaa"), matcher.push("ab!"), matcher.stopped
    ('x', 'a', True)
    """

    def __init__(self, texts: Sequence[str], keep: bool = False) -> None:
        self._automaton = _Automaton([text for text in texts if text])
        self._keep = keep
        self._state = 0
        self._held = ""
        self.stopped = False

    def push(self, text: str, armed: bool = True) -> str:
        """What may be shown now that `text` has arrived.

        What could still become a stop text stays behind. While not `armed` nothing stops, and what
        passes then can't be part of a later match.

        What is complete first wins, however the text is cut into tokens; of those that are
        complete together, the longest.
        """
        held = self._held + text
        if not armed:
            self._held, self._state = "", 0
            return held
        step, ending = self._automaton.step, self._automaton.ending
        state = self._state
        for place, letter in enumerate(text, len(self._held) + 1):
            state = step(state, letter)
            if ending[state]:
                self._held, self._state, self.stopped = "", 0, True
                return held[: place if self._keep else place - ending[state]]
        self._state = state
        cut = len(held) - self._automaton.depth[state]
        self._held = held[cut:]
        return held[:cut]

    def finish(self) -> str:
        """What was held back in vain, once the stream has ended."""
        held, self._held, self._state = self._held, "", 0
        return held


class _Automaton:
    """Every beginning of a text is a state; 0 is the empty one.

    `depth` is a state's length in characters, `ending` that of the longest text it ends with.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._next: list[dict[str, int]] = [{}]
        self._shorter = [0]
        """The state of the longest proper end that is a beginning too."""
        self.depth = [0]
        self.ending = [0]
        for text in texts:
            self._enter(text)
        self._link()

    def step(self, state: int, letter: str) -> int:
        """The state once `letter` has come."""
        while state and letter not in self._next[state]:
            state = self._shorter[state]
        return self._next[state].get(letter, 0)

    def _enter(self, text: str) -> None:
        state = 0
        for letter in text:
            if letter not in self._next[state]:
                self._next[state][letter] = len(self.depth)
                self._next.append({})
                self._shorter.append(0)
                self.depth.append(self.depth[state] + 1)
                self.ending.append(0)
            state = self._next[state][letter]
        self.ending[state] = len(text)

    def _link(self) -> None:
        waiting = deque(self._next[0].values())
        while waiting:
            state = waiting.popleft()
            for letter, longer in self._next[state].items():
                self._shorter[longer] = self.step(self._shorter[state], letter)
                self.ending[longer] = self.ending[longer] or self.ending[self._shorter[longer]]
                waiting.append(longer)
