"""Caps as arithmetic: what fits, what does not, and what to take when not everything does.

Pure and in whole nano-dollars. What has been spent is the ledger's to know; here it comes in as `room`: for
each cap, what is left of it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Scope = Literal["run", "retakes", "campaign", "client", "campaign_client", "model", "ledger"]
Window = Literal["total", "day", "month"]

Room = Mapping["Cap", int]
"""What is left of each cap, in nano-dollars; below 0 where more was spent than the cap now allows."""


@dataclass(frozen=True, slots=True)
class Cap:
    """A limit on what may be spent.

    `key` says whose: the campaign's name, the client's (`client_key`), `campaign/client`
    (`campaign_client_key`), the model's alias; "" for the run that is being planned and for the whole ledger.
    `name` is the key as a person typed it, for messages. A day or a month is a calendar one, in UTC.
    """

    scope: Scope
    key: str
    window: Window
    limit_nano: int
    name: str = field(default="", compare=False)

    @property
    def label(self) -> str:
        """The cap in words, for messages."""
        whose = scope_label(self.scope, self.name or self.key)
        return whose if self.window == "total" else f"{whose}, per {self.window}"


@dataclass(frozen=True, slots=True)
class Spend:
    """What budgets need to know of one job.

    `maximum_nano` is what is held for it; 0 or more. `waiting_since_ms` is when it was first left out because
    it did not fit (Unix ms), None where it never was.
    """

    campaign: str
    client: str
    model: str
    priority: int
    maximum_nano: int
    waiting_since_ms: int | None = None

    @property
    def turn(self) -> tuple[int, bool, int]:
        """What it is chosen by: the higher priority first, then what has waited longest."""
        return (-self.priority, self.waiting_since_ms is None, self.waiting_since_ms or 0)


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A cap that would be passed: what is needed in it and what is left of it, in nano-dollars."""

    cap: Cap
    needed_nano: int
    left_nano: int


@dataclass(frozen=True, slots=True)
class Choice:
    """Which jobs to take, as positions in the given order, and what the others would cost at most."""

    taken: tuple[int, ...]
    left: tuple[int, ...]
    left_maximum_nano: int


def counts_in(spend: Spend, cap: Cap) -> bool:
    """Whether a job's cost counts in a cap."""
    match cap.scope:
        case "run" | "ledger":
            return True
        case "retakes":  # what a plan orders is no retake
            return False
        case "campaign":
            return cap.key == spend.campaign
        case "client":
            return bool(spend.client) and cap.key == client_key(spend.client)
        case "campaign_client":
            return bool(spend.client) and cap.key == campaign_client_key(spend.campaign, spend.client)
        case "model":
            return cap.key == spend.model


def client_key(client: str) -> str:
    """Return the name that a client's money is counted under, however it is typed.

    Case, Unicode composition (NFC) and white space do not matter; letters that only look alike stay apart.
    """
    composed = unicodedata.normalize("NFC", client)
    # Casefolding can decompose (U+0390); composing again gives equal keys to equal names.
    return " ".join(unicodedata.normalize("NFC", composed.casefold()).split())


def first_spellings(clients: Iterable[str]) -> dict[str, str]:
    """Return for every spelling of a client the one that comes first, which is the one to show."""
    first: dict[str, str] = {}
    return {client: first.setdefault(client_key(client), client) for client in clients}


def campaign_client_key(campaign: str, client: str) -> str:
    """Name a client within a campaign: `spring/acme`. A slash in the campaign's own name is written %2F."""
    return f"{campaign.replace('%', '%25').replace('/', '%2F')}/{client_key(client)}"


def campaign_and_client(key: str) -> tuple[str, str]:
    """Return the campaign and the client that a key of `campaign_client_key` names."""
    campaign, _, client = key.partition("/")
    return campaign.replace("%2F", "/").replace("%25", "%"), client


def scope_label(scope: Scope, key: str) -> str:
    """Name what a cap or an account is for: `campaign spring`, `client acme in campaign spring`, `ledger`."""
    if scope == "campaign_client":
        campaign, client = campaign_and_client(key)
        return f"client {client} in campaign {campaign}"
    if scope == "retakes":
        return f"retakes of run {key}" if key else "retakes"
    return f"{scope} {key}".rstrip()


def full_room(caps: Iterable[Cap]) -> dict[Cap, int]:
    """Return the room of caps in which nothing has been spent or held."""
    return {cap: cap.limit_nano for cap in caps}


def shortfalls(spends: Iterable[Spend], room: Room) -> list[Shortfall]:
    """Return every cap that all the jobs together would pass; empty when everything fits."""
    needed = dict.fromkeys(room, 0)
    for spend in spends:
        for cap in room:
            if counts_in(spend, cap):
                needed[cap] += spend.maximum_nano
    # A cap that none of the jobs counts in cannot be in their way, even when it is already passed.
    return [Shortfall(cap, needed[cap], room[cap]) for cap in room if needed[cap] > max(room[cap], 0)]


def choose(spends: Iterable[Spend], room: Room) -> Choice:
    """Take each job that still fits every cap, in this order: by priority, by waiting time, as given.

    The choice is greedy on purpose: a lower priority never pushes out a higher one, although a small job may
    still fit after a large one did not. It does not try to fill the caps to the last cent.
    """
    jobs = list(spends)
    left_nano = dict(room)
    taken = []
    concerns: dict[tuple[str, str, str], list[Cap]] = {}
    for position in sorted(range(len(jobs)), key=lambda at: jobs[at].turn):
        job = jobs[position]
        whose = (job.campaign, job.client, job.model)
        if whose not in concerns:
            concerns[whose] = [cap for cap in room if counts_in(job, cap)]
        concerned = concerns[whose]
        if all(job.maximum_nano <= left_nano[cap] for cap in concerned):
            for cap in concerned:
                left_nano[cap] -= job.maximum_nano
            taken.append(position)
    chosen = frozenset(taken)
    left = tuple(position for position in range(len(jobs)) if position not in chosen)
    return Choice(tuple(sorted(taken)), left, sum(jobs[position].maximum_nano for position in left))
