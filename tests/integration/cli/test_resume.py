"""`callsheet resume` and `status` of a run that somebody works on, in this process."""

import asyncio
import os
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from callsheet.cli import running, runs
from callsheet.cli.commands import resume as command
from callsheet.engine.request import RunRequest
from callsheet.engine.stopping import StopSignal
from callsheet.errors import Busy
from callsheet.ledger import Ledger, NewRun
from callsheet.ledger.runs import close_run, open_run
from callsheet.settings import settings_from


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """A ledger with one unfinished run."""
    monkeypatch.setenv("CALLSHEET_LEDGER_URL", f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    monkeypatch.setenv("FAL_KEY", "id:secret")
    with Ledger.open(settings_from(os.environ).ledger) as ledger:
        run = NewRun(run_id="spring-1", campaign="spring", plan_hash="h", price_book="p", out=str(tmp_path))
        ledger.do(open_run, run, [])
        yield ledger


def test_a_run_that_is_worked_on_is_refused_before_a_server_is_started(opened, call, monkeypatch):
    """The second `resume` ends with 2 and one line."""
    monkeypatch.setattr(runs, "CLAIM_PAUSE_S", 0.0)
    monkeypatch.setattr(command, "own_server_for", lambda *_: pytest.fail("a server was started"))
    with opened.claim("spring-1"):
        code, out, err = call("resume", "spring-1")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "is being worked on by another process" in err


def test_prefects_senders_are_drained_before_its_server_goes(monkeypatch):
    """Also where the flow raises: what it cannot deliver any more it would write to the terminal."""
    order = []

    class Server:
        """A server that is only told to go, and then waited for."""

        def let_go(self):
            """Begin to go."""
            order.append("let go")

        def stop(self):
            """Be gone."""
            order.append("stopped")

    async def busy(*_given):
        raise Busy("somebody works on it")

    # Prefect itself would keep this server's address for every later test of this process.
    monkeypatch.setattr(running, "client_environment", lambda _server: {})
    monkeypatch.setattr(running, "_flow", lambda *_given: busy)
    monkeypatch.setattr(running, "show", lambda _progress: nullcontext())
    monkeypatch.setattr(running, "head_start", lambda *_given: nullcontext())
    monkeypatch.setattr(running, "_drain_prefect", lambda: order.append("drained"))
    with pytest.raises(Busy):
        running.run_flow(RunRequest(run_id="r"), settings_from({}), Server(), as_json=False)
    assert order == ["drained", "let go", "stopped"]


def test_prefect_is_begun_when_the_first_places_are_filled(monkeypatch):
    """Until then its server and its import would take their share of the machine."""
    order = []

    class Places:
        """Places that only tell that they were asked."""

        async def filled_once(self):
            """Be filled."""
            order.append("filled")

        def is_calm(self):
            """Be calm."""
            return True

    async def done(_request):
        order.append("flow")
        return {}

    monkeypatch.setattr(running, "_flow", lambda *_given: order.append("begun") or done)
    monkeypatch.setattr(running, "_drain_prefect", lambda: order.append("drained"))
    ctx = SimpleNamespace(places=Places())
    asyncio.run(running._as_a_flow(RunRequest(run_id="r"), ctx, StopSignal(lambda _stop: None), None))
    assert order == ["filled", "begun", "flow", "drained"]


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
