"""Stop texts over streamed text, matched across token borders.

They never leak, and nothing is held back longer than needed.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Finds the first stop text in a stream of pieces.

    >>> matcher = StopMatcher(["aab"])
    >>> matcher.push("xaa"), matcher.push("ab!"), matcher.stopped
    ('x', 'a', True)
    """

    def __init__(self, texts: Sequence[str], keep: bool = False) -> None:
        self._texts = tuple(text for text in texts if text)
        self._keep = keep
        self._held = ""
        self.stopped = False

    def push(self, text: str, armed: bool = True) -> str:
        """What may be shown now that `text` has arrived.

        What could still become a stop text stays behind. While not `armed` nothing stops, and what
        passes then can't be part of a later match.
        """
        if not armed:
            shown, self._held = self._held + text, ""
            return shown
        held = self._held + text
        found = [(held.find(stop) + len(stop), -len(stop)) for stop in self._texts if stop in held]
        if found:
            # What is complete first wins, however the text is cut into tokens; of those that are
            # complete together, the longest.
            end, less = min(found)
            self._held, self.stopped = "", True
            return held[: end if self._keep else end + less]
        cut = self._safe(held)
        self._held = held[cut:]
        return held[:cut]

    def finish(self) -> str:
        """What was held back in vain, once the stream has ended."""
        held, self._held = self._held, ""
        return held

    def _safe(self, held: str) -> int:
        """Where the longest tail begins that a stop text could start with."""
        longest = max((len(text) for text in self._texts), default=0)
        for cut in range(max(0, len(held) - longest + 1), len(held)):
            if any(text.startswith(held[cut:]) for text in self._texts):
                return cut
        return len(held)
