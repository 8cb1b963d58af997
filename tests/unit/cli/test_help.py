import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from callsheet.cli.app import COMMANDS, make_app, module_of
from callsheet.cli.main import run_command

SLOW_TO_LOAD = ("alembic", "av", "fastapi", "httpx", "pandas", "prefect", "pyarrow", "sqlalchemy")

HELP = """
import sys
from callsheet.cli.app import make_app
make_app().meta(["--help"], result_action="return_value")
print("loaded:", *sorted(set(sys.argv[1:]) & set(sys.modules)))
"""

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
NAMES = [name for group in COMMANDS.values() for name in group]


@pytest.fixture(scope="module")
def helped() -> list[str]:
    """The lines that a process of its own prints for `callsheet --help`, and what it loaded for that."""
    command = [sys.executable, "-c", HELP, *SLOW_TO_LOAD]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def test_help_loads_nothing_slow(helped: list[str]) -> None:
    """Help answers at once: it imports neither Prefect nor a database nor an array library."""
    assert helped[-1] == "loaded:"


@pytest.mark.parametrize("name", NAMES)
def test_help_lists_every_command(helped: list[str], name: str) -> None:
    """Every command is in the list that a person sees first."""
    assert any(line.strip("│ ").split()[:1] == [name] for line in helped)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_says_its_purpose_and_an_example(name: str) -> None:
    """What a command is for comes first, as a sentence, and a line to copy follows."""
    source = importlib.import_module(module_of(name)).__file__
    module = ast.parse(Path(source).read_text("utf-8"))
    functions = {found.name: found for found in ast.walk(module) if isinstance(found, DEFINITIONS)}
    text = ast.get_docstring(functions[name]) or ""
    assert text.split("\n\n")[0].endswith((".", "?"))
    assert f"callsheet {name}" in text


@pytest.fixture
def _fresh_command(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As in a process of its own: a list of all commands has not given this one its short help."""
    monkeypatch.delitem(sys.modules, module_of(name), raising=False)


@pytest.mark.usefixtures("_fresh_command")
@pytest.mark.parametrize("name", NAMES)
def test_every_command_shows_how_it_is_called(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Help has the purpose, then an example of this command, then every option with its variable."""
    assert run_command([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert 0 < shown.index(f"Example: callsheet {name}") < shown.index("--verbose")
    assert "CALLSHEET_VERBOSE" in shown
    command = make_app([name])[name]
    taken = command.assemble_argument_collection(parse_docstring=False).filter_by(show=True)
    words = set(re.findall(r"--[a-z-]+", shown))
    assert [argument.name for argument in taken if not words.intersection(argument.names)] == []
    assert not re.search(r"default:[│\s]+(None|False|\(\)|\"\")", shown), "a default that says nothing"


@pytest.mark.usefixtures("_fresh_command")
@pytest.mark.parametrize("name", NAMES)
def test_help_lines_fit_a_terminal(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What a command does is broken where it is written, not where the terminal ends."""
    run_command([name, "--help"])
    purpose = capsys.readouterr().out.partition("Example:")[0]
    assert [line for line in purpose.splitlines() if len(line.rstrip()) > 79] == []
