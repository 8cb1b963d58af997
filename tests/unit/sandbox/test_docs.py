from pathlib import Path

from callsheet.sandbox.faults import KINDS
from callsheet.sandbox.list_prices import PriceList
from callsheet.sandbox.routes_control import routes
from callsheet.sandbox.served_endpoints import ENDPOINTS

PAGE = (Path(__file__).parents[3] / "docs" / "sandbox.md").read_text(encoding="utf-8")


def test_every_fault_is_documented() -> None:
    """docs/sandbox.md has a row for each kind of fault, in the words of the table."""
    for name, kind in KINDS.items():
        assert f"| `{name}` | {kind.route} | {kind.stage} | {kind.meaning} |" in PAGE


def test_every_control_route_and_unit_is_documented() -> None:
    """docs/sandbox.md names each control route and each unit that the sandbox bills in."""
    assert all(route.path in PAGE for route in routes())
    assert all(PriceList().unit(endpoint) in PAGE for endpoint in ENDPOINTS)
