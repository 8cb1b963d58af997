"""Who works on what: claims of runs, the locks and leases behind them, and fencing tokens.

A claim says who may work on a run, or on one part of it.

- SQLite: the claim is a lock on a file beside the ledger (`sqlite.FileLocks`), which the kernel drops with
  its process.
- PostgreSQL: the claim is a lease, a row with an end by the database's clock, which the owner extends every
  RENEW_S seconds from a thread. A dead owner is known after LEASE_S seconds; on the same machine at once,
  because its process is gone. There is no lock that belongs to a session, so a server may restart or fail
  over, and pgbouncer may hand each transaction to another session.

A lock cannot tell a suspended process that it was lost; a fencing token can. Each claim raises a number in
the ledger that only grows, in the transaction that takes the run over, and every write checks, in its own
transaction, that its number is still the last one. A process that was away stays the owner until another one
claims the run: a purchase extends an expired lease that was not taken over.

LEASE_S is longer than the time within which a POST may leave after its intent (15 s, `provider.client`). A
POST that is still under way after a takeover is safe as well: `recovery.recover` makes it `unknown`, never
`pending`, and its reply is stored in any case (`transitions.accept` is not fenced).

After an outage
    Every verb raises LedgerUnavailable while the server cannot be reached. The owner of runs then stops
    admitting and calls `Ledger.renew()` with pauses: it raises LedgerUnavailable until the server is back,
    ClaimLost where another process has taken a run over meanwhile, and returns once every claim holds
    again. A verb that raised LedgerUnavailable may have been committed: read the job before doing it again.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, bindparam, select
from sqlalchemy.exc import SQLAlchemyError

from callsheet.errors import Busy, ClaimLost
from callsheet.ledger import postgres, schema
from callsheet.ledger.sqlite import boot_id
from callsheet.ledger.transaction import Transaction, chunks
from callsheet.wording import command

LEASE_S: Final = 25
RENEW_S: Final = 5
"""How long a lease lasts, and how often its owner extends it, in seconds."""

WHOLE = ""
"""The part that means all of a run."""

_claim = schema.claim
_of_runs = select(_claim).where(_claim.c.run_id.in_(bindparam("runs", expanding=True)))
_extend = (
    _claim.update()
    .where(
        _claim.c.run_id == bindparam("is_run"),
        _claim.c.part == bindparam("is_part"),
        _claim.c.owner == bindparam("is_owner"),
        _claim.c.fencing_token == bindparam("is_token"),
        _claim.c.expires_ms > 0,  # one that was given back stays so, whatever the renewing thread still holds
    )
    .values(expires_ms=bindparam("to_expires"))
)


@dataclass(frozen=True, slots=True)
class Process:
    """A process as messages name it; `identity` also tells a later process with the same number from it."""

    host: str
    pid: int
    identity: str

    @classmethod
    def this(cls) -> Process:
        """Return this process. The identity is empty where the system does not tell enough."""
        return cls(socket.gethostname(), os.getpid(), _identity(os.getpid()))

    @property
    def is_gone(self) -> bool:
        """Whether it certainly ended: it ran on this machine, and is not there any more."""
        here = _machine()
        return bool(here) and self.identity.startswith(f"{here} ") and _identity(self.pid) != self.identity


def _machine() -> str:
    """Name this boot of this machine and this space of process numbers; empty where /proc does not."""
    with suppress(OSError):
        space = Path("/proc/self/ns/pid").readlink()
        if boot := boot_id():
            return f"{boot} {space}"
    return ""


def _identity(pid: int) -> str:
    with suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        state, *fields = stat[stat.rindex(")") + 2 :].split()
        if state not in "ZX":  # one that has ended and was not waited for
            return f"{_machine()} {pid} {fields[18]}"  # 22nd of the line: when it started (proc_pid_stat(5))
    return ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A run, or a part of it, with the fencing tokens that must not have changed since it was claimed.

    The owner of a whole run checks every token of the run, the owner of a part its own and the whole's.
    """

    run_id: str
    part: str
    tokens: Mapping[str, int]

    def holds(self, now: Mapping[str, int]) -> bool:
        """Say whether this was not claimed since, by the tokens in the ledger."""
        if self.part == WHOLE:  # a part that nobody has claimed so far has the token 0
            return {part: each for part, each in now.items() if each} == {
                part: each for part, each in self.tokens.items() if each
            }
        return all(now.get(part, 0) == self.tokens.get(part, 0) for part in (WHOLE, self.part))


