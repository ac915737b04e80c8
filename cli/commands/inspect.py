"""`lmtool inspect`: what a checkpoint, or a tokenizer alone, is made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

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

if TYPE_CHECKING:
    from ...tokenizer.tokenizer import Tokenizer

EPILOG = """Examples:

lmtool inspect

lmtool inspect ./checkpoint -c 8192 --json"""


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
    json: OneObject = False,
    offline: Offline = False,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    color: Color = ColorWhen.auto,
    debug: Debug = False,
) -> None:
    """Show what a checkpoint is: its stack layer by layer, parameters, memory, tokenizer."""
    from ...tokenizer.formats.found import has_tokenizer
    from ...tokenizer.tokenizer import Tokenizer

    terminal = open_terminal(quiet, verbose, color)
    path = find_model(model, offline, terminal)
    facts: dict[str, Any] = {"name": path.resolve().name, "path": str(path)}
    if path.is_dir() and (path / "config.json").exists():
        from ...engine.facts import checkpoint_facts

        facts |= checkpoint_facts(path, ctx_size, kv_dtype)
        there = has_tokenizer(path)
        facts["tokenizer"] = _tokenizer_facts(Tokenizer.load(path)) if there else None
        facts["licence"] = licence(path)
    else:
        facts["tokenizer"] = _tokenizer_facts(Tokenizer.load(path))
    if json:
        terminal.out_json(facts)
    else:
        _show(terminal, facts)


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


def _tokenizer_facts(tokenizer: Tokenizer) -> dict[str, Any]:
    def spelled(ids: frozenset[int]) -> dict[str, str]:
        return {str(id): tokenizer.token_text(id) for id in sorted(ids)}

    return {
        "format": tokenizer.format,
        "kind": type(tokenizer.pipeline.model).__name__,
        "vocabulary": tokenizer.vocab_size,
        "bos": tokenizer.bos_id,
        "eos": spelled(tokenizer.eos_ids),
        "special": spelled(tokenizer.special_ids),
        "chat_template": tokenizer.chat_template is not None,
    }


def _show(terminal: Terminal, facts: dict[str, Any]) -> None:
    rows: list[tuple[str, str]] = [("path", facts["path"])]
    if "stack" in facts:
        rows += _stack_rows(facts)
    rows += _tokenizer_rows(facts["tokenizer"])
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


def _tokenizer_rows(tokenizer: dict[str, Any] | None) -> list[tuple[str, str]]:
    if tokenizer is None:
        return [("tokenizer", "none")]
    ends = ", ".join(f"{text} ({id})" for id, text in tokenizer["eos"].items()) or "none named"
    chat = "yes" if tokenizer["chat_template"] else "none"
    return [
        ("tokenizer", f"{tokenizer['kind']}, {tokenizer['vocabulary']:,} ids; a text ends: {ends}"),
        ("", f"read from {tokenizer['format']}"),
        ("chat template", chat),
    ]
