"""`lmtool inspect`: what a checkpoint, or a tokenizer alone, is made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ... import UsageError
from ..completion import complete_model
from ..fetching import find_model
from ..options import (
    Color,
    ColorWhen,
    Debug,
    OneObject,
    Quiet,
    ReckonedCache,
    ReckonedContext,
    Verbose,
    open_terminal,
)
from ..terminal import Terminal
from ..token_options import Offline
from ..tokenizer_report import short_rows, show_tokenizer

if TYPE_CHECKING:
    from ...tokenizer.inspection.reach import Reach
    from ...tokenizer.tokenizer import Tokenizer

EPILOG = """Examples:

lmtool inspect

lmtool inspect ./checkpoint -c 8192 --json

lmtool inspect ./checkpoint --tokenizer --limit 30"""

SHOWN = 10
"""Tokens of each kind that are shown unless --limit says otherwise."""


def inspect(
    model: Annotated[
        str,
        typer.Argument(
            autocompletion=complete_model,
            help="A checkpoint folder, a tokenizer's file, a repository id, `default`.",
        ),
    ] = "default",
    ctx_size: ReckonedContext = None,
    kv_dtype: ReckonedCache = "auto",
    tokenizer: Annotated[
        bool, typer.Option("--tokenizer", help="Show a checkpoint's tokenizer, all of it.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens listed of each kind. Default: 10, with --json all."),
    ] = None,
    json: OneObject = False,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = ColorWhen.auto,
    debug: Debug = False,
) -> None:
    """Show what a checkpoint is: its stack layer by layer, parameters, memory, tokenizer.

    Of a tokenizer alone, or with --tokenizer: its pipeline, special tokens, merges, scripts, and
    the tokens that never come.
    """
    from ...tokenizer.formats.found import has_tokenizer
    from ...tokenizer.inspection.facts import all_facts, short_facts
    from ...tokenizer.inspection.reach import find_reach
    from ...tokenizer.tokenizer import Tokenizer

    terminal = open_terminal(quiet, verbose, color)
    path = find_model(model, offline, terminal)
    facts: dict[str, Any] = {"name": path.resolve().name, "path": str(path)}
    whole = tokenizer or (has_tokenizer(path) and not has_weights(path))
    if whole and (ctx_size is not None or kv_dtype != "auto"):
        option = "--kv-dtype" if ctx_size is None else "-c"
        raise UsageError(
            f"{option} is about a model's memory, and of `{path}` the tokenizer alone is shown"
        )
    if not whole:
        from ...engine.facts import checkpoint_facts

        facts |= checkpoint_facts(path, ctx_size, kv_dtype)
        there = has_tokenizer(path)
        facts["tokenizer"] = short_facts(Tokenizer.load(path)) if there else None
        facts["licence"] = licence(path)
    else:
        opened = Tokenizer.load(path)
        reach = find_reach(opened)
        found = all_facts(opened, reach, limit if json else None)
        if has_weights(path):
            found["like_unused"] = _like_unused(path, opened, reach, limit or SHOWN)
        facts["tokenizer"] = found
    if json:
        terminal.out_json(facts)
    elif whole:
        show_tokenizer(
            terminal, facts["path"], cast("dict[str, Any]", facts["tokenizer"]), limit or SHOWN
        )
    else:
        _show(terminal, facts)


def _like_unused(
    path: Path, tokenizer: Tokenizer, reach: Reach, count: int
) -> dict[str, Any] | None:
    """The tokens whose weights are most like those of tokens that never come."""
    from ...engine.unused_rows import rows_like_unused

    never = [one.id for one in reach.never if one.sure]
    left_out = {*never, *tokenizer.added}
    ids = [id for id in range(tokenizer.vocab_size) if id not in left_out and tokenizer.knows(id)]
    found = rows_like_unused(path, never, ids, count)
    for one in found["first"] if found is not None else ():
        one["text"] = tokenizer.token_text(one["id"])
    return found


def has_weights(path: Path) -> bool:
    """Whether there is a checkpoint at `path`, whole or not."""
    if not path.is_dir() or not (path / "config.json").exists():
        return False
    weights = ("*.safetensors", "*.safetensors.index.json", "*.bin", "*.gguf")
    return any(next(path.glob(pattern), None) for pattern in weights)


def licence(folder: Path) -> str | None:
    """The licence a model card names in its front matter, or the first line of a LICENSE file."""
    card = folder / "README.md"
    if card.exists():
        lines = card.read_text("utf-8", "replace").splitlines()
        if lines and lines[0].strip() == "---":
            for line in lines[1:]:
                if line.strip() == "---":
                    break
                if line.startswith("license:"):
                    return line.partition(":")[2].strip().strip("\"'") or None
    for path in sorted(folder.glob("LICENSE*")):
        first = path.read_text("utf-8", "replace").strip().splitlines()
        return first[0].strip() if first else None
    return None


def _show(terminal: Terminal, facts: dict[str, Any]) -> None:
    rows: list[tuple[str, str]] = [("path", facts["path"])]
    if "stack" in facts:
        rows += _stack_rows(facts)
    rows += short_rows(facts["tokenizer"])
    if facts.get("licence"):
        rows.append(("licence", facts["licence"]))
    width = max(len(name) for name, _ in rows)
    bold = terminal.stdout is not None and terminal.paints(terminal.stdout)
    for name, text in rows:
        label = f"{name:>{width}}"
        terminal.out(f"\x1b[1m{label}\x1b[0m  {text}\n" if bold else f"{label}  {text}\n")


def _stack_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The stack as a picture, from the last word at the top down to the embedding."""
    spec, parameters, memory = facts["spec"], facts["parameters"], facts["memory"]
    quant = f", weights in {facts['quant']}" if facts["quant"] else ""
    rows = [("family", f"{facts['family']}, {facts['dtype']}{quant}")]
    by_part = cast("dict[str, int]", parameters["by_part"])
    parts = ", ".join(f"{name} {count:,}" for name, count in by_part.items() if count)
    rows.append(("parameters", f"{parameters['total']:,}: {parts}"))
    if parameters["active"] != parameters["total"]:
        rows.append(("", f"{parameters['active']:,} of them take part in a token"))
    tied = "the embedding itself" if spec["tied"] else "its own weights"
    rows.append(("head", f"{spec['hidden']:,} -> {spec['vocab']:,}, {tied}"))
    for layer in reversed(facts["stack"]):
        rows.append((f"layers {layer['layers']}", layer["wiring"]))
        rows.append(("", f"  {layer['mixer']}"))
        rows.append(("", f"  {layer['feed']}"))
    rows.append(("embed", f"{spec['vocab']:,} x {spec['hidden']:,}"))
    context = f"{memory['context']:,} tokens"
    size = f"{memory['weights'] / 2**20:,.1f} MiB of weights"
    cache = f"{memory['cache'] / 2**20:,.1f} MiB of cache"
    rows.append(("memory", f"{size}, {cache} at {context}"))
    return rows
