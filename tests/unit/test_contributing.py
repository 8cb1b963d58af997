"""docs/CONTRIBUTING.md draws the house as it is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "CONTRIBUTING.md").read_text("utf-8")
PLACES = (ROOT, ROOT / "callsheet")
NAMED = sorted(set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+(?:\.py)?)`", TEXT)))


@pytest.mark.parametrize("name", NAMED)
def test_every_file_it_names_is_there(name):
    """A stranger who follows the walk arrives."""
    assert any((place / name).exists() or (place / f"{name}.py").exists() for place in PLACES)


def test_every_room_is_drawn():
    """Each package has its line."""
    drawn = TEXT.partition("```\n")[2].partition("```")[0]
    rooms = {path.parent.name for place in PLACES for path in place.glob("*/__init__.py")} - {"callsheet"}
    assert {room for room in rooms if not re.search(rf"\b{room}\b", drawn)} == set()


def test_the_docs_link_to_files_that_exist():
    """Every relative link of every document."""
    for path in (ROOT / "docs").rglob("*.md"):
        for link in re.findall(r"\]\((?!http)([^)#]+)", path.read_text("utf-8")):
            assert (path.parent / link).exists(), f"{path.name}: {link}"
