"""A ledger restored from a copy: a run that is gone on with must not buy what the copy has forgotten."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callsheet.engine.high_water import go_on_from_the_mark, mark_file, remember
from callsheet.engine.session import studio_for
from callsheet.engine.stopping import StopSign
from callsheet.errors import LedgerUnsafe
from callsheet.ledger import Ledger

pytestmark = pytest.mark.anyio


def marked(house: Any, ledger: Ledger) -> dict[str, Any]:
    """Return what the mark beside the runs says."""
    return dict(json.loads(mark_file(ledger, house.folder / "runs").read_text()))


async def test_a_run_is_not_gone_on_with_on_a_restored_ledger(house: Any) -> None:
    """Refused before the run is opened again, and the mark stays where it was."""
    run_id = house.open_run("a,A restored boat")
    copy = house.folder / "backup.sqlite"
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.backup(copy)
    await house.work(run_id)
    with Ledger.open(house.settings.ledger) as ledger:
        ledger.close_run(run_id)
        remember(ledger, house.folder / "runs", run_id)
        before = marked(house, ledger)
    house.changes["ledger_url"] = f"sqlite:///{copy}"
    with pytest.raises(LedgerUnsafe, match=r"0 entries of 3"):
        async with studio_for(house.request(run_id), run_id, house.settings, StopSign()):
            pass
    with Ledger.open(house.settings.ledger) as restored:
        assert marked(house, restored) == before
    assert len(house.accepted("A restored boat")) == 1


async def test_a_session_moves_the_mark_before_it_buys(house: Any) -> None:
    """What a process bought that was then killed is in the mark as soon as the next one begins."""
    run_id = house.open_run("a,A marked session")
    await house.work(run_id)
    async with studio_for(house.request(run_id), run_id, house.settings, StopSign()) as studio:
        assert (await studio.books(lambda ledger: marked(house, ledger)))["entries"] == 3


async def test_a_mark_is_never_lowered(house: Any) -> None:
    """Neither an older ledger nor the end of an earlier run takes anything from it."""
    runs = house.folder / "runs"
    first = house.open_run("a,A first boat", campaign="one")
    last = house.open_run("a,A last boat", campaign="two")
    with Ledger.open(house.settings.ledger) as ledger:
        go_on_from_the_mark(ledger, runs, first)
        assert marked(house, ledger) == {"entries": 0, "run_id": last}
        mark_file(ledger, runs).write_text(json.dumps({"entries": 9, "run_id": last}))
        remember(ledger, runs, first)
        assert marked(house, ledger) == {"entries": 9, "run_id": last}
