"""fal's webhooks: what they name, and what they never change."""

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
import uvicorn

from callsheet.cli.commands.receive import receive
from callsheet.engine import reconcile_loop
from callsheet.engine.receiver import receiver_app
from callsheet.engine.request import RunRequest, settings_for
from callsheet.engine.scheduler import in_order, run_jobs
from callsheet.engine.submit import _lost
from callsheet.errors import IllegalTransition, OutcomeUnknown, TurnedUp, UsageError
from callsheet.ledger import (
    Ledger,
    State,
    admission,
    queries,
    recovery,
    settlement,
    transitions,
)
from callsheet.provider.client import FalQueue
from callsheet.provider.webhooks import PublishedKeys, checked
from callsheet.reconciliation.unknown import find_orphans
from callsheet.reconciliation.webhook_address import WebhookAddress, shared_secret
from callsheet.sandbox.webhooks import Signer

pytestmark = pytest.mark.anyio

SENT = "ab" * 32


@contextmanager
def receiving(house):
    """Serve the receiver on a port of this machine, in a thread of its own, and give its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/hooks"
        servers, ready = [], threading.Event()

        async def serve():
            async with house.account() as account:
                app = receiver_app(account, WebhookAddress(url, shared_secret(house.settings)))
                servers.append(uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off")))
                ready.set()
                await servers[0].serve(sockets=[listener])

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        ready.wait(10)
        try:
            yield url
        finally:
            servers[0].should_exit = True
            thread.join()


class Closed(httpx.AsyncBaseTransport):
    """A platform API that nothing can be learnt from: no history, no bills."""

    async def handle_async_request(self, request):
        raise httpx.ConnectError("closed")


async def test_a_lost_reply_is_found_by_the_webhook_alone(house):
    """The run goes on with the request that fal reports, and buys nothing twice, with the history closed."""
    prompt = "A boat that reports itself"
    house.transport = Closed
    with receiving(house) as url:
        house.changes["webhook_url"] = url
        run_id = house.open_run(f"a,{prompt}")
        house.arm("reset")
        async with house.account() as account:
            ctx = house.context(account, run_id)
            await run_jobs(ctx, in_order(account.ledger.do(queries.jobs, run_id)))
            await reconcile_loop.settle_rest(ctx)
    assert house.row(run_id).state is State.SUCCEEDED
    assert len(house.accepted(prompt)) == 1
    assert house.sound()


def sent_job(house, *, unknown: bool) -> int:
    """Open a run whose one POST is under way, or has got no reply. Returns the job's number."""
    run_id = house.open_run(f"a,A boat under way {unknown} {time.monotonic()}")
    with Ledger.open(house.settings.ledger) as ledger:
        (row,) = ledger.do(queries.jobs, run_id)
        ledger.do(admission.admit, row.job_id, slots=10)
        ledger.do(transitions.send, row.job_id, arguments_sha256=SENT, seed=1, start_timeout_s=3600)
        if unknown:
            ledger.do(transitions.lose, row.job_id, why="reset")
    return row.job_id


@pytest.fixture
def signer(tmp_path, monkeypatch):
    """Fal's signing key, which the receiver reads from fal's list."""
    signer = Signer(tmp_path)

    async def keys(_queue):
        return json.dumps(signer.jwks()).encode()

    monkeypatch.setattr(FalQueue, "webhook_keys", keys)
    return signer


def address_of(house) -> WebhookAddress:
    """What the addresses of this ledger's webhooks are made with."""
    return WebhookAddress("http://hooks.test", shared_secret(house.settings))


async def post(house, account, url: str, body: bytes, headers: dict[str, str]) -> int:
    """Send a webhook to the receiver and return its answer's status."""
    transport = httpx.ASGITransport(receiver_app(account, address_of(house)))
    async with httpx.AsyncClient(transport=transport) as client:
        return (await client.post(url, content=body, headers=headers)).status_code


