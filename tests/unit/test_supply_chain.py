"""What is installed is what was chosen: every package locked by its hashes, none of them without a reason."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
GROUPS = PROJECT["dependency-groups"]
BUILD = [Requirement(text) for text in GROUPS["build"]]
RUNTIME = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
DEPLOYED = [*RUNTIME, *(Requirement(text) for name in ("s3", "metrics") for text in EXTRAS[name])]
DEVELOPMENT = [*DEPLOYED, *BUILD, *(Requirement(text) for text in GROUPS["dev"] if isinstance(text, str))]
LOCKS = {
    "requirements.txt": DEPLOYED,
    "requirements-build.txt": BUILD,
    "requirements-dev.txt": DEVELOPMENT,
}
OURS = ("callsheet", "flows", "tasks", "pricing", "manifests")

PINNED = re.compile(r"[a-z0-9._-]+==[A-Za-z0-9.+!]+( ; [^\\;#@]+?)?( --hash=sha256:[0-9a-f]{64})+", re.ASCII)
LOADED_BY_NAME = {"psycopg", "whenever", "s3fs", "gcsfs"}
"""What is loaded where an address asks for it, and a package of Prefect's that is pinned."""


def entries(lock: str) -> list[str]:
    """Return a lock file's entries, each on one line."""
    return (ROOT / "deploy" / lock).read_text().replace(" \\\n    ", " ").splitlines()


def locked(lock: str) -> dict[str, set[str]]:
    """Return the versions of each locked package: more than one only where Python's own version decides."""
    found: dict[str, set[str]] = {}
    for entry in entries(lock):
        name, _, version = entry.partition(" ")[0].partition("==")
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


def wanted_by(roots: list[Requirement]) -> Iterator[str]:
    """Yield every package that these bring, on whatever system: markers about systems are not asked."""
    left, seen = [(each, frozenset(each.extras)) for each in roots], set()
    while left:
        requirement, extras = left.pop()
        name = canonicalize_name(requirement.name)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        yield name
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # it is for another system, where it needs nothing more
            continue
        for each in map(Requirement, lines):
            asked = re.findall(r"extra == [\"']([^\"']+)[\"']", str(each.marker or ""))
            if not asked or extras & {canonicalize_name(extra) for extra in asked}:
                left.append((each, frozenset(map(canonicalize_name, each.extras))))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_pinned_to_one_version_by_its_hashes(lock: str) -> None:
    """Neither a range, nor an address, nor an index, nor an entry whose content could change."""
    assert [entry for entry in entries(lock) if not PINNED.fullmatch(entry)] == []
    several = {name for name, versions in locked(lock).items() if len(versions) > 1}
    one_for_all = {canonicalize_name(each.partition("==")[0]) for each in entries(lock) if " ; " not in each}
    assert several & one_for_all == set()


def test_what_ships_is_locked_as_it_was_tested() -> None:
    """The tests run on the very versions that a deployment installs."""
    for lock in ("requirements.txt", "requirements-build.txt"):
        assert locked(lock).items() <= locked("requirements-dev.txt").items()


@pytest.mark.parametrize(("lock", "roots"), LOCKS.items())
def test_every_locked_package_is_asked_for(lock: str, roots: list[Requirement]) -> None:
    """By pyproject.toml, or by what that asks for: nothing is left over, nothing slipped in."""
    assert set(locked(lock)) - set(wanted_by(roots)) == set()


@pytest.mark.parametrize(("lock", "roots"), LOCKS.items())
def test_every_package_that_is_asked_for_is_locked(lock: str, roots: list[Requirement]) -> None:
    """In a version that pyproject.toml allows."""
    versions = locked(lock)
    broken = [
        f"{each}: {version}"
        for each in roots
        for version in versions[canonicalize_name(each.name)]
        if version not in each.specifier
    ]
    assert broken == []


def imported() -> set[str]:
    """Return the top-level names that the product imports, also late."""
    names: set[str] = set()
    for room in OURS:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    names.add(node.module.partition(".")[0])
    return names - set(OURS) - sys.stdlib_module_names


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    """What only comes along with another package may go with it; what is not imported is only a risk."""
    extras = [Requirement(text) for each in EXTRAS.values() for text in each]
    declared = {canonicalize_name(each.name) for each in [*RUNTIME, *extras]}
    whose = metadata.packages_distributions()
    used: set[str] = set()
    for name in imported():
        owners = {canonicalize_name(owner) for owner in whose[name]}
        used |= owners & declared if len(owners) > 1 else owners  # several packages may share a namespace
    assert used == declared - LOADED_BY_NAME


RULES = re.findall(r"^  \"[A-Z0-9]+\",(.*)$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def test_every_lint_rule_that_is_off_says_why() -> None:
    """The security rules among them: all are on, but for what is listed with its reason."""
    assert PROJECT["tool"]["ruff"]["lint"]["select"] == ["ALL"]
    assert len(RULES) > 30
    assert [rule for rule in RULES if len(rule.partition("#")[2].strip()) < 3] == []
    security = [rule for rule in PROJECT["tool"]["ruff"]["lint"]["ignore"] if re.fullmatch(r"S\d*", rule)]
    assert security == ["S101"]
