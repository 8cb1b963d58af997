"""Runs on the sandbox that tell a real HTTP server, through Apprise and as a signed webhook."""

import hashlib
import hmac
import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from callsheet.cli.main import run_command
from callsheet.engine.announce import refusals_told
from callsheet.engine.request import RunRequest
from callsheet.engine.run import carry_out, opened
from callsheet.errors import ManifestError
from callsheet.notify.message import trial
from callsheet.notify.sending import by_apprise, by_webhook
from callsheet.settings import Secret

pytestmark = [
    pytest.mark.anyio,
    # One of Apprise's many services imports a module that Python 3.13 has no more.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

TOKEN = "T0KEN-canary"
SHARED = "shared-canary"
HEADER = "custom_id,prompt,model,resolution,num_frames\n"


@dataclass
class Receiver:
    """What a server was sent; `statuses` are its next answers, 200 after that."""

    port: int = 0
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def at(self, path: str) -> list[dict]:
        """The documents that were posted to a path."""
        return [json.loads(body) for where, _, body in self.got if where == path]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A server on this machine that takes messages."""
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.got.append((self.path, dict(self.headers), body))
            self.send_response(made.statuses.pop(0) if made.statuses else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def place(house, monkeypatch):
    """A house whose sandbox the environment names."""
    for name in ("QUEUE_URL", "REST_URL", "CDN_URL"):
        monkeypatch.setenv(f"CALLSHEET_{name}", house.address.url)
    monkeypatch.setenv("CALLSHEET_PLATFORM_URL", f"{house.address.url}/v1")
    monkeypatch.setenv("CALLSHEET_LEDGER_URL", house.settings.ledger)
    monkeypatch.setenv("FAL_KEY", house.address.key)
    return house


def campaign(house, notify: str, *, total_usd: str = "10", rows: int = 1) -> str:
    """Write a campaign of tiny clips, and return its file."""
    lines = [f"c{each},Told {house.folder.name} {each},seedance-1.0-lite,480p,29\n" for each in range(rows)]
    (house.folder / "shots.csv").write_text(HEADER + "".join(lines))
    file = house.folder / "told.toml"
    file.write_text(
        '[campaign]\nname = "told"\nmanifest = "shots.csv"\n'
        f"[budget]\ntotal_usd = {total_usd}\n[notify]\n{notify}\n"
    )
    return str(file)


async def carried_out(request: RunRequest) -> dict:
    """Open a run as a flow does and carry it out. Returns its summary, with what was noticed at the end."""
    async with opened(request) as ctx:
        summary = await carry_out(ctx)
    return {**summary, "remarks": list(ctx.state.notices)}


async def test_a_run_tells_its_end_and_its_caps_once(place, receiver, monkeypatch):
    """By Apprise and by webhook, signed; taken up again it tells nothing new. The token is nowhere."""
    monkeypatch.setenv("TEAM_CHAT", f"json://user:{TOKEN}@127.0.0.1:{receiver.port}/chat")
    monkeypatch.setenv("CALLSHEET_WEBHOOK_SECRET", SHARED)
    notify = f'urls = ["env:TEAM_CHAT"]\nwebhook = "http://127.0.0.1:{receiver.port}/hook"'
    source = campaign(place, notify, total_usd="0.025")
    summary = await carried_out(RunRequest(source=source))
    titles = sorted(each["title"] for each in receiver.at("/chat"))
    assert titles == ["told finished: 1 succeeded", "told: 80 % of the cap of campaign told"]
    hooked = {each["event"]: each for each in receiver.at("/hook")}
    assert set(hooked) == {"budget.80", "run.finished"}
    assert hooked["run.finished"]["actual_usd"] == summary["actual_usd"]
    for where, headers, body in receiver.got:
        if where == "/hook":
            signed = headers["Callsheet-Timestamp"].encode() + b"." + body
            expected = hmac.new(SHARED.encode(), signed, hashlib.sha256).hexdigest()
            assert headers["Callsheet-Signature"] == f"sha256={expected}"
    receiver.got.clear()
    await carried_out(RunRequest(source=source, run_id=summary["run_id"]))
    assert receiver.got == []
    kept = [path for path in place.folder.rglob("*") if path.is_file() and path.suffix != ".toml"]
    assert [path for path in kept if TOKEN.encode() in path.read_bytes()] == []


async def test_a_cap_that_ends_a_run_is_told_as_reached(place, receiver, monkeypatch):
    """A cap that another process uses up meanwhile is 100 %, also where some cents are left."""
    monkeypatch.setenv("CALLSHEET_NOTIFY_URLS", f"json://127.0.0.1:{receiver.port}/chat")
    source = campaign(place, "", rows=2)
    async with opened(RunRequest(source=source)) as ctx:
        assert run_command(["budget", "set", "campaign:told", "0.03"]) == 0
        await carry_out(ctx)
    told = {each["title"].partition(":")[2].strip(): each["message"] for each in receiver.at("/chat")}
    assert "100 % of the cap of campaign told" in told
    assert any("over budget" in each for each in told.values())


async def test_a_dead_notifier_costs_a_notice_and_nothing_else(place, receiver, monkeypatch, capfd):
    """The run ends as it would; the notice names the kind of target and not its address."""
    monkeypatch.setenv("TEAM_CHAT", f"json://user:{TOKEN}@127.0.0.1:9/chat")
    summary = await carried_out(RunRequest(source=campaign(place, 'urls = ["env:TEAM_CHAT", "env:NOBODY"]')))
    assert summary["exit_code"] == 0
    told = [each for each in summary["remarks"] if "notification" in each]
    assert told == [
        "notifications: env:NOBODY names an environment variable that is not set here",
        "notification 1 json (env:TEAM_CHAT) was not sent: Apprise could not send it",
    ]
    assert TOKEN not in "".join(capfd.readouterr())


@pytest.mark.parametrize(("statuses", "tries", "said"), [([503, 200], 2, ""), ([400], 1, "it answered 400")])
def test_a_webhook_is_tried_again_with_the_same_id_and_not_after_a_refusal(receiver, statuses, tries, said):
    """A receiver knows a repetition by its id."""
    receiver.statuses = statuses
    assert (
        by_webhook(Secret(f"http://127.0.0.1:{receiver.port}/hook"), Secret(SHARED), trial(at_ms=1)) == said
    )
    assert len(receiver.got) == tries
    assert len({headers["Callsheet-Id"] for _, headers, _ in receiver.got}) == 1


async def test_a_night_that_cannot_start_is_told(place, receiver, monkeypatch):
    """A bad row at two in the morning reaches a person; the error goes on to Prefect."""
    monkeypatch.setenv("CALLSHEET_NOTIFY_URLS", f"json://127.0.0.1:{receiver.port}/chat")
    source = campaign(place, "")
    (place.folder / "shots.csv").write_text(HEADER + "a,A boat,no-such-model,480p,29\n")
    request = RunRequest(source=source)
    with pytest.raises(ManifestError):
        async with refusals_told(request), opened(request):
            pass
    (told,) = receiver.at("/chat")
    assert told["title"] == "told did not run"
    assert "row 2, column model: found no-such-model" in told["message"]


def test_notify_tries_every_target_and_shows_no_address(place, receiver, capfd):
    """`--test` says of each whether it took the message; exit code 1 where one did not."""
    notify = f'urls = ["json://user:{TOKEN}@127.0.0.1:{receiver.port}/chat"]'
    assert run_command(["notify", "--test", campaign(place, notify)]) == 0
    assert [each["title"] for each in receiver.at("/chat")] == ["Callsheet"]
    assert run_command(["notify", "--test", campaign(place, f'urls = ["nosuch://{TOKEN}"]')]) == 1
    assert run_command(["notify", campaign(place, "")]) == 2
    shown = "".join(capfd.readouterr())
    assert "1 json" in shown
    assert "Apprise does not know this kind of address" in shown
    assert TOKEN not in shown


def test_no_log_names_an_address_that_is_told(receiver, caplog):
    """The libraries that send would write it at their lowest level; a program may have that switched on."""
    caplog.set_level(logging.DEBUG)
    base = f"127.0.0.1:{receiver.port}/{TOKEN}"
    assert by_apprise(Secret(f"json://{base}"), trial(at_ms=1)) == ""
    assert by_webhook(Secret(f"http://{base}"), Secret("x" * 32), trial(at_ms=1)) == ""
    assert len(receiver.at(f"/{TOKEN}")) == 2
    assert TOKEN not in caplog.text
