"""`callsheet resume` and `status` of a run that another process works on, in this process."""

import asyncio
import os
from types import SimpleNamespace

import pytest

from callsheet.cli import prefect_run, session
from callsheet.engine import run
from callsheet.engine.request import RunRequest
from callsheet.engine.stopping import StopSignal
from callsheet.errors import Busy, PricesChanged
from callsheet.ledger import Ledger, NewRun, activity
from callsheet.ledger.parts import note_stop
from callsheet.ledger.runs import close_run, open_run
from callsheet.settings import settings_from


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """A ledger with one unfinished run."""
    monkeypatch.setenv("CALLSHEET_LEDGER_URL", f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    monkeypatch.setenv("FAL_KEY", "id:secret")
    with Ledger.open(settings_from(os.environ).ledger) as ledger:
        new = NewRun(run_id="spring-1", campaign="spring", plan_hash="h", price_book="p", out=str(tmp_path))
        ledger.do(open_run, new, [])
        yield ledger


def test_a_run_that_is_worked_on_is_refused_before_a_server_is_started(opened, call, monkeypatch):
    """The second `resume` ends with 2 and one line."""
    monkeypatch.setattr(run, "CLAIM_PAUSE_S", 0.0)
    monkeypatch.setattr(session, "own_server", lambda *_: pytest.fail("a server was started"))
    with opened.claim("spring-1"):
        code, out, err = call("resume", "spring-1")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "is being worked on by another process" in err


@pytest.mark.parametrize("json", [[], ["--json"]])
def test_a_run_that_has_ended_is_not_cancelled(opened, call, json):
    """`cancel` says so and exits with 0. The run's history stays as it was."""
    opened.do(close_run, "spring-1")
    before = opened.do(activity.overview)
    code, out, err = call("cancel", "spring-1", *json)
    assert (code, err) == (0, "")
    assert ("has ended" if not json else '"cancelled": 0') in out
    assert opened.do(activity.overview) == before
    assert (before[0].state, before[0].stopped_by, before[0].run.stopping_ms) == ("finished", "", None)


def test_prefects_senders_are_drained_also_where_the_flow_raises(monkeypatch):
    """What it cannot deliver any more, once its server is gone, it would write to the terminal."""
    drained = []

    async def busy(_request):
        raise Busy("another process works on it")

    monkeypatch.setattr(prefect_run, "run_campaign", busy)
    monkeypatch.setattr(prefect_run, "_drain_prefect", lambda: drained.append(True))

    async def through_prefect() -> None:
        state = SimpleNamespace(begun=asyncio.Event(), finalized=asyncio.Event(), notices=[])
        ctx = SimpleNamespace(request=RunRequest(), stop=StopSignal(), state=state)
        await prefect_run.carry_out_through_prefect(ctx)

    with pytest.raises(Busy):
        asyncio.run(through_prefect())
    assert drained == [True]


def test_status_opens_the_ledger_once(opened, call, monkeypatch):
    """Three openings are three chances to see different things."""
    opens = []
    plain = Ledger.open
    monkeypatch.setattr(Ledger, "open", lambda *given, **named: opens.append(given) or plain(*given, **named))
    assert call("status")[0] == 0
    assert call("status", "spring-1")[0] == 0
    assert len(opens) == 2


def test_status_of_an_unfinished_run_says_how_to_go_on(opened, call):
    """After a crash nothing else does; of a closed run there is nothing to say."""
    assert "if no process is working on it, `callsheet resume spring-1` continues it" in call("status")[1]
    opened.do(close_run, "spring-1")
    assert "resume" not in call("status")[1]


def test_status_after_other_prices_names_the_command_that_accepts_them(opened, call):
    """A plain `resume` would stop at the same prices again."""
    stopped = str(PricesChanged(["x costs more"], again="callsheet resume spring-1"))
    with opened.claim("spring-1"):
        opened.do(note_stop, "spring-1", "", stopped)
    told = " ".join(call("status")[1].split())
    assert "`callsheet resume spring-1 --accept-prices` continues it" in told
