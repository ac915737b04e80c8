"""What the package's sources say of each other, read by `ast` and without importing anything."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOMS = ("cli", "engine", "tokenizer")
Tree = dict[str, str]


@dataclass(frozen=True)
class Import:
    """`importer` names `target` on `line`; `at_load`: when the module loads, not later."""

    importer: str
    target: str
    line: int
    at_load: bool
    relative: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}"


def read_tree(root: Path) -> Tree:
    """The package's sources under `root`, by path."""
    files = [*root.glob("*.py"), *(path for room in ROOMS for path in (root / room).rglob("*.py"))]
    return {str(path.relative_to(root).as_posix()): path.read_text("utf-8") for path in files}


def module_name(path: str) -> str:
    """`cli/app.py` -> `cli.app`, `cli/__init__.py` -> `cli`."""
    parts = PurePosixPath(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def find_imports(tree: Tree) -> list[Import]:
    """Every import of every file, those inside functions among them."""
    modules = {module_name(path) for path in tree}
    return [
        found
        for path, source in tree.items()
        for found in _imports_of(path, ast.parse(source, path), modules)
    ]


def _imports_of(path: str, syntax: ast.Module, modules: set[str]) -> Iterator[Import]:
    name = module_name(path)
    package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
    for node, at_load in _statements(syntax, at_load=True):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, alias.name, node.lineno, at_load, relative=False)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            # Whatever names stand in the call, be it behind a condition.
            for inside in ast.walk(node):
                if isinstance(inside, ast.Constant) and isinstance(inside.value, str):
                    yield Import(name, inside.value, node.lineno, at_load, relative=False)
        elif isinstance(node, ast.ImportFrom):
            target = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                target = ".".join([*filter(None, above), *filter(None, [target])])
            for alias in node.names:
                # `from . import rope` names a module, `from .rope import Rope` one inside it.
                inner = f"{target}.{alias.name}".lstrip(".")
                whole = inner if node.level and inner in modules else target
                yield Import(name, whole, node.lineno, at_load, relative=node.level > 0)


def _statements(node: ast.AST, at_load: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        loads = at_load and not later and not for_types
        yield child, loads
        yield from _statements(child, loads)


def within(module: str, parents: tuple[str, ...]) -> bool:
    """Whether `module` is one of `parents` or lies in one."""
    return any(module == parent or module.startswith(f"{parent}.") for parent in parents)


def load_graph(tree: Tree) -> dict[str, set[str]]:
    """Module -> what loads with it."""
    graph: dict[str, set[str]] = {module_name(path): set() for path in tree}
    for found in find_imports(tree):
        if found.at_load and found.target != found.importer:
            graph[found.importer].add(found.target)
            # A module loads every package above it; its own are loading already.
            above = found.target
            while "." in above:
                above = above.rpartition(".")[0]
                if not within(found.importer, (above,)):
                    graph[found.importer].add(above)
    return graph


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    """All that loading `start` loads; `start` itself only where it lies on a circle."""
    seen: set[str] = set()
    queue = list(graph[start])
    while queue:
        name = queue.pop()
        if name not in seen:
            seen.add(name)
            queue.extend(graph.get(name, ()))
    return seen
