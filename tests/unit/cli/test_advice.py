"""Commands that messages advise: each acts on the ledger that the message is about."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
ROOMS = ("callsheet", "flows", "tasks", "manifests", "pricing")
SOURCES = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]

NOT_OF_A_LEDGER = {"deploy", "doctor", "prices", "validate"}
"""Commands that are advised and take no --sandbox, or mean the same with it."""

NO_ADVICE = {
    "was stopped by `callsheet cancel`",
    "`callsheet plan --out` writes one",
    "A run's id (`callsheet status` shows it)",
    "or once for all runs `callsheet budget set ledger 100`",
    " nobody (`callsheet runs`)",
}
"""What a command did or does, and advice that is about real money alone."""


def told(path: Path) -> Iterator[str]:
    """Yield the texts of a module that are no docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    bare = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
    for each in ast.walk(tree):
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and id(each) not in bare:
            yield each.value


def test_an_advised_command_is_composed_where_the_ledger_is_known():
    """`wording.command` adds --sandbox; a command that is written out would act on the other ledger."""
    written = {
        (path.relative_to(ROOT).as_posix(), text)
        for path in SOURCES
        if path.name != "error_table.py"  # docs/errors.md is about every ledger
        for text in told(path)
        for verb in re.findall(r"`callsheet ([a-z]+)", text)
        if verb not in NOT_OF_A_LEDGER and not any(known in text for known in NO_ADVICE)
    }
    assert written == set()