@pytest.mark.parametrize("unknown", [True, False], ids=["unknown", "submitting"])
async def test_a_webhook_names_the_request_once(house, signer, unknown):
    """The id is recorded where the queue confirms it; again it changes nothing. Another one is only noted."""
    job_id = sent_job(house, unknown=unknown)
    mine, other = (house.buy_by_hand({"prompt": f"By hand {unknown} {each}"}) for each in "ab")
    url = address_of(house).of(job_id, 1, SENT)
    async with house.account() as account:
        for request_id in (mine, mine, other):
            body = json.dumps({"request_id": request_id, "status": "OK", "payload": {"cost": 0}}).encode()
            headers = signer.headers(request_id, body, time.time())
            assert await post(house, account, url, body, headers) == 200
        row = account.ledger.do(queries.job, job_id)
        assert (row.state, row.ticket.request_id, row.booked) == (State.IN_QUEUE, mine, False)
        assert account.ledger.do(recovery.orphans, since_ms=0) == [(job_id, 1, other)]
        lost = OutcomeUnknown("no whole reply came")  # the process that waits for the reply learns of it
        ctx = house.context(account, row.run_id)
        assert (await _lost(ctx, job_id, 1, lost)).request_id == mine
        with pytest.raises(IllegalTransition):
            await _lost(ctx, job_id, 2, lost)


@pytest.mark.parametrize("again", [False, True], ids=["last attempt", "earlier attempt"])
@pytest.mark.parametrize("give_up", [settlement.declare_absent, settlement.write_off])
async def test_a_webhook_of_an_attempt_that_was_given_up_is_a_finding(house, signer, caplog, give_up, again):
    """It is never adopted, people are told once, and reconcile names it also with the history closed."""
    job_id = sent_job(house, unknown=True)
    request_id = house.buy_by_hand({"prompt": f"By hand, too late {time.monotonic()}"})
    body = json.dumps({"request_id": request_id, "status": "OK", "payload": {}}).encode()
    url = address_of(house).of(job_id, 1, SENT)
    house.transport = Closed
    async with house.account() as account:
        account.ledger.do(give_up, job_id, why="not in fal's history")
        if again:
            if account.ledger.do(queries.job, job_id).state is State.FAILED:
                account.ledger.do(recovery.retry, [job_id])
            account.ledger.do(admission.admit, job_id, slots=10)
        for _ in range(2):
            headers = signer.headers(request_id, body, time.time())
            assert await post(house, account, url, body, headers) == 200
        assert account.ledger.do(queries.job, job_id).ticket is None
        (found,) = await find_orphans(account)
    assert (found.outcome, found.job_id, found.request_ids) == ("orphan", job_id, (request_id,))
    assert "fal may have billed it" in found.why
    warned = [each for each in caplog.records if each.levelname == "WARNING" and request_id in each.message]
    assert len(warned) == 2


async def test_a_request_that_was_throttled_and_accepted_is_not_sent_again(house, signer, caplog):
    """A gateway answered 429 for a POST that fal had taken; the webhook comes before the next one leaves."""
    job_id = sent_job(house, unknown=False)
    request_id = house.buy_by_hand({"prompt": f"By hand, throttled {time.monotonic()}"})
    body = json.dumps({"request_id": request_id, "status": "OK", "payload": {}}).encode()
    url = address_of(house).of(job_id, 1, SENT)
    async with house.account() as account:
        account.ledger.do(transitions.not_sent, job_id, why="429")
        headers = signer.headers(request_id, body, time.time())
        assert await post(house, account, url, body, headers) == 200
        with pytest.raises(TurnedUp, match=request_id):
            account.ledger.do(admission.refuse_turned_up, job_id)
        assert account.ledger.do(recovery.orphans, since_ms=0) == [(job_id, 1, request_id)]
    (warned,) = [
        each for each in caplog.records if each.levelname == "WARNING" and request_id in each.message
    ]
    assert "whose request was taken for one that was not accepted" in warned.message


