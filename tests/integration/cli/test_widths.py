"""What a narrow terminal gets: nothing is wider than it is, and nothing is lost."""

import json
from pathlib import Path

import pytest
from rich.cells import cell_len

from callsheet.cli.commands.reconcile import show_findings
from callsheet.cli.output import show_table
from callsheet.reconciliation.findings import Finding, Findings

EXAMPLE = str(Path(__file__).parents[3] / "examples" / "marketing-assets" / "campaign.toml")
COMMANDS = (
    ("plan", EXAMPLE),
    ("prices",),
    ("models",),
    ("doctor",),
    ("budget", "list"),
    ("ledger", "statement"),
    ("ledger", "entries"),
)


@pytest.mark.parametrize("width", [40, 60])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2])[:16])
def test_no_line_is_wider_than_the_terminal(call, monkeypatch, command, width):
    """Tables are folded, lose their empty columns or are printed row by row."""
    monkeypatch.setenv("COLUMNS", str(width))
    for scope in ("campaign:a-campaign-with-a-long-name-indeed", "client:北京の広告"):
        assert call("budget", "set", scope, "120.123456789")[0] == 0
    code, out, _ = call(*command)
    assert code == 0
    assert [line for line in out.splitlines() if cell_len(line) > width] == []


def test_every_cell_is_there_row_by_row(call, monkeypatch):
    """What is printed row by row says what --json says."""
    monkeypatch.setenv("COLUMNS", "40")
    printed = "".join(call("prices")[1].split())
    for rate in json.loads(call("prices", "--json")[1])["rates"]:
        assert f"for{rate['for']}" in printed
        assert rate["source"].replace(" ", "") in printed


def test_a_wide_terminal_and_a_pipe_get_aligned_columns(capsys, monkeypatch):
    """Nothing is folded where it fits, and nothing where no width is known."""
    for width in ("200", ""):
        monkeypatch.setenv("COLUMNS", width)
        show_table(("name", "empty", "n"), [["x" * 90, "", 1], ["y", "", 22]], right=frozenset({"n"}))
        header, first, second = capsys.readouterr().out.splitlines()
        assert header == "name" + " " * 88 + "empty   n"
        assert (first[-1], second[-2:], len(first)) == ("1", "22", len(second))


def test_empty_columns_go_first(capsys, monkeypatch):
    """Where leaving them out is enough, the table stays a table."""
    monkeypatch.setenv("COLUMNS", "20")
    show_table(("name", "an empty column", "n"), [["abcdefg", "", 1]])
    assert capsys.readouterr().out.splitlines() == ["name     n", "abcdefg  1"]


def test_a_finding_keeps_its_reason_below_it(capsys, monkeypatch):
    """The reason stands under its row in either form."""
    each = Finding(
        outcome="unknown",
        job_id=7,
        run_id="spring-20261121-090000-a1b2",
        custom_id="hero",
        why="not known yet",
    )
    for width in ("40", "200"):
        monkeypatch.setenv("COLUMNS", width)
        show_findings(Findings([each]), sandbox=False)
        out = capsys.readouterr().out
        assert out.index("hero") < out.index("not known yet")
        assert max(map(len, out.splitlines()[:6])) <= int(width)
