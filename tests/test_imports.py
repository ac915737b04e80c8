"""The house's doors, by `ast`: who may import whom, who may see torch, how big and how named.

The rules are functions over a `Tree` (path -> source), so that each is shown to fail on a small
bad sample as well as to hold for the package.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reference.source_tree import (
    ROOMS,
    Tree,
    find_imports,
    load_graph,
    module_name,
    reached,
    read_tree,
    within,
)

ROOT = Path(__file__).resolve().parents[1]

# Inside engine a module imports from its own row or from the rows above it, never from below.
LAYERS = (
    ("spec", "launch", "request", "fit", "step", "stop", "device"),
    ("matrix", "knockout"),
    ("families", "cache", "quant", "machine", "grammars"),
    ("model", "sampling", "sequence"),
    ("mesh", "parallel", "runner", "fixed", "scheduler", "kept", "ablation"),
    ("weights", "speculate"),
    ("loop", "prompt_cache", "ranks"),
    ("voice", "streaming"),
    ("generation",),
    ("session",),
    ("score", "lens", "cost", "bench", "facts", "examine", "unused_rows", "scaling"),
)
NEVER_SEES = {"engine.model": ("sampling", "scheduler", "families", "weights")}
# `examine` checks that a vocabulary and an embedding belong together, so it must see both.
ENGINE_FILES_THAT_SEE_TEXT = (
    "engine.session",
    "engine.voice",
    "engine.sampling.grammar",
    "engine.examine",
)
WITHOUT_TORCH = ("tokenizer", "engine.families", "engine.request", "engine.spec", "engine.fit")
WITHOUT_TORCH += ("engine.cache.blocks", "engine.grammars", "engine.knockout", "engine.scaling")
WITHOUT_TORCH += ("engine.launch",)
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "manager", "misc", "common"}
LONGEST_FILE = 400


def room(module: str) -> str:
    return module.split(".")[0]


def wrong_doors(tree: Tree) -> list[str]:
    """Imports from one room into another that the house doesn't allow."""
    allowed = {"cli": ROOMS, "engine": ("engine",), "tokenizer": ("tokenizer",)}
    return [
        str(found)
        for found in find_imports(tree)
        if found.relative and found.importer.startswith(ROOMS) and room(found.target) in ROOMS
        if room(found.target) not in allowed[room(found.importer)]
        if not (room(found.target) == "tokenizer" and found.importer in ENGINE_FILES_THAT_SEE_TEXT)
    ]


def steps_up(tree: Tree) -> list[str]:
    """Imports inside engine that point from a lower row of LAYERS to a higher one, or have none."""
    rank = {part: row for row, parts in enumerate(LAYERS) for part in parts}
    wrong: list[str] = []
    for found in find_imports(tree):
        ends = [end.split(".") for end in (found.importer, found.target)]
        if not found.relative or any(end[0] != "engine" or len(end) < 2 for end in ends):
            continue
        importer, target = (end[1] for end in ends)
        homeless = {importer, target} - rank.keys()
        if homeless:
            wrong.append(f"{found}: no row in LAYERS for {', '.join(sorted(homeless))}")
        elif rank[target] > rank[importer] or target in NEVER_SEES.get(f"engine.{importer}", ()):
            wrong.append(str(found))
    return wrong


def circles(tree: Tree) -> list[str]:
    """Modules that need each other to load."""
    graph = load_graph(tree)
    return sorted(name for name in graph if name in reached(graph, name))


def torch_at_load(tree: Tree) -> list[str]:
    """Modules of cli, tokenizer and the torch-free part of engine that load torch, or name it."""
    graph = load_graph(tree)
    apart = (*WITHOUT_TORCH, "cli")
    heavy = [
        name
        for name in graph
        if within(name, apart) and any(within(far, ("torch",)) for far in reached(graph, name))
    ]
    named = [
        found.importer
        for found in find_imports(tree)
        if within(found.target, ("torch",)) and within(found.importer, apart)
    ]
    return sorted({*heavy, *named})


def absolute_imports(tree: Tree) -> list[str]:
    """Imports of the package by its own name, or of a room as if it lay on the path."""
    return [
        str(found)
        for found in find_imports(tree)
        if not found.relative and room(found.target) in ("lmtool", *ROOMS)
    ]


def empty_names(tree: Tree) -> list[str]:
    """Files and folders whose name says nothing of what is in them."""
    return [path for path in tree if EMPTY_NAMES & set(module_name(path).split("."))]


def long_files(tree: Tree) -> list[str]:
    """Files that are more than one subject."""
    return [path for path, source in tree.items() if len(source.splitlines()) >= LONGEST_FILE]


RULES = (
    wrong_doors,
    steps_up,
    circles,
    torch_at_load,
    absolute_imports,
    empty_names,
    long_files,
)

