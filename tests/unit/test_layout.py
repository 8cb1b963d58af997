"""The house: what stands where."""

import ast
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

import callsheet
import flows
import manifests
import pricing
import tasks
from callsheet.guard import check_packages_are_ours

ROOT = Path(callsheet.__file__).resolve().parent.parent
OURS = ("callsheet", "flows", "tasks", "pricing", "manifests")
ALLOWED = {*OURS, "tests", "docs", "examples", "deploy", "benchmarks"} | {
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "Makefile",
}
MADE = {"runs", "demo", "build", "dist"}


def test_the_top_level_is_as_it_was_drawn():
    """Nothing stands at the top that was not agreed."""
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found - MADE <= ALLOWED


def test_the_four_plain_packages_are_ours():
    """They are imported from this folder, and the guard says so too."""
    for package in (flows, tasks, pricing, manifests):
        assert Path(package.__file__).resolve().parent.parent == ROOT
    check_packages_are_ours()


@pytest.mark.parametrize("path", sorted((ROOT / "flows").glob("*.py")), ids=lambda path: path.stem)
def test_a_flow_file_shadows_nothing(path):
    """Prefect loads a flow file as a top-level module named after its stem."""
    installed = {name.lower() for name in metadata.packages_distributions()}
    if path.stem != "__init__":
        assert path.stem not in sys.stdlib_module_names
        assert path.stem not in installed | set(OURS)


def test_no_module_is_longer_than_400_lines():
    """A longer one is divided."""
    long = [
        str(path.relative_to(ROOT))
        for package in OURS
        for path in (ROOT / package).rglob("*.py")
        if len(path.read_text(encoding="utf-8").splitlines()) > 400
    ]
    assert long == []


MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in OURS
    for path in (ROOT / package).rglob("*.py")
}


def imported(module: str) -> Iterator[str]:
    """The modules of ours that a module imports: also under TYPE_CHECKING, and inside functions."""
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if name in MODULES:
                    yield name
                elif node.module in MODULES:
                    yield node.module


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The groups of modules that reach each other: Kosaraju's two walks."""
    back: dict[str, set[str]] = {name: set() for name in graph}
    for name, others in graph.items():
        for other in others:
            back[other].add(name)
    ended: dict[str, None] = {}
    for name in graph:
        _walk(name, graph, set(ended), ended)
    found, seen = [], set()
    for name in reversed(ended):
        group: dict[str, None] = {}
        _walk(name, back, seen, group)
        seen |= group.keys()
        if len(group) > 1 or name in graph[name]:
            found.append(set(group))
    return found


def _walk(start: str, graph: dict[str, set[str]], skipped: set[str], ended: dict[str, None]) -> None:
    """Add what can be reached to `ended`, each after everything that it leads to."""
    entered = set(skipped)
    stack = [(start, iter(()))] if start not in entered else []
    if stack:
        entered.add(start)
        stack = [(start, iter(graph[start]))]
    while stack:
        name, others = stack[-1]
        following = next((other for other in others if other not in entered), None)
        if following is None:
            ended[name] = None
            stack.pop()
        else:
            entered.add(following)
            stack.append((following, iter(graph[following])))


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}, "c": {"a"}}, [{"a", "b"}]),
        ({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}, [{"b", "c"}]),
        ({"a": {"a"}}, [{"a"}]),
    ],
)
def test_a_circle_is_found(graph, found):
    """The search sees circles of any length, and none where there is none."""
    assert circles(graph) == found


def test_no_module_imports_itself_around_a_corner():
    """There is no circle of imports, also not under TYPE_CHECKING or inside functions."""
    graph = {module: set(imported(module)) - {module} for module in MODULES}
    assert len(graph) > 100
    assert sum(map(len, graph.values())) > 300
    assert circles(graph) == []
