"""What pip makes of this checkout: one package, whole, that runs from anywhere."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from reference.source_tree import find_imports, read_tree

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
NOT_SHIPPED = ("tests/", "docs/", "benchmarks/", "recipes/", "constraints", ".ci/")


def package_files() -> set[str]:
    """Every file that belongs to the package, by the tree: sources, the marker, model files."""
    return {*read_tree(ROOT), "py.typed"} | {
        path.relative_to(ROOT).as_posix() for path in ROOT.glob("models/*/*") if path.is_file()
    }


def names_of(requirements: list[str]) -> set[str]:
    """`["pyright[nodejs]>=1.1", "huggingface_hub>=1"]` -> `{"pyright", "huggingface-hub"}`."""
    return {re.split(r"[<>=!~\[; ]", one)[0].lower().replace("_", "-") for one in requirements}


def test_package_list_equals_the_tree() -> None:
    packages = {
        ".".join(["lmtool", *Path(path).parent.parts])
        for path in read_tree(ROOT)
        if path.endswith(".py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages


def test_every_package_has_its_init() -> None:
    tree = read_tree(ROOT)
    folders = {str(Path(path).parent.as_posix()) for path in tree}
    assert {
        folder for folder in folders if f"{folder}/__init__.py".removeprefix("./") not in tree
    } == set()


RUN_TIME_EXTRAS = ("grammar", "zstd", "parquet", "unigram", "ray")
"""Extras that the package imports where they are used; the others are for work on it."""


def test_dependencies_are_those_imported() -> None:
    outside = {
        found.target.split(".")[0] for found in find_imports(read_tree(ROOT)) if not found.relative
    }
    # `compression.zstd` is the standard library's, from Python 3.14 on.
    known = sys.stdlib_module_names | {"lmtool", "tomllib", "compression"}
    imported = names_of(sorted(outside - known))
    extras = PROJECT["project"]["optional-dependencies"]
    named = [
        *PROJECT["project"]["dependencies"],
        *(one for e in RUN_TIME_EXTRAS for one in extras[e]),
    ]
    assert imported == names_of(named)


def test_every_dependency_has_its_pin() -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = names_of([line for line in lines if "==" in line and not line.startswith("#")])
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    assert names_of(wanted) - pinned == set()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout to build from: an earlier build's leftovers must not get in."""
    folder = tmp_path_factory.mktemp("built") / "source"
    leave = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "venv")
    shutil.copytree(ROOT, folder, ignore=leave)
    return folder


def build_wheel(source: Path, into: Path) -> Path:
    """What `pip wheel` makes of a source folder, with what is installed and without a network."""
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [*pip, "--quiet", "--wheel-dir", str(into), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (made,) = into.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


def test_wheel_holds_everything_and_no_more(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    code = {name for name in held if ".dist-info/" not in name}
    assert code == {f"lmtool/{path}" for path in package_files()}
    assert not [name for name in code if name.removeprefix("lmtool/").startswith(NOT_SHIPPED)]
    assert any(name.endswith("licenses/LICENSE") for name in held)


def test_wheel_names_its_version_licence_and_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    told = {name.rpartition("/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
    metadata = archive.read(told["METADATA"]).decode()
    version = ast.literal_eval(
        re.search(r"__version__ = (.+)", (ROOT / "__init__.py").read_text("utf-8"))[1]
    )
    assert f"\nVersion: {version}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    command = f"lmtool = {PROJECT['project']['scripts']['lmtool']}"
    assert command in archive.read(told["entry_points.txt"]).decode()


def test_source_archive_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=source, check=True, capture_output=True
    )
    (archive,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path)
    unpacked = tmp_path / archive.name.removesuffix(".tar.gz")
    for needed in ("constraints.txt", "LICENSE", "README.md", "tests/conftest.py"):
        assert (unpacked / needed).is_file(), needed
    again = build_wheel(unpacked, tmp_path / "again")
    assert zipfile.ZipFile(again).namelist() == zipfile.ZipFile(wheel).namelist()


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with lmtool installed from the wheel, and nothing else."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*pip, "--target", str(target), str(wheel)], check=True, capture_output=True)
    return target


def run_installed(target: Path, cwd: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("LMTOOL_")}
    environ |= {"PYTHONPATH": str(target), "HF_HUB_OFFLINE": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=300
    )


def test_installed_package_is_the_one_that_runs(installed: Path, tmp_path: Path) -> None:
    code = "import lmtool, lmtool.cli.app; print(lmtool.__file__, lmtool.cli.app.__file__)"
    done = run_installed(installed, tmp_path, sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert [Path(path).resolve() for path in done.stdout.split()] == [
        installed / "lmtool" / "__init__.py",
        installed / "lmtool" / "cli" / "app.py",
    ]


@pytest.mark.parametrize("arguments", [("--help",), ("generate", "--help")], ids=" ".join)
def test_installed_package_helps_from_another_folder(
    installed: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    by_module = run_installed(installed, tmp_path, sys.executable, "-m", "lmtool", *arguments)
    assert by_module.returncode == 0, by_module.stderr
    assert "Usage: lmtool" in by_module.stdout
    script = installed / "bin" / "lmtool"
    by_script = run_installed(installed, tmp_path, sys.executable, str(script), *arguments)
    assert by_script.stdout == by_module.stdout


def test_installed_package_writes_with_the_model_inside(installed: Path, tmp_path: Path) -> None:
    done = run_installed(
        installed, tmp_path, sys.executable, "-m", "lmtool", "generate", "Once upon a time",
        "-n", "8", "--seed", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_suite_tests_these_files() -> None:
    import lmtool

    assert Path(lmtool.__file__) == ROOT / "__init__.py"
