"""Sends messages to people and programs, whose addresses hold secrets and are never shown.

Whoever does not answer within seconds costs a notice, and never a run.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import httpx

from callsheet.notify.message import Message
from callsheet.settings import Secret
from manifests.addresses import REFERENCE, is_reference, is_webhook

SEND_S = 8.0
"""How long sending one message may take, in seconds."""

TRIES = 3
PAUSES_S = (0.5, 1.5)
REPLY_S = 2.0
"""A webhook is tried so often, with these pauses, and each try waits so long for its reply, in seconds."""


@dataclass(frozen=True, slots=True)
class Target:
    """One address. `name` is what messages call it: its kind, and where it comes from."""

    name: str
    url: Secret


@dataclass(frozen=True, slots=True)
class Targets:
    """Everybody who is told. `missing` says in words what is configured and cannot be used."""

    apprise: tuple[Target, ...] = ()
    webhook: Target | None = None
    webhook_secret: Secret | None = None
    missing: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.apprise or self.webhook)


def targets_of(
    urls: Iterable[str], webhook: str, webhook_secret: Secret | None, environ: Mapping[str, str]
) -> Targets:
    """Return the targets of these addresses, with `env:NAME` replaced by what the environment holds."""
    missing: list[str] = []
    apprise = [each for url in urls if (each := _resolved(url, environ, missing)) is not None]
    hook = _resolved(webhook, environ, missing) if webhook else None
    if hook is not None and not is_webhook(hook.url.reveal()):
        missing.append("the webhook is no https:// address")
        hook = None
    if hook is not None and webhook_secret is None:
        missing.append("the webhook needs CALLSHEET_WEBHOOK_SECRET, with which its messages are signed")
        hook = None
    return Targets(tuple(apprise), hook, webhook_secret, tuple(missing))


def _resolved(url: str, environ: Mapping[str, str], missing: list[str]) -> Target | None:
    if not is_reference(url):
        return Target(_kind_of(url), Secret(url))
    value = environ.get(url.removeprefix(REFERENCE), "").strip()
    if not value:
        missing.append(f"{url} names an environment variable that is not set here")
        return None
    return Target(f"{_kind_of(value)} ({url})", Secret(value))


def _kind_of(address: str) -> str:
    """Return what comes before `://`. Anything else may be a secret that was set without it."""
    kind, found, _ = address.partition("://")
    return kind[:30] if found else "no address"


@dataclass(slots=True)
class Announcer:
    """Who is told about a run, what was told already, and what is being sent.

    `targets` are None until they are looked up. `listeners` get every message at once; they must be quick.
    `problems` are the targets that did not take a message, each with the reason, once.
    """

    targets: Targets | None = None
    listeners: list[Callable[[Message], None]] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    problems: dict[str, str] = field(default_factory=dict)
    _sending: set[asyncio.Future[None]] = field(default_factory=set)

    def publish(self, message: Message) -> None:
        """Tell the listeners, and begin to send it to people."""
        for listener in self.listeners:
            with suppress(Exception):  # whoever listens, the run goes on
                listener(message)
        if message.to_people and self.targets:
            sending: asyncio.Future[None] = asyncio.ensure_future(self._send(message))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)

    async def _send(self, message: Message) -> None:
        assert self.targets is not None
        for name, why in (await deliver(self.targets, message)).items():
            if why:
                self.problems.setdefault(name, why)

    async def sent(self) -> None:
        """Wait until everything is sent, at most some seconds."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=SEND_S)


async def deliver(targets: Targets, message: Message, *, within_s: float = SEND_S) -> dict[str, str]:
    """Send a message to everybody at once. Returns, by target, why it was not sent, "" where it was."""
    loop = asyncio.get_running_loop()
    sending: dict[str, asyncio.Future[str]] = {}
    for number, (target, send) in enumerate(_senders(targets, message), 1):
        answer: asyncio.Future[str] = loop.create_future()
        sending[f"{number} {target.name}"] = answer
        # A daemon: a library that hangs in a socket must not keep the process from ending.
        threading.Thread(target=_answered, args=(loop, answer, send), daemon=True).start()
    if sending:
        await asyncio.wait(sending.values(), timeout=within_s)
    late = f"no answer within {within_s:.0f} s"
    return {name: answer.result() if answer.done() else late for name, answer in sending.items()}


def _senders(targets: Targets, message: Message) -> list[tuple[Target, Callable[[], str]]]:
    found: list[tuple[Target, Callable[[], str]]] = [
        (target, lambda url=target.url: by_apprise(url, message))  # type: ignore[misc]
        for target in targets.apprise
    ]
    hook, secret = targets.webhook, targets.webhook_secret
    if hook is not None and secret is not None:
        found.append((Target("webhook", hook.url), lambda: by_webhook(hook.url, secret, message)))
    return found


def _answered(loop: asyncio.AbstractEventLoop, answer: asyncio.Future[str], send: Callable[[], str]) -> None:
    try:
        said = send()
    except Exception as error:  # noqa: BLE001 -- of any library; its text may hold the address
        said = type(error).__name__
    with suppress(RuntimeError):  # the run has ended meanwhile
        loop.call_soon_threadsafe(_set, answer, said)


def _set(answer: asyncio.Future[str], said: str) -> None:
    if not answer.done():
        answer.set_result(said)


def by_apprise(url: Secret, message: Message) -> str:
    """Send through Apprise. Returns why not, "" where it was sent."""
    _quiet_logs()
    import apprise  # noqa: PLC0415 -- 0.1 s

    asset = apprise.AppriseAsset(app_id="Callsheet", async_mode=False, secure_logging=True)
    one = apprise.Apprise(asset=asset)
    if not one.add(url.reveal()):
        return "Apprise does not know this kind of address"
    sent = one.notify(title=message.title, body=message.text, body_format=apprise.NotifyFormat.TEXT)
    return "" if sent else "Apprise could not send it"


def by_webhook(url: Secret, secret: Secret, message: Message) -> str:
    """POST a signed JSON document. Returns why not, "" where it was accepted.

    A refusal (4xx other than 408 and 429) is not tried again. Every try has the same id, by which a receiver
    knows a repetition.
    """
    _quiet_logs()
    body = webhook_body(message)
    why = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(PAUSES_S[attempt - 1])
        try:
            reply = httpx.post(
                url.reveal(),
                content=body,
                headers=webhook_headers(message, body, secret, int(time.time())),
                timeout=REPLY_S,
                follow_redirects=False,
            )
        except httpx.HTTPError as error:
            why = type(error).__name__
            continue
        if reply.is_success:
            return ""
        why = f"it answered {reply.status_code}"
        if reply.status_code < 500 and reply.status_code not in (408, 429):
            break
    return why


def _quiet_logs() -> None:
    """Keep the libraries that send from writing addresses into a log."""
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    for name in ("urllib3", "requests", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)


def webhook_body(message: Message) -> bytes:
    """Return the document that is sent and signed."""
    document = {"event": message.event, "title": message.title, "text": message.text, **message.facts}
    return json.dumps(document, ensure_ascii=False).encode()


def webhook_headers(message: Message, body: bytes, secret: Secret, at_s: int) -> dict[str, str]:
    """Return the headers: the signature is HMAC-SHA256 over `timestamp.body`, in hex. `at_s` is Unix time."""
    signed = f"{at_s}.".encode() + body
    signature = hmac.new(secret.reveal().encode(), signed, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "Callsheet-Event": message.event,
        "Callsheet-Id": hashlib.sha256(message.key.encode()).hexdigest()[:32],
        "Callsheet-Timestamp": str(at_s),
        "Callsheet-Signature": f"sha256={signature}",
    }
