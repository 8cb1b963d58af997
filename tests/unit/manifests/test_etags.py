"""The cheap look at the addresses of images."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from manifests import etags
from manifests.etags import etags_of

ANSWERS = {
    "/strong": (200, '"abc-1"'),
    "/weak": (200, 'W/"abc"'),
    "/bare": (200, "abc"),
    "/none": (200, None),
    "/moved": (302, '"abc"'),
    "/gone": (404, '"abc"'),
}


class Server(ThreadingHTTPServer):
    """Answers HEAD and notes what it was asked."""

    daemon_threads = True
    asked: list[tuple[str, str]]
    silent: threading.Event


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.server.asked.append((self.command, str(self.headers)))
        if self.path == "/silent":
            self.server.silent.wait()
        status, etag = ANSWERS.get(self.path, (200, None))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/strong")
        if etag is not None:
            self.send_header("ETag", etag)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of images on this machine."""
    with Server(("127.0.0.1", 0), Handler) as made:
        made.asked, made.silent = [], threading.Event()
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.silent.set()
        made.shutdown()
        thread.join()


def url(server: Server, path: str) -> str:
    """Return an address on the server."""
    return f"http://127.0.0.1:{server.server_port}{path}"


def test_only_a_strong_etag_of_a_plain_answer_is_a_statement(server: Server) -> None:
    """Weak, unquoted and missing ones, redirects and errors say nothing; the key is never sent."""
    asked = [url(server, path) for path in ANSWERS]
    nowhere = ["http://127.0.0.1:1/x", "https://no-such-name.invalid/x"]
    assert etags_of([*asked, *nowhere], allow_private=True) == {url(server, "/strong"): '"abc-1"'}
    assert {method for method, _ in server.asked} == {"HEAD"}
    assert "authorization" not in "".join(headers for _, headers in server.asked).lower()
    assert len(server.asked) == len(ANSWERS)


def test_an_address_inside_the_network_is_not_asked(server: Server) -> None:
    """A manifest from elsewhere must not make this machine look around its own network."""
    assert etags_of([url(server, "/strong")]) == {}
    assert server.asked == []


def test_a_server_that_does_not_answer_costs_a_few_seconds_in_all(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has answered by then counts."""
    monkeypatch.setattr(etags, "WITHIN_S", 2.0)
    silent = [url(server, f"/silent?{number}") for number in range(3)]
    assert etags_of([*silent, url(server, "/strong")], allow_private=True) == {
        url(server, "/strong"): '"abc-1"'
    }


def test_a_limited_number_of_distinct_addresses_is_asked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same address of many rows is asked once."""
    monkeypatch.setattr(etags, "MOST", 3)
    etags_of([url(server, f"/{number // 2}") for number in range(20)], allow_private=True)
    assert len(server.asked) == 3
