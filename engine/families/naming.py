"""From our names for weights to a checkpoint's, with the surgery some checkpoints need.

Our names are those of the model's parts: `embed.weight`, `layers.3.mixer.q.weight`,
`layers.3.feed.up.weight`, `norm.weight`, `head.weight`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class NameMap:
    """How a family spells our names.

    `parts` pairs a prefix of ours with theirs, `{}` standing for the layer number. The longest
    prefix that fits wins and the rest of the name stays. `ignored` are patterns of tensors that
    checkpoints hold and nobody needs.
    """

    parts: dict[str, str]
    ignored: tuple[str, ...] = field(default=(r".*rotary_emb\.inv_freq",))

    def spelled(self, ours: str) -> str:
        """The checkpoint's name of one of our weights."""
        number = re.match(r"layers\.(\d+)\.", ours)
        general = ours if number is None else f"layers.{{}}.{ours[number.end() :]}"
        prefixes = [p for p in self.parts if general == p or general.startswith(p + ".")]
        prefix = max(prefixes, key=len)
        theirs = self.parts[prefix] + general[len(prefix) :]
        return theirs if number is None else theirs.replace("{}", number.group(1))

    def needless(self, theirs: str) -> bool:
        """Whether a tensor of the checkpoint may be left unread."""
        return any(re.fullmatch(pattern, theirs) for pattern in self.ignored)
