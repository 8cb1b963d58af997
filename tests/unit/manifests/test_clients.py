"""Clients: one client however it is typed, in totals and caps; what looks like a slip is pointed out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.errors import ManifestError
from manifests.plan import Plan
from manifests.planner import make_plan
from pricing.budgets import client_key, full_room, shortfalls

CAMPAIGN = (
    '[campaign]\nname = "spring"\nmanifest = "shots.csv"\n[defaults]\nmodel = "seedance-1.0-pro-fast"\n'
)


def _plan(folder: Path, clients: list[str], budget: str = "") -> Plan:
    rows = "".join(f'kite {at},"{client}"\n' for at, client in enumerate(clients))
    (folder / "shots.csv").write_text(f"prompt,client\n{rows}")
    (folder / "c.toml").write_text(CAMPAIGN + budget)
    return make_plan(folder / "c.toml")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("acme", "ACME"),
        ("acme", " acme\t"),
        ("acme  co", "Acme Co"),
        ("acme\u00a0co", "acme co"),
        ("Café", "Cafe\u0301"),
        ("Straße", "STRASSE"),
        ("\u0390", "\u03b9\u0308\u0301"),
    ],
)
def test_one_client_has_one_key(first: str, second: str) -> None:
    """Case, composition and white space make no other client."""
    assert client_key(first) == client_key(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("acme", "acm e"),
        ("acme", "\uff41\uff43\uff4d\uff45"),
        ("acme", "\u0430cme"),
        ("x²", "x2"),
        ("cafe", "café"),
        ("ﬁg", "ﬁeg"),
    ],
)
def test_names_that_only_look_alike_stay_apart(first: str, second: str) -> None:
    """Compatibility forms, other scripts and accents are other clients."""
    assert client_key(first) != client_key(second)


@given(st.text(max_size=12))
def test_a_key_is_its_own_key(text: str) -> None:
    """What the ledger counts under can be typed again."""
    assert client_key(client_key(text)) == client_key(text)


def test_a_cap_counts_every_spelling(tmp_path: Path) -> None:
    """Three spellings of one client are one line of the plan and one demand on the cap."""
    plan = _plan(tmp_path, ["Acme", "ACME ", "acme"], '[budget.client]\n"aCme" = 0.50\n')
    assert {name: total.jobs for name, total in plan.by_client().items()} == {"Acme": 3}
    assert shortfalls(plan.demands(), full_room(plan.caps))
    assert [cap.label for cap in plan.caps] == ["client aCme in campaign spring"]
    assert plan.warnings == ()


def test_two_caps_on_one_client_are_a_mistake(tmp_path: Path) -> None:
    """Both spellings are named, and the line of the second one."""
    with pytest.raises(ManifestError) as caught:
        _plan(tmp_path, ["acme"], '[budget.client]\nacme = 1\n"Acme " = 2\n')
    (problem,) = caught.value.problems
    assert (problem.row, problem.found) == (8, "Acme ")
    assert "acme" in problem.message


def test_a_cap_that_no_row_counts_in_is_pointed_out(tmp_path: Path) -> None:
    """The line of the campaign file and the likely client are named."""
    (warning,) = _plan(tmp_path, ["acme", "globex"], "[budget.client]\nacmee = 1\n").warnings
    assert (warning.row, warning.column) == (7, "budget.client.acmee")
    assert "did you mean acme?" in warning.message


@pytest.mark.parametrize(
    ("clients", "warned"),
    [
        (["northwind", "northwnd"], True),
        (["acme", "\uff41\uff43\uff4d\uff45"], True),
        (["client-01", "client-02"], False),
        (["acme", "globex"], False),
        (["Northwind", "northwind"], False),
    ],
)
def test_nearly_equal_clients_are_pointed_out(tmp_path: Path, clients: list[str], *, warned: bool) -> None:
    """Two names a slip apart are one warning; numbered ones are meant."""
    assert len(_plan(tmp_path, clients).warnings) == warned