@pytest.mark.parametrize("unknown", [True, False], ids=["unknown", "submitting"])
async def test_an_attempt_that_is_given_up_while_fal_is_asked_keeps_its_request(
    house, signer, monkeypatch, unknown
):
    """Its webhook is not lost between the question to the queue and the answer."""
    job_id = sent_job(house, unknown=unknown)
    request_id = house.buy_by_hand({"prompt": f"By hand, given up meanwhile {time.monotonic()}"})
    body = json.dumps({"request_id": request_id, "status": "OK", "payload": {}}).encode()
    async with house.account() as account:

        async def status(_queue, _ticket):
            if unknown:
                await account.do(settlement.write_off, job_id, why="a person said so")
            else:
                await account.do(settlement.refuse, job_id, charged="no")

        monkeypatch.setattr(FalQueue, "status", status)
        headers = signer.headers(request_id, body, time.time())
        assert await post(house, account, address_of(house).of(job_id, 1, SENT), body, headers) == 200
        assert account.ledger.do(recovery.orphans, since_ms=0) == [(job_id, 1, request_id)]


async def test_a_forged_webhook_of_an_attempt_that_was_given_up_is_refused(house, signer):
    """Its address was not made for what the attempt sent: nothing is kept."""
    job_id = sent_job(house, unknown=True)
    request_id = house.buy_by_hand({"prompt": f"By hand, forged {time.monotonic()}"})
    body = json.dumps({"request_id": request_id, "status": "OK", "payload": {}}).encode()
    house.transport = Closed
    async with house.account() as account:
        account.ledger.do(settlement.write_off, job_id, why="a person said so")
        headers = signer.headers(request_id, body, time.time())
        url = address_of(house).of(job_id, 1, "cd" * 32)
        assert await post(house, account, url, body, headers) == 404
        assert await find_orphans(account) == []


async def test_a_webhook_of_an_earlier_attempt_whose_request_is_known_changes_nothing(house, signer):
    """It failed and was bought again: its late webhook is over."""
    job_id = sent_job(house, unknown=True)
    request_id = house.buy_by_hand({"prompt": f"By hand, failed {time.monotonic()}"})
    body = json.dumps({"request_id": request_id, "status": "ERROR", "payload": {}}).encode()
    async with house.account() as account:
        ticket = account.queue.ticket(account.ledger.do(queries.job, job_id).endpoint, request_id)
        account.ledger.do(transitions.find, job_id, ticket)
        account.ledger.do(settlement.fail_render, job_id, charged="no", error_type="render_failed")
        account.ledger.do(recovery.retry, [job_id])
        account.ledger.do(admission.admit, job_id, slots=10)
        headers = signer.headers(request_id, body, time.time())
        assert await post(house, account, address_of(house).of(job_id, 1, SENT), body, headers) == 200
        assert account.ledger.do(recovery.orphans, since_ms=0) == []


FORGED = {
    "another key": (401, lambda ways: ways | {"signed": "other"}),
    "an old time": (401, lambda ways: ways | {"at_s": time.time() - 301}),
    "a time to come": (401, lambda ways: ways | {"at_s": time.time() + 900}),
    "no signature": (401, lambda ways: ways | {"drop": "x-fal-webhook-signature"}),
    "no time": (401, lambda ways: ways | {"drop": "x-fal-webhook-timestamp"}),
    "another body": (401, lambda ways: ways | {"body": b'{"request_id": "another"}'}),
    "a large body": (413, lambda ways: ways | {"body": bytes((1 << 20) + 1)}),
    "another attempt": (404, lambda ways: ways | {"attempt": 2}),
    "another job": (404, lambda ways: ways | {"job": 99}),
    "another ledger": (404, lambda ways: ways | {"sent": "cd" * 32}),
    "no token": (404, lambda ways: ways | {"path": "/"}),
    "a request that fal does not have": (503, lambda ways: ways | {"request": "0" * 32}),
}