class Claims:
    """The claims that an open ledger holds, which its writes check.

    On a `server` they are leases, which a thread extends while there are any. `in_sandbox` says that it is
    the sandbox's own ledger.
    """

    def __init__(self, server: Engine | None = None, *, in_sandbox: bool = False) -> None:
        self._server = server
        self._in_sandbox = in_sandbox
        self._owner = secrets.token_hex(8)
        self._process = Process.this()
        self._guard = threading.Lock()
        self._claims: tuple[Claim, ...] = ()
        self._over = threading.Event()

    @property
    def leased(self) -> bool:
        """Whether they are leases."""
        return self._server is not None

    @property
    def held(self) -> tuple[Claim, ...]:
        """What is claimed; another tuple as soon as that changes."""
        return self._claims

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[None]:
        """Let every write check this claim while entered, and extend it where it is a lease."""
        try:
            with self._guard:
                self._claims = (*self._claims, claim)
                if self._server is not None and len(self._claims) == 1:
                    self._over = threading.Event()
                    renewing = (self._server, self._over)
                    threading.Thread(target=self._renew, args=renewing, name="leases", daemon=True).start()
            yield
        finally:
            with self._guard:
                self._claims = tuple(each for each in self._claims if each is not claim)
                if not self._claims:
                    self._over.set()

    def _renew(self, server: Engine, over: threading.Event) -> None:
        while not over.wait(RENEW_S):
            # A server that is away is asked again; a claim that is lost is found out by the next write.
            with suppress(SQLAlchemyError, OSError, ClaimLost), server.connect() as connected:
                self.extend(connected.execution_options(isolation_level="AUTOCOMMIT"))
                if over.is_set():  # the ledger may be closed by now; its pool would keep the connection open
                    connected.invalidate()

    def check(self, connection: Connection) -> None:
        """Raise ClaimLost, and the transaction then changes nothing, if a run was taken over."""
        claims = self._claims
        if not claims:
            return
        rows = claims_of(connection, {claim.run_id for claim in claims})
        for claim in claims:
            if not claim.holds({row.part: row.fencing_token for row in rows[claim.run_id]}):
                raise _lost(claim, in_sandbox=self._in_sandbox)

    def take(self, connection: Connection, run_id: str, part: str, now_ms: int) -> Claim:
        """Record that a run, or a part of it, has a new owner, and raise its fencing token.

        Raises Busy if a living process has a lease on it. Without leases the caller holds its lock.
        """
        rows = claims_of(connection, {run_id})[run_id]
        if self.leased:
            for row in rows:
                if (WHOLE in (part, row.part) or part == row.part) and is_alive(row, now_ms):
                    raise Busy(busy_message(run_id, part, row))
        tokens = {row.part: row.fencing_token for row in rows}
        token = tokens.get(part, 0) + 1
        values = {
            "fencing_token": token,
            "owner": self._owner,
            "host": self._process.host,
            "pid": self._process.pid,
            "process": self._process.identity,
            "claimed_ms": now_ms,
            "expires_ms": now_ms + LEASE_S * 1000 if self.leased else None,
        }
        if part in tokens:
            mine = (_claim.c.run_id == run_id, _claim.c.part == part)
            connection.execute(_claim.update().where(*mine).values(values))
        else:
            connection.execute(_claim.insert(), {"run_id": run_id, "part": part, **values})
        return Claim(run_id, part, {**tokens, part: token})

    def extend(self, connection: Connection) -> None:
        """Extend every lease; raise ClaimLost, once that is done, if one of them was taken over."""
        if self.leased and self._claims:
            expires_ms = postgres.now_ms(connection) + LEASE_S * 1000
            lost = [claim for claim in self._claims if not self._set_end(connection, claim, expires_ms)]
            if lost:
                raise _lost(lost[0], in_sandbox=self._in_sandbox)

    def give_back(self, connection: Connection, claim: Claim) -> None:
        """End a lease, if it is still ours."""
        self._set_end(connection, claim, 0)

    def _set_end(self, connection: Connection, claim: Claim, expires_ms: int) -> bool:
        values = {
            "is_run": claim.run_id,
            "is_part": claim.part,
            "is_owner": self._owner,
            "is_token": claim.tokens[claim.part],
            "to_expires": expires_ms,
        }
        return connection.execute(_extend, values).rowcount == 1


def is_alive(row: Row[Any], now_ms: int) -> bool:
    """Whether a lease, a row of `claim`, has not ended, as far as can be known."""
    in_force = row.expires_ms is not None and row.expires_ms > now_ms
    return in_force and not Process(row.host, row.pid, row.process).is_gone


def is_reserved(row: Row[Any], now_ms: int) -> bool:
    """Whether a part, a row of `claim`, is kept for a process that is being started."""
    return row.reserved_until_ms is not None and row.reserved_until_ms > now_ms


def busy_message(run_id: str, part: str, row: Row[Any] | None) -> str:
    """Say that a run has an owner, and which where that is known."""
    what = f"part {part} of run {run_id}" if part else f"run {run_id}"
    who = f" ({row.host}, process {row.pid})" if row is not None else ""
    return f"{what} is being worked on by another process{who}; wait for it or stop it first"


def _lost(claim: Claim, *, in_sandbox: bool) -> ClaimLost:
    status = command("status", claim.run_id, sandbox=in_sandbox)
    return ClaimLost(
        f"run {claim.run_id} was taken over by another process while this one stood still; "
        f"nothing more is done for it here. `{status}` shows how far it is"
    )


def is_owned(tx: Transaction, run_id: str, part: str, claims: Iterable[Row[Any]]) -> bool:
    """Whether a living process owns a part of a run; any, where `part` is empty. `claims` are those rows."""
    if tx.locks is not None:
        return not tx.locks.is_free(run_id, part)
    return any(is_alive(claim, tx.lease_ms) for claim in claims)


def claims_of(connection: Connection, run_ids: Collection[str]) -> dict[str, list[Row[Any]]]:
    """Return by run the rows of its claims, one for each part that was ever claimed."""
    found: dict[str, list[Row[Any]]] = {run_id: [] for run_id in run_ids}
    for piece in chunks(run_ids):
        for row in connection.execute(_of_runs, {"runs": piece}):
            found[row.run_id].append(row)
    return found
