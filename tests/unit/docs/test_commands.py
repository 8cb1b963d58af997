"""Every command that the documentation prints is one that the command line takes."""

import re
import shlex
from pathlib import Path

import pytest
from cyclopts import MissingArgumentError

from callsheet.cli.app import COMMANDS, make_app

ROOT = Path(__file__).parents[3]
PAGES = [
    ROOT / "README.md",
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("docs/tutorials/*.md"),
    *ROOT.glob("deploy/*.md"),
]
LINE = re.compile(
    r"^(?:    |```\w*\n)?(?:    )*(?:\$ )?(?:[A-Z_]+=\S+ )*(callsheet [a-z].*?)(?:\s+#.*)?$", re.MULTILINE
)
INLINE = re.compile(r"`(callsheet [a-z][^`]*)`")
EVERYWHERE = {"--help", "--verbose", "--quiet", "--log-json"}
SCHEMATIC = re.compile(r"\[|\.\.\.|\bCOMMAND\b|\|")
"""A form with what may be left out, and no command."""


def printed() -> list[tuple[str, str]]:
    """The pages' commands, each with the name of its page."""
    found = {}
    for page in PAGES:
        text = page.read_text("utf-8").replace("\\\n", " ")
        for command in (*LINE.findall(text), *(" ".join(each.split()) for each in INLINE.findall(text))):
            if not SCHEMATIC.search(command):
                found[command.strip().rstrip(".,:;")] = page.name
    return [(page, command) for command, page in found.items()]


def test_there_are_many():
    """They are found where they stand."""
    assert len(printed()) > 100


@pytest.mark.parametrize(("page", "command"), printed())
def test_it_is_taken(page, command):
    """Its name and its options are those of today; values are not looked at."""
    words = shlex.split(command)[1:]
    if words[0] not in {name for group in COMMANDS.values() for name in group}:
        pytest.fail(f"{page}: there is no command {words[0]}")
    words = [word for word in words if word not in EVERYWHERE]
    if len(words) == 1:
        return
    try:
        found, bound, ignored = make_app(words).parse_args(words, exit_on_error=False, print_error=False)
    except MissingArgumentError:
        return  # a command that a sentence names, without what it works on
    assert callable(found), page
    assert bound is not None
    assert not ignored
