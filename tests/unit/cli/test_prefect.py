"""The Prefect server that a run reports to: the configured one, or one of its own."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.request import proxy_bypass

import pytest

from callsheet.cli.prefect import (
    SERVER_SETTINGS,
    client_environment,
    configured_api_url,
    is_new,
    own_server,
    why_unreachable,
)
from callsheet.errors import NoPrefect
from tests.procfs import NoSuchProcess, command_line, environment, send_signal

PROFILES = """
active = "{active}"
[profiles.plain]
[profiles.team]
PREFECT_API_URL = "http://team.example/api"
"""
OWN = "http://127.0.0.1:4200/api"


@pytest.mark.parametrize(
    ("environ", "active", "url"),
    [
        ({}, "plain", None),
        ({}, "team", "http://team.example/api"),
        ({}, "gone", None),
        ({"PREFECT_PROFILE": "team"}, "plain", "http://team.example/api"),
        ({"PREFECT_PROFILE": "plain"}, "team", None),
        ({"PREFECT_API_URL": "http://mine/api"}, "team", "http://mine/api"),
        ({"PREFECT_API_URL": ""}, "team", "http://team.example/api"),
    ],
)
def test_the_server_is_the_variables_or_that_of_the_active_profile(tmp_path, environ, active, url):
    """In ~/.prefect, or where PREFECT_HOME says."""
    (tmp_path / ".prefect").mkdir()
    for folder in (tmp_path / ".prefect", tmp_path):
        (folder / "profiles.toml").write_text(PROFILES.format(active=active))
    assert configured_api_url(environ, tmp_path) == url
    assert configured_api_url({**environ, "PREFECT_HOME": str(tmp_path)}, tmp_path / "x") == url


@pytest.mark.parametrize(
    "text", [None, "not TOML [", "\x00", 'active = "a"\n[profiles.a]\nPREFECT_API_URL = 3\n']
)
def test_profiles_that_cannot_be_read_name_no_server(tmp_path, text):
    """A run then starts its own."""
    if text is not None:
        (tmp_path / "profiles.toml").write_text(text)
    assert configured_api_url({"PREFECT_HOME": str(tmp_path)}, tmp_path) is None


@pytest.fixture
def answering():
    """Answer one connection with the given bytes; returns the URL of an API."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer(reply: bytes) -> str:
            def serve() -> None:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(reply)

            threading.Thread(target=serve, daemon=True).start()
            return f"http://127.0.0.1:{listening.getsockname()[1]}/api"

        yield answer


