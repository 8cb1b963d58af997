"""Passes messages on while a run goes on: to people in the background, to Prefect at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from callsheet.notify.message import Message
from callsheet.notify.sending import SEND_S, deliver
from callsheet.notify.targets import Targets


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
