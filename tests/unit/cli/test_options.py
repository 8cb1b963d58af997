"""Every option has its environment variable, and docs/cli.md has them all."""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cyclopts import App, CycloptsError

from callsheet.cli.app import make_app
from callsheet.cli.main import run_command
from callsheet.settings import Settings
from pricing.catalog import OWN_CATALOG

DOCS = (Path(__file__).parents[3] / "docs" / "cli.md").read_text("utf-8")
COMPLETION = "--install-completion"
TYPED_FOR_ONE_JOB = {"--adopt", "--assume-spent", "--resubmit", "--reason"}


def commands(app: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, App]]:
    """Every command and its commands."""
    for name in app:
        if not name.startswith("-"):
            yield " ".join([*path, name]), app[name]
            yield from commands(app[name], (*path, name))


def options() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Every option: its command, its name, its variables."""
    made = make_app()
    for command, app in [("", made.meta), *commands(made)]:
        for argument in app.assemble_argument_collection():
            if argument.name != "*" and argument.index is None and command != COMPLETION:
                yield command, argument.name, tuple(argument.parameter.env_var or ())


def test_every_option_has_one_variable():
    """Only what is typed for one job has none."""
    found = list(options())
    assert len(found) > 60
    without = {name for _, name, variables in found if not variables}
    assert without == TYPED_FOR_ONE_JOB
    assert all(len(variables) < 2 for _, _, variables in found)


def test_a_variable_means_one_option():
    """One variable is never read as two different things."""
    names: dict[str, set[str]] = {}
    for _, name, variables in options():
        for variable in variables:
            names.setdefault(variable, set()).add(name)
    assert {variable: each for variable, each in names.items() if len(each) > 1} == {}


def test_the_document_has_every_variable_and_no_other():
    """What docs/cli.md names exists, and what exists is named there."""
    written = set(re.findall(r"CALLSHEET_[A-Z_]+[A-Z]", DOCS))
    real = {variable for _, _, variables in options() for variable in variables}
    settings = {f"CALLSHEET_{name.upper()}" for name in Settings.__dataclass_fields__} | {OWN_CATALOG}
    assert real - written == set()
    assert written - real - settings == set()


def test_every_command_that_ends_speaks_json():
    """Only those that serve until they are stopped have no document to print."""
    silent = {
        command
        for command, app in commands(make_app())
        if "--json" not in {argument.name for argument in app.assemble_argument_collection()}
    }
    assert silent == {"receive", "review", "sandbox", "ui"}


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
def test_a_header_row_counts_from_one(command, capsys):
    """There is no row 0: an option that would be ignored is refused."""
    assert run_command([command, "shots.csv", "--header-row", "0"]) == 2
    assert '"0" for --header-row' in capsys.readouterr().err


def test_every_variable_can_be_read(monkeypatch):
    """A value that does not fit is a CycloptsError, which names it; nothing else may come of one."""
    made = make_app()
    for command, _, variables in options():
        for variable in variables:
            with monkeypatch.context() as patch, suppress(CycloptsError):
                patch.setenv(variable, "1")
                made.parse_args([*command.split(), "x", "1"], exit_on_error=False, print_error=False)


def test_conditions_stand_on_lines_of_their_variable(monkeypatch):
    """A value may have spaces."""
    monkeypatch.setenv("CALLSHEET_WHERE", "client=acme ltd\nShot=one")
    _, bound, _ = make_app().parse_args(["plan", "shots.csv"], exit_on_error=False, print_error=False)
    assert bound.arguments["take"].where == ("client=acme ltd", "Shot=one")
