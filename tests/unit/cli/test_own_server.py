"""The Prefect server that a run starts for itself: how it is started, reached and ended."""

import asyncio
import os
import socket
import subprocess
import threading
from typing import Any, ClassVar
from urllib.request import proxy_bypass

import pytest

from callsheet.cli import prefect
from callsheet.cli.prefect import LocalOnly, client_environment, own_server


class Child:
    """A child process that only tells how it was started."""

    started: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, *_: object, **how: Any) -> None:
        with socket.fromfd(how["pass_fds"][0], socket.AF_INET, socket.SOCK_STREAM) as listening:
            Child.started.append({**how, "address": listening.getsockname()})
        self.stdin = None

    def wait(self, _timeout: float | None = None) -> int:
        """End at once."""
        return 0


@pytest.fixture(autouse=True)
def _no_process(monkeypatch):
    monkeypatch.setattr(Child, "started", [])
    monkeypatch.setattr(prefect.subprocess, "Popen", Child)


def test_the_server_has_the_environment_of_the_person_without_the_key(tmp_path, monkeypatch):
    """It needs no key, and what keeps Prefect's lines out of the run's display is not for its log."""
    monkeypatch.setenv("FAL_KEY", "secret")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    with own_server(tmp_path) as server:
        given = Child.started[0]["env"]
    assert given["PREFECT_HOME"] == str(tmp_path / "prefect")
    assert not {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "PREFECT_API_URL", "FAL_KEY"} & given.keys()
    assert "secret" not in repr(server)


def test_the_server_listens_on_this_machine_alone(tmp_path):
    """It has no password; and nobody else can answer at its address, which is bound before it starts."""
    with own_server(tmp_path) as server:
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
def test_no_proxy_stands_between_a_run_and_its_server(monkeypatch, given, elsewhere):
    """What the person has excepted stays so, and everything else takes the proxy as before."""
    for name in ("no_proxy", "NO_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HTTPS_PROXY": "http://proxy.test:3128", **given}.items():
        monkeypatch.setenv(name, value)
    assert bool(proxy_bypass("127.0.0.1")) is elsewhere
    for name, value in client_environment("http://127.0.0.1:4200/api", os.environ).items():
        monkeypatch.setenv(name, value)
    assert proxy_bypass("127.0.0.1")
    assert bool(proxy_bypass("queue.fal.run")) is elsewhere
    assert bool(proxy_bypass("example.com")) is (elsewhere or "example.com" in given.values())


def test_ctrl_c_in_a_terminal_does_not_reach_the_server(tmp_path):
    """It is a process group of its own; the run ends it when it is done."""
    with own_server(tmp_path):
        assert Child.started[0]["process_group"] == 0


def test_a_server_that_does_not_end_is_killed(tmp_path, monkeypatch):
    """A run is over when its videos are there; nobody waits for a history that hangs."""
    killed = threading.Event()

    def wait(_self: Child, timeout: float | None = None) -> int:
        if timeout is not None:
            raise subprocess.TimeoutExpired("server", timeout)
        assert killed.is_set()
        return -9

    monkeypatch.setattr(Child, "wait", wait)
    monkeypatch.setattr(Child, "kill", lambda _self: killed.set(), raising=False)
    with own_server(tmp_path):
        pass
    assert killed.is_set()


@pytest.mark.parametrize(
    ("headers", "served"),
    [
        ({"host": "127.0.0.1:4200"}, True),
        ({"host": "LOCALHOST:4200"}, True),
        ({"host": "127.0.0.1:4200", "origin": "http://127.0.0.1:4200"}, True),
        ({"host": "127.0.0.1:4200", "origin": "http://localhost:4200"}, True),
        ({}, False),
        ({"host": "127.0.0.1:4201"}, False),
        ({"host": "evil.example:4200"}, False),
        ({"host": "127.0.0.1:4200", "origin": "http://evil.example"}, False),
        ({"host": "127.0.0.1:4200", "origin": "http://127.0.0.1:5000"}, False),
        ({"host": "127.0.0.1:4200", "origin": "null"}, False),
    ],
)
def test_a_page_of_another_site_reaches_nothing(headers, served):
    """The browser sends its own Origin, or a Host that it was made to resolve to this machine."""
    asked, sent = [], []

    async def app(scope, receive, send):
        asked.append(scope["path"])

    async def send(message):
        sent.append(message)

    given = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": "/api/flow_runs/filter", "headers": given}
    asyncio.run(LocalOnly(app, 4200)(scope, None, send))
    assert bool(asked) is served
    assert [message.get("status") for message in sent][:1] == ([] if served else [403])