@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "404 Not Found", "503 Unavailable"])
def test_any_answer_is_one(answering, status):
    """What it means is for Prefect's client to judge, which has the keys."""
    url = answering(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
    assert why_unreachable(url) == ""


def test_a_server_that_refuses_or_says_nothing_cannot_be_used(monkeypatch):
    """Nothing listens there, or what listens never answers; and a text may be no address at all."""
    monkeypatch.setattr("callsheet.cli.prefect.ANSWER_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
        assert "timed out" in why_unreachable(url)
    assert "refused" in why_unreachable(url)
    assert "http://" in why_unreachable("localhost:4200")


def test_prefect_counts_no_use_unless_a_person_chose_it():
    """Neither its server nor its client reports, and its notice is not in the terminal of a run."""
    assert client_environment("http://127.0.0.1:4200/api", {})["DO_NOT_TRACK"] == "1"
    assert "DO_NOT_TRACK" not in client_environment("http://127.0.0.1:4200/api", {"DO_NOT_TRACK": "0"})


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
    """What the person has excepted stays so, and everything else goes where it went."""
    for name in ("no_proxy", "NO_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HTTPS_PROXY": "http://proxy.test:3128", **given}.items():
        monkeypatch.setenv(name, value)
    assert bool(proxy_bypass("127.0.0.1")) is elsewhere
    for name, value in client_environment(OWN, os.environ).items():
        monkeypatch.setenv(name, value)
    assert proxy_bypass("127.0.0.1")
    assert bool(proxy_bypass("queue.fal.run")) is elsewhere
    assert bool(proxy_bypass("example.com")) is (elsewhere or "example.com" in given.values())


def test_what_the_person_has_set_for_prefect_stays():
    """Only what is missing is chosen, and the address is the server's; a server elsewhere keeps its proxy."""
    given = {"PREFECT_CLIENT_MAX_RETRIES": "9", "PREFECT_API_URL": "http://other"}
    made = client_environment("https://team.example/api", given)
    assert "PREFECT_CLIENT_MAX_RETRIES" not in made
    assert "NO_PROXY" not in made
    assert made["PREFECT_API_URL"] == "https://team.example/api"
    assert made["PREFECT_API_REQUEST_TIMEOUT"] == "5"


def test_the_server_has_the_environment_of_the_person_and_neither_the_key_nor_the_runs_own(
    monkeypatch, tmp_path
):
    """What keeps Prefect's lines out of the run's display would keep them out of the server's log."""
    monkeypatch.setenv("FAL_KEY", "id:secret")
    monkeypatch.setenv("MINE", "yes")
    monkeypatch.setenv("PREFECT_API_URL", "http://other/api")
    assert is_new(tmp_path)
    with own_server(tmp_path) as server:
        environ = environment(server.process.pid)
    assert (environ["MINE"], environ["PREFECT_HOME"]) == ("yes", str(tmp_path / "prefect"))
    assert not {"FAL_KEY", "PREFECT_API_URL", "PREFECT_CLIENT_MAX_RETRIES"} & environ.keys()
    assert environ.items() >= SERVER_SETTINGS.items()
    assert "secret" not in repr(server)


def test_the_server_is_a_group_of_the_runs_own_session(tmp_path):
    """Ctrl-C in a terminal does not reach it, and it listens on this machine alone."""
    with own_server(tmp_path) as server:
        pid = server.process.pid
        assert os.getpgid(pid) == pid
        assert os.getsid(pid) == os.getsid(0)
        assert server.url.startswith("http://127.0.0.1:")
    assert server.process.returncode is not None


def test_a_server_that_does_not_end_is_killed(tmp_path, monkeypatch):
    """A run is over when its videos are there; it does not wait for a history that hangs."""
    monkeypatch.setattr("callsheet.cli.prefect.STOP_TIMEOUT_S", 0.2)
    with own_server(tmp_path) as server:
        send_signal(server.process.pid, signal.SIGSTOP)
    assert server.process.returncode == -signal.SIGKILL


def test_a_server_that_ends_while_it_starts_is_named_with_its_log(tmp_path):
    """And the run does not wait a minute for it."""
    with own_server(tmp_path) as server:
        send_signal(server.process.pid, signal.SIGKILL)
        with pytest.raises(NoPrefect, match=r"code -9 while starting.*server\.log"):
            server.wait_ready()


@pytest.fixture(scope="module")
def port(tmp_path_factory, prefect_data):
    """The port of a server that answers."""
    with own_server(prefect_data(tmp_path_factory.mktemp("own"))) as server:
        server.wait_ready()
        yield int(server.url.rpartition(":")[2].partition("/")[0])


@pytest.mark.prefect
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:{port}"}, 200),
        ({"Host": "LOCALHOST:{port}"}, 200),
        ({"Host": "evil.example:{port}"}, 403),
        ({"Host": "127.0.0.1"}, 403),
        ({"Host": "127.0.0.1:1"}, 403),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
    ],
    ids=str,
)
def test_no_page_from_elsewhere_reads_the_history_or_deletes_from_it(port, headers, status):
    """A foreign name for this machine (DNS rebinding) and a foreign origin are refused with 403."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    sent = {name: value.format(port=port) for name, value in headers.items()}
    connection.request("GET", "/api/health", headers=sent)
    reply = connection.getresponse()
    assert reply.status == status
    assert (reply.read() == b"true") is (status == 200)
    connection.close()


@pytest.mark.prefect
def test_the_server_ends_with_its_parent(tmp_path, prefect_data):
    """When the process that started it is killed, it ends by itself."""
    code = (
        "import os, sys, pathlib; from callsheet.cli.prefect import own_server;"
        "made = own_server(pathlib.Path(sys.argv[1])); server = made.__enter__(); server.wait_ready();"
        "print(server.process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", code, str(prefect_data(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(done.stdout)
    end_s = time.monotonic() + 30
    while time.monotonic() < end_s:
        try:
            if not command_line(pid):  # a zombie
                return
        except NoSuchProcess:
            return
        time.sleep(0.05)
    send_signal(pid, signal.SIGKILL)
    pytest.fail("the server outlived its parent")
