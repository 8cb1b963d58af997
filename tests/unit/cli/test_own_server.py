"""When a run's own Prefect server starts: with the first jobs, or at once where its flow comes first."""

import socket
import threading
from typing import Any, ClassVar
from urllib.request import proxy_bypass

import pytest

from callsheet.cli import importing, prefect_server, running
from callsheet.cli.prefect import client_environment
from callsheet.cli.views.run import own_server_for
from callsheet.engine.request import RunRequest
from callsheet.settings import settings_from


class Child:
    """A child process that only tells how it was started."""

    started: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, *_: object, **how: Any) -> None:
        with socket.fromfd(how["pass_fds"][0], socket.AF_INET, socket.SOCK_STREAM) as listening:
            Child.started.append({**how, "address": listening.getsockname()})
        self.stdin = None

    def wait(self) -> int:
        """End at once."""
        return 0


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A machine on which no Prefect server is configured."""
    monkeypatch.setattr(Child, "started", [])
    monkeypatch.setattr(prefect_server.subprocess, "Popen", Child)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "no-profiles"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return settings_from({"CALLSHEET_DATA_DIR": str(tmp_path)})


@pytest.mark.parametrize(
    ("wanted", "at_once"),
    [({}, 0), ({"canary": 2}, 1), ({"approve_above_usd": "100"}, 1)],
    ids=["jobs come first", "canaries come first", "a person comes first"],
)
def test_the_server_takes_nothing_from_the_first_jobs(settings, wanted, at_once):
    """It starts at once only where nothing can be sent without it."""
    server = own_server_for(settings, RunRequest(source="shots.csv", **wanted))
    assert len(Child.started) == at_once
    server.start()
    server.start()
    assert len(Child.started) == 1


def test_a_server_that_was_never_started_is_stopped_quietly(settings):
    """A run that is refused, or not confirmed, ends before there is one."""
    server = own_server_for(settings, RunRequest(source="shots.csv"))
    server.let_go()
    server.stop()
    assert not Child.started


def test_a_server_that_does_not_end_is_killed(settings, monkeypatch):
    """A run is over when its videos are there; nobody waits for a history that hangs."""
    killed = threading.Event()
    monkeypatch.setattr(prefect_server, "STOP_TIMEOUT_S", 0.01)
    monkeypatch.setattr(Child, "wait", lambda _self: killed.wait(10))
    monkeypatch.setattr(Child, "kill", lambda _self: killed.set(), raising=False)
    server = own_server_for(settings, RunRequest(source="shots.csv"))
    server.start()
    server.stop()
    assert killed.is_set()


def test_the_server_has_the_environment_of_the_person_and_not_that_of_the_run(settings, monkeypatch):
    """What keeps Prefect's lines out of the run's display would keep them out of the server's log."""
    monkeypatch.setenv("FAL_KEY", "secret")
    monkeypatch.delenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", raising=False)
    server = own_server_for(settings, RunRequest(source="shots.csv"))
    for name, value in client_environment(server).items():
        monkeypatch.setenv(name, value)
    server.start()
    how = Child.started[0]
    assert how["env"]["PREFECT_HOME"] == str(server.home)
    assert not {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "PREFECT_API_URL", "FAL_KEY"} & how["env"].keys()
    assert "secret" not in repr(server)


def test_the_server_listens_on_this_machine_alone(settings):
    """It has no password, so nobody else may reach it; and nobody else can answer at its address."""
    server = own_server_for(settings, RunRequest(source="shots.csv"))
    server.start()
    host, port = Child.started[0]["address"]
    assert host == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{port}/api"


@pytest.mark.parametrize(
    ("given", "elsewhere"),
    [
        ({}, False),
        ({"NO_PROXY": "example.com"}, False),
        ({"no_proxy": "example.com", "NO_PROXY": ""}, False),
        ({"NO_PROXY": "*"}, True),
    ],
)
def test_no_proxy_stands_between_a_run_and_its_server(settings, monkeypatch, given, elsewhere):
    """What the person has excepted stays so, and everything else goes where it went."""
    for name in ("no_proxy", "NO_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HTTPS_PROXY": "http://proxy.test:3128", **given}.items():
        monkeypatch.setenv(name, value)
    assert bool(proxy_bypass("127.0.0.1")) is elsewhere
    for name, value in client_environment(own_server_for(settings, RunRequest(source="a.csv"))).items():
        monkeypatch.setenv(name, value)
    assert proxy_bypass("127.0.0.1")
    assert bool(proxy_bypass("queue.fal.run")) is elsewhere
    assert bool(proxy_bypass("example.com")) is (elsewhere or "example.com" in given.values())


def test_the_server_is_a_group_of_the_runs_own_session(settings):
    """Ctrl-C in a terminal does not reach it, and what it leaves of the machine is left to the run."""
    own_server_for(settings, RunRequest(source="shots.csv")).start()
    assert Child.started[0]["process_group"] == 0
    assert not Child.started[0].get("start_new_session")


@pytest.mark.parametrize(("is_wanted", "order"), [(True, ["started", "imported"]), (False, [])])
def test_the_server_starts_before_prefect_is_imported(settings, monkeypatch, is_wanted, order):
    """Both take seconds; and a run that was stopped starts none."""
    happened = []

    def imported(*_: object, **__: object) -> None:
        happened.append("imported")
        raise importing.NotWanted

    monkeypatch.setattr(running.os, "environ", {})
    monkeypatch.setattr(importing, "import_beside", imported)
    server = own_server_for(settings, RunRequest(source="shots.csv"))
    monkeypatch.setattr(type(server), "start", lambda _self: happened.append("started"))
    with pytest.raises(importing.NotWanted):
        running._flow(server, lambda: is_wanted, lambda: True)
    assert happened == order