@pytest.mark.parametrize("name", FORGED)
async def test_what_is_not_fals_or_not_ours_changes_nothing(house, signer, tmp_path, name):
    """It is refused with its own code, and the job is as unknown as before."""
    status, change = FORGED[name]
    job_id = sent_job(house, unknown=True)
    request_id = house.buy_by_hand({"prompt": f"By hand, {name}"})
    ways = change({"job": job_id, "attempt": 1, "sent": SENT, "request": request_id, "at_s": time.time()})
    (tmp_path / "other").mkdir()
    signed_by = Signer(tmp_path / "other") if "signed" in ways else signer
    body = json.dumps({"request_id": ways["request"], "status": "OK", "payload": {}}).encode()
    headers = signed_by.headers(ways["request"], body, ways["at_s"])
    headers.pop(ways.get("drop"), None)
    url = address_of(house).of(ways["job"], ways["attempt"], ways["sent"])
    async with house.account() as account:
        url = f"http://hooks.test{ways['path']}" if "path" in ways else url
        assert await post(house, account, url, ways.get("body", body), headers) == status
        assert account.ledger.do(queries.job, job_id).state is State.UNKNOWN


async def test_webhooks_that_come_together_wait_for_the_keys(signer):
    """The second one is no forgery because the keys are being read for the first."""

    async def keys() -> bytes:
        await asyncio.sleep(0)
        return json.dumps(signer.jwks()).encode()

    published, request_id = PublishedKeys(keys), "764cabcf-b745-4b3e-ae38-1200304cf45b"
    body = json.dumps({"request_id": request_id}).encode()
    headers = signer.headers(request_id, body, time.time())
    both = (checked(headers, body, published, time.time()) for _ in range(2))
    assert await asyncio.gather(*both) == [request_id] * 2


async def test_fals_keys_are_read_from_fal_and_not_for_every_forgery(house, signer, monkeypatch):
    """A signature that fits no key is refused without asking fal again within a minute."""
    asked = []

    async def keys(_queue):
        asked.append(1)
        return json.dumps(signer.jwks()).encode()

    monkeypatch.setattr(FalQueue, "webhook_keys", keys)
    body = b'{"request_id": "x"}'
    headers = signer.headers("x", body, time.time()) | {"x-fal-webhook-signature": "00" * 64}
    async with house.account() as account:
        app = receiver_app(account, address_of(house))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            for _ in range(3):
                assert (
                    await client.post("http://hooks.test/a", content=body, headers=headers)
                ).status_code == 401
    assert len(asked) == 1


NOT_CALLED = ["http://hooks.example/a", "https://127.0.0.1/a", "https://hooks.example/a?b=c"]


@pytest.mark.parametrize("url", [*NOT_CALLED, "hooks.example/a"])
def test_the_receiver_does_not_start_for_an_address_that_fal_does_not_call(url, monkeypatch):
    """It would wait in vain, and say to the person that all is well."""
    monkeypatch.setenv("FAL_KEY", "id:secret")
    with pytest.raises(UsageError, match="public https:// addresses only"):
        receive(port=0, public_url=url)


@pytest.mark.parametrize("url", NOT_CALLED)
def test_an_address_that_fal_does_not_call_is_refused_before_a_run(url, monkeypatch):
    """Fal would refuse every submit for it, or never call it."""
    monkeypatch.setenv("FAL_KEY", "id:secret")
    monkeypatch.setenv("CALLSHEET_WEBHOOK_URL", url)
    with pytest.raises(UsageError, match="public https:// addresses only"):
        settings_for(RunRequest())
    monkeypatch.setenv("CALLSHEET_WEBHOOK_URL", "https://hooks.example/a/")
    assert settings_for(RunRequest()).webhook_url == "https://hooks.example/a"


def test_the_secret_is_kept_and_shared(house):
    """It is made once, for its owner alone, and is never shown."""
    first, again = shared_secret(house.settings), shared_secret(house.settings)
    assert first == again
    assert len(first.reveal()) == 64
    assert (house.folder / "receive.secret").stat().st_mode & 0o777 == 0o600
    assert first.reveal() not in repr(address_of(house))
    (house.folder / "receive.secret").write_text("")
    with pytest.raises(UsageError, match="secret is shorter than 16 characters"):
        shared_secret(house.settings)
