"""The arrow of the folders is kept by the imports."""

import ast
import collections
from collections.abc import Set
from functools import cache
from pathlib import Path

import pytest

from harness import ROOMS

ROOT = Path(__file__).resolve().parent.parent
ORDER = tuple(ROOMS)
HEAVY = ("foundry_local_sdk", "memray", "onnx")
OF_THE_TOOLCHAIN = {"olive", "torch", "transformers"}
SCRIPTS = {
    "amendments", "builder_worker", "low_memory_quantizer", "merge_worker", "model_tokenizer", "olive_worker", "reference_logits_worker",
    "reference_worker", "shared_source",
}  # fmt: skip
"""What runs in the toolchain, which has those packages and not the harness."""


@cache
def imports_of(file: Path) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def backward_imports(package: str, names: Set[str]) -> set[str]:
    """Imports of harness packages that stand to the right of `package`, of the test wiring, or of pytest."""
    later = ORDER[ORDER.index(package) + 1 :]
    harness = {name.split(".")[1] for name in names if name.startswith("harness.")}
    outside = {name.split(".")[0] for name in names} & {"pytest", "fixtures", "suites"}
    return (harness & set(later)) | outside


def package_of(file: Path) -> str:
    return file.relative_to(ROOT / "harness").parts[0].removesuffix(".py")


FILES = [file for file in sorted((ROOT / "harness").rglob("*.py")) if file != ROOT / "harness/__init__.py"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_imports_point_backwards_only(file):
    assert not backward_imports(package_of(file), imports_of(file))


def test_every_room_is_in_the_list():
    rooms = {package_of(file) for file in FILES}
    assert rooms == set(ORDER)


def test_no_room_holds_more_than_fifteen_per_cent_of_the_lines():
    lines = collections.Counter()
    for file in FILES:
        lines[package_of(file)] += len(file.read_text(encoding="utf-8").splitlines())
    room, most = lines.most_common(1)[0]
    assert most <= 0.15 * lines.total(), f"{room} holds {100 * most / lines.total():.0f} %: look for its second noun"


def test_a_forward_import_would_be_seen():
    assert backward_imports("source", {"harness.report.record"}) == {"report"}
    assert backward_imports("cli", {"pytest"}) == {"pytest"}


@pytest.mark.parametrize("package", HEAVY)
def test_a_heavy_package_is_imported_by_one_module(package):
    users = [file for file in FILES if any(name.split(".")[0] == package for name in imports_of(file))]
    assert len(users) <= 1, users


def test_the_toolchains_packages_stay_in_the_scripts_that_run_there():
    users = {file.stem for file in FILES if {name.split(".")[0] for name in imports_of(file)} & OF_THE_TOOLCHAIN}
    assert users <= SCRIPTS
    imported = {name.split(".")[-1] for file in FILES for name in imports_of(file) if name.startswith("harness.")}
    assert not imported & SCRIPTS


def test_every_fixture_module_is_loaded_and_no_fixture_stands_twice():
    import conftest

    modules = sorted((ROOT / "fixtures").glob("[!_]*.py"))
    assert {f"fixtures.{module.stem}" for module in modules} == set(conftest.pytest_plugins) - {"pytester"}
    names = [name for module in modules for name in fixture_names(module)]
    assert len(names) == len(set(names)), sorted(name for name in set(names) if names.count(name) > 1)


def fixture_names(module: Path) -> list[str]:
    functions = [node for node in ast.parse(module.read_text()).body if isinstance(node, ast.FunctionDef)]
    return [f.name for f in functions if any("fixture" in ast.unparse(d) for d in f.decorator_list)]
