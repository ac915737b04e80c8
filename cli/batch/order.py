"""What a batch is to do, and all that its answers depend on besides the rows."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ... import __version__
from ...tokenizer.reading import read_template
from ..model_options import GuessSettings, ModelSettings
from .answering import model_json
from .job import Files
from .options import BatchEffort, ClusterOptions
from .row_settings import RowSettings
from .rows import Input

if TYPE_CHECKING:
    from ...engine.session import Session


@dataclass(frozen=True)
class Order:
    """What a batch is to do.

    `template` is Jinja for the prompt, over a row's fields; with `by_rows` rows may have settings.
    """

    source: Input
    files: Files
    settings: RowSettings
    template: str | None = None
    by_rows: bool = True
    ordered: bool = True
    fresh: bool = False
    retry_errors: bool = False
    effort: BatchEffort = field(default_factory=BatchEffort)
    model: ModelSettings = field(default_factory=ModelSettings)
    guess: GuessSettings = field(default_factory=GuessSettings)
    cluster: ClusterOptions = field(default_factory=ClusterOptions)


def describe(session: Session, order: Order) -> dict[str, Any]:
    """All that answers depend on besides the rows: two jobs of which it is the same are the same.

    Files that settings name stand for what is in them.
    """
    settings = order.settings.seeded(b"").completed(session.defaults)
    grammar, chat = settings.grammar(), settings.chat
    values = {name: one.value for name, one in settings.listed().items()}
    if grammar is not None and grammar.kind in ("json_schema", "lark"):
        values |= {"json_schema": None, "grammar_file": None, grammar.kind: grammar.source}
    file = chat.chat_template.value
    if file is not None and Path(file).is_file():
        values["chat_template"] = read_template(Path(file))
    if settings.sampling.seed.source == "hash":
        values["seed"] = None
    values |= {"prefill": chat.prefill, "escape": settings.prompt.escape}
    values |= {"template": order.template, "no_row_settings": not order.by_rows}
    about = {
        "lmtool": __version__,
        **asdict(session.key),
        "weights": session.key.model,
        "model": model_json(session),
        "tokenizer": _tokenizer_digest(session),
        "ends": sorted(session.eos),
        "context": session.context,
        "settings": values,
        "deterministic": order.effort.deterministic.value,
    }
    return cast("dict[str, Any]", json.loads(json.dumps(about)))


def _tokenizer_digest(session: Session) -> str | None:
    tokenizer = session.tokenizer
    if tokenizer is None:
        return None
    rest = [tokenizer.chat_templates, tokenizer.named_specials, tokenizer.bos_id]
    known = json.dumps([tokenizer.fingerprint, *rest], sort_keys=True)
    return blake2b(known.encode(), digest_size=16).hexdigest()