BAD: dict[str, tuple[Tree, str]] = {
    "wrong_doors": ({"engine/loop.py": "from ..cli.terminal import Terminal"}, "cli.terminal"),
    "wrong_doors, late": (
        {
            "tokenizer/training/train.py": "def f():\n    from ...engine import spec",
            "engine/spec.py": "",
        },
        "engine.spec",
    ),
    "wrong_doors, text": (
        {"engine/runner.py": "from ..tokenizer.files import load"},
        "tokenizer.files",
    ),
    "steps_up": ({"engine/spec.py": "from .families.llama import read"}, "families.llama"),
    "steps_up, for types": (
        {"engine/cache/paged.py": "if TYPE_CHECKING:\n    from ..runner import Runner"},
        "engine.runner",
    ),
    "steps_up, by name": (
        {"engine/step.py": "from . import loop", "engine/loop.py": ""},
        "engine.loop",
    ),
    "steps_up, never": ({"engine/model/block.py": "from ..families import llama"}, "families"),
    "steps_up, homeless": ({"engine/magic.py": "from .spec import ModelSpec"}, "no row"),
    "circles": (
        {
            "cli/a.py": "from .b import x",
            "cli/b.py": "from . import c",
            "cli/c.py": "from . import a",
        },
        "cli.a",
    ),
    "torch_at_load": ({"engine/families/llama.py": "import torch.nn as nn"}, "families.llama"),
    "torch_at_load, far": (
        {
            "cli/commands/x.py": "from ...engine.device import pick",
            "engine/device.py": "import torch",
        },
        "cli.commands.x",
    ),
    "torch_at_load, by package": (
        {
            "cli/x.py": "from ..engine.spec import A",
            "engine/__init__.py": "from torch import Tensor",
            "engine/spec.py": "",
        },
        "cli.x",
    ),
    "torch_at_load, by string": (
        {"cli/a.py": "import importlib\nlight = importlib.import_module('torch')"},
        "cli.a",
    ),
    "torch_at_load, late": ({"tokenizer/a.py": "def f():\n    import torch"}, "tokenizer.a"),
    "absolute_imports": ({"cli/app.py": "from lmtool.engine import session"}, "lmtool.engine"),
    "absolute_imports, room": ({"cli/app.py": "import tokenizer.files"}, "tokenizer.files"),
    "empty_names": ({"engine/cache/utils.py": ""}, "cache/utils.py"),
    "long_files": ({"cli/app.py": "\n" * LONGEST_FILE}, "cli/app.py"),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps_the_rule(rule) -> None:
    tree = read_tree(ROOT)
    assert {"__init__.py", "cli/app.py", "tokenizer/training/train.py"} <= tree.keys()
    assert rule(tree) == []


@pytest.mark.parametrize("name", BAD)
def test_each_rule_sees_its_breach(name: str) -> None:
    tree, expected = BAD[name]
    rule = next(rule for rule in RULES if rule.__name__ == name.split(",")[0])
    assert any(expected in breach for breach in rule(tree))


def test_what_is_allowed_passes() -> None:
    tree = {
        "__init__.py": "class LmtoolError(Exception): ...",
        "cli/commands/x.py": "from ... import LmtoolError\n"
        "def x():\n    from ...engine.session import Session",
        "engine/__init__.py": "",
        "engine/session.py": "import torch\nfrom .loop import Loop\nfrom ..tokenizer import chat",
        "engine/loop.py": "from . import spec\nfrom .model.block import Block",
        "engine/model/block.py": "from ..spec import LayerSpec\nfrom .rope import Rope",
        "engine/model/rope.py": "import torch",
        "engine/spec.py": "from dataclasses import dataclass",
        "tokenizer/files.py": "from .. import LmtoolError\nimport tokenizers",
    }
    assert [breach for rule in RULES for breach in rule(tree)] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("count", "--help"),
        ("tokenize", "--help"),
        ("generate", "--help"),
        ("bench", "--help"),
        ("train-tokenizer", "--help"),
    ],
    ids=" ".join,
)
def test_help_loads_no_torch(run_lmtool, arguments: tuple[str, ...]) -> None:
    done = run_lmtool(*arguments, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0, said(done.stderr)
    assert loaded_modules(done.stderr) & HEAVY == set()
    assert "typer" in loaded_modules(done.stderr)


def test_training_and_counting_load_no_torch(run_lmtool, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cat sat on the mat, the cat sat on the hat\n" * 20)
    runs = [
        ("train-tokenizer", "a.txt", "-o", "made", "--vocab-size", "280"),
        ("count", "-m", "made", "a.txt"),
        ("tokenize", "-m", "made", "-f", "a.txt"),
    ]
    for arguments in runs:
        done = run_lmtool(*arguments, PYTHONPROFILEIMPORTTIME="1")
        assert done.returncode == 0, said(done.stderr)
        # Merges are learned with arrays.
        allowed = {"numpy"} if arguments[0] == "train-tokenizer" else set[str]()
        assert loaded_modules(done.stderr) & HEAVY <= allowed, arguments


HEAVY = {"torch", "numpy", "transformers"}


def loaded_modules(importtime: bytes) -> set[str]:
    """The top-level modules in what -X importtime wrote on stderr."""
    lines = importtime.decode("utf-8", "replace").splitlines()
    names = (line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:"))
    return {name.split(".")[0] for name in names}


def said(stderr: bytes) -> list[str]:
    """What stderr holds besides the lines of -X importtime."""
    return [line for line in stderr.decode().splitlines() if not line.startswith("import time:")]


def test_the_import_watch_sees_what_is_loaded(lmtool_environ) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import json.decoder"],
        capture_output=True,
        env=lmtool_environ,
        check=True,
    )
    assert "json" in loaded_modules(done.stderr)
