"""What outlives the process: requests and settings in SQLite.

A kill at any instant leaves a readable state: SQLite's WAL holds each acknowledged record.
"""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NORMAL, LOW = "normal", "low"


def now() -> float:
    """Unix seconds to the microsecond, as ISO times carry them: a time reads back as the same number."""
    return round(time.time(), 6)


PAYLOADS_KEPT_S = 30 * 86_400.0
RESULT_KEPT_S, LARGE_KEPT_S, LARGE_RESULT = 3600.0, 360.0, 10_000
"""Results are kept for 30 days. With X-Fal-Store-IO: 0 for an hour, or six minutes from 10 kB
(https://fal.ai/docs, queue result)."""


@dataclass(slots=True)
class Record:
    """One accepted request. Times are Unix seconds by the wall clock, and so the same after a restart.

    `number` counts from 1 in order of acceptance. `units` is the exact decimal text of the units billed,
    empty while unknown; `unit_price_nano` is a fraction as text. `cost_nano` is what was billed, in
    nano-dollars: 0 until it completed, and 0 for what failed. `result` is the body of the result call, whose
    status is `status_code`. `fault` is the render fault that strikes it. `app` is owner and app of the id
    that was called, `key_id` the key's name, `lifecycle` the expiry and access asked for the output. A
    `direct` call takes a slot at once or fails; `start_by` bounds the wait for one. `deleted_at` is when the
    payloads were deleted. `webhook_left` is how often the webhook may yet be tried.
    """

    id: str
    endpoint: str
    arguments: dict[str, Any]
    base_url: str
    submitted_at: float
    seed: int
    number: int = 0
    priority: str = NORMAL
    keep_payloads: bool = True
    start_by: float | None = None
    started_at: float | None = None
    ready_at: float | None = None
    completed_at: float | None = None
    width_px: int = 0
    height_px: int = 0
    status_code: int = 0
    result: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    error_type: str | None = None
    units: str = ""
    unit_price_nano: str = ""
    cost_nano: int = 0
    file: str = ""
    bytes: int = 0
    sha256: str = ""
    app: str = ""
    key_id: str = ""
    direct: bool = False
    lifecycle: dict[str, Any] | None = None
    fault: dict[str, Any] = field(default_factory=dict)
    deleted_at: float | None = None
    webhook: str = ""
    webhook_left: int = 0

    @property
    def urls(self) -> dict[str, str]:
        """The addresses of the reply of a submit."""
        app = self.app or "/".join(self.endpoint.split("/")[:2])
        base = f"{self.base_url}/{app}/requests/{self.id}"
        return {"response_url": base, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel"}

    @property
    def draft_id(self) -> str:
        """What completes this request's draft; it says nothing about the request."""
        return f"draft-{self.id.replace('-', '')}"

    @property
    def status(self) -> str:
        """The word of fal for where the request is."""
        if self.completed_at is not None:
            return "COMPLETED"
        return "IN_QUEUE" if self.started_at is None else "IN_PROGRESS"

    @property
    def place(self) -> tuple[bool, int, str]:
        """What the queue is sorted by: low priority after normal, then by arrival."""
        return (self.priority == LOW, self.number, self.id)

    def is_gone(self, moment: float) -> bool:
        """Say whether the result can no longer be had: deleted, or kept for as long as fal keeps it."""
        if self.completed_at is None:
            return False
        is_large = not self.keep_payloads and len(json.dumps(self.result)) >= LARGE_RESULT
        kept_s = PAYLOADS_KEPT_S if self.keep_payloads else LARGE_KEPT_S if is_large else RESULT_KEPT_S
        return self.deleted_at is not None or moment > self.completed_at + kept_s

    def document(self) -> dict[str, Any]:
        """Return the record as JSON."""
        # Not `asdict`, whose deep copy costs more than the rest of a submit.
        return {name: getattr(self, name) for name in self.__slots__}


def _record(document: dict[str, Any]) -> Record:
    """Read a record back, without what an earlier version kept otherwise: more fields, a fault as text."""
    known = {name: value for name, value in document.items() if name in Record.__slots__}
    if not isinstance(known.get("fault"), dict):
        known.pop("fault", None)
    return Record(**known)


_SCHEMA = """
create table if not exists requests (
    id text primary key, number integer not null, record text not null
) strict;
create table if not exists settings (name text primary key, value text not null) strict;
"""


class Store:
    """The database of one sandbox's folder. Single statements may come from any thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(folder / "sandbox.sqlite", isolation_level=None, check_same_thread=False)
        self.db.execute("pragma journal_mode=wal")
        # NORMAL is enough here: a killed process loses nothing, and no money hangs on a power cut.
        self.db.execute("pragma synchronous=normal")
        self.db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database."""
        self.db.close()

    def records(self) -> list[Record]:
        """Return every request ever accepted, in order of acceptance."""
        rows = self.db.execute("select record from requests order by number")
        return [_record(json.loads(text)) for (text,) in rows]

    def save(self, record: Record) -> None:
        """Write a record; it is in the journal when this returns."""
        values = (record.id, record.number, json.dumps(record.document()))
        self.db.execute("insert or replace into requests values (?, ?, ?)", values)
