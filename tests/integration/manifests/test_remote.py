"""Manifests at addresses: real servers, and everything that must not be fetched."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pytest

from callsheet.errors import UsageError
from manifests.plan import PlanOptions
from manifests.plan_document import plan_document
from manifests.plan_file import write_plan
from manifests.planner import make_plan
from manifests.readers import remote
from manifests.readers.remote import fetched, without_secrets

SHOTS = b"prompt,model\nA fox,seedance-1.0-lite\n"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        """Answer with the manifest, a redirect, or what the path says."""
        path = self.path.partition("?")[0]
        if path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", path.removeprefix("/to/") or "/to/")
            self.end_headers()
            return
        self.send_response(404 if path == "/gone.csv" else 200)
        self.send_header("Content-Length", str(len(SHOTS)))
        self.end_headers()
        self.wfile.write(SHOTS)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def address():
    """The address of a server on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_manifest_is_planned_from_its_address(address, tmp_path):
    """Redirects are followed, a plan file finds the address again, and never says that it may go inside."""
    options = PlanOptions(allow_private_hosts=True, budget_usd="1")
    plan = make_plan(f"{address}/to//night/shots.csv?signature=abc", overrides=options)
    assert (plan.total.jobs, plan.jobs[0].job.prompt) == (1, "A fox")
    write_plan(plan, tmp_path / "plan.json")
    again = make_plan(tmp_path / "plan.json", overrides=PlanOptions(allow_private_hosts=True))
    assert again.hash == plan.hash
    with pytest.raises(UsageError, match="only https"):
        make_plan(tmp_path / "plan.json")


SIGNATURE = "X-Amz-Credential=AKIA&X-Amz-Signature=0abc"


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        ("https://h/m.csv?token=S&versionId=7", "https://h/m.csv?versionId=7"),
        ("https://h/m.csv?Expires=1&Signature=S&Key-Pair-Id=K", "https://h/m.csv"),
        ("https://h/m.csv#S", "https://h/m.csv"),
        ("s3://key:S@bucket/m.csv", "s3://bucket/m.csv"),
        ("https://key:S?S@h/m.csv", "https://[hidden]"),
        ("https://h?token=S@S", "https://[hidden]"),
        ("gs://bucket/m.csv?generation=1", "gs://bucket/m.csv?generation=1"),
        ("shots?a.csv", "shots?a.csv"),
    ],
)
def test_what_lets_somebody_in_is_left_out(source, kept):
    """Of a query only the version of an object is kept; of the host no name and password; paths stay."""
    assert without_secrets(source) == kept


def test_a_plan_file_keeps_no_signature(address, tmp_path):
    """The address is written without its signature and with the object's version, and says what to do."""
    options = PlanOptions(allow_private_hosts=True)
    plan = make_plan(f"{address}/shots.csv?versionId=7&{SIGNATURE}", overrides=options)
    path = tmp_path / "plan.json"
    write_plan(plan, path)
    assert f"{address}/shots.csv?versionId=7" in path.read_text()
    assert "0abc" not in path.read_text() + json.dumps(plan_document(plan))
    assert make_plan(path, overrides=options).hash == plan.hash
    write_plan(replace(plan, source=f"{address}/gone.csv?{SIGNATURE}"), path)
    with pytest.raises(UsageError, match=r"answers 404.*keeps no signature.*run the signed address"):
        make_plan(path, overrides=options)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/gone.csv", "answers 404"),
        ("/to/", "redirects more than 5 times"),
        ("/to/file:///etc/passwd", "only https"),
    ],
)
def test_addresses_that_lead_nowhere(address, path, message):
    """Every ending has its sentence; the query, where signatures stand, is in none."""
    with (
        pytest.raises(UsageError, match=message) as caught,
        fetched(f"{address}{path}?key=x", allow_private=True),
    ):
        pass
    assert "key=x" not in str(caught.value)


def test_size_is_bounded_while_it_is_read(address):
    """A manifest above the bound is cut off where it passes it."""
    with (
        pytest.raises(UsageError, match="larger than 8 bytes"),
        fetched(address, allow_private=True, max_bytes=8),
    ):
        pass


@pytest.mark.parametrize(
    "found", ["127.0.0.1", "10.0.0.8", "169.254.169.254", "::1", "fd00::1", "100.64.0.1", "0.0.0.0"]
)
def test_a_name_that_resolves_inside_the_network_is_refused(monkeypatch, found):
    """It is the resolved address that counts, and one bad answer among good ones is enough."""
    answers = [(0, 0, 0, "", ("93.184.216.34", 443)), (0, 0, 0, "", (found, 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(UsageError, match="inside this network"), fetched("https://example.com/shots.csv"):
        pass


def test_an_object_store_is_read_by_pattern(monkeypatch):
    """Every file that a pattern names in a store is fetched, in the order of their names."""
    monkeypatch.setattr(remote, "STORES", ("memory",))
    store = fsspec.filesystem("memory")
    for name in ("b", "a"):
        store.pipe(f"/nights/{name}.csv", SHOTS)
    with fetched("memory://nights/*.csv") as found:
        assert [each.path.read_bytes() for each in found] == [SHOTS, SHOTS]
        assert [each.path.name for each in found] == ["a.csv", "b.csv"]
    with pytest.raises(UsageError, match="there is no manifest"), fetched("memory://days/*.csv"):
        pass
    missing = "there is no manifest memory://nights/c.csv$"
    with pytest.raises(UsageError, match=missing), fetched("memory://nights/c.csv"):
        pass


@pytest.mark.parametrize(
    ("theirs", "said"), [("b/nights/o/c.csv", ""), ("b/nights/o", ""), ("gone", ": gone")]
)
def test_a_missing_object_is_named_once(monkeypatch, theirs, said):
    """Google's package names it as its API does, which is no news to a person."""
    monkeypatch.setattr(remote, "STORES", ("memory",))
    store = fsspec.filesystem("memory")

    def absent(*_, **__):
        raise FileNotFoundError(theirs)

    monkeypatch.setattr(store, "open", absent)
    missing = f"there is no manifest memory://nights/c.csv{said}$"
    with pytest.raises(UsageError, match=missing), fetched("memory://nights/c.csv"):
        pass
