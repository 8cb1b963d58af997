"""The house: what stands where."""

import sys
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
    """A room that is crowded wants another room."""
    long = [
        str(path.relative_to(ROOT))
        for package in OURS
        for path in (ROOT / package).rglob("*.py")
        if len(path.read_text(encoding="utf-8").splitlines()) > 400
    ]
    assert long == []
