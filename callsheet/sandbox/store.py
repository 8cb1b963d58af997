"""What outlives the process: requests and settings in SQLite.

A kill at any instant leaves a readable state: SQLite's WAL holds each acknowledged record.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NORMAL, LOW = "normal", "low"

PAYLOADS_KEPT_S = 30 * 86_400.0
RESULT_KEPT_S, LARGE_KEPT_S, LARGE_RESULT = 3600.0, 360.0, 10_000
"""Results are kept for 30 days. With X-Fal-Store-IO: 0 for an hour, or six minutes from 10 kB
(https://fal.ai/docs, queue result)."""


@dataclass(slots=True)
class Record:
    """One accepted request. Times are Unix seconds by the wall clock, and so the same after a restart.

    `units` is the exact decimal text of the units billed, empty while unknown; `unit_price_nano` is a
    fraction as text. `cost_nano` is what was billed, in nano-dollars: 0 until it completed, and 0 for what
    failed. `result` is the body of the result call, whose status is `status_code`. `overbill` multiplies
    units and cost (decimal text), `units_header` replaces X-Fal-Billable-Units, and `is_swapped` exchanges
    width and height: all three are faults. `app` is owner and app of the id that was called, `lifecycle` the
    expiry and access asked for the output, `key_id` the key's name, `fault` one asked for by a header.
    `deleted_at` is when the payloads were deleted. `webhook_left` is how often the webhook may yet be tried.
    """

    id: str
    number: int
    endpoint: str
    arguments: dict[str, Any]
    base_url: str
    submitted_at: float
    seed: int
    priority: str = NORMAL
    keep_payloads: bool = True
    start_by: float | None = None
    started_at: float | None = None
    ready_at: float | None = None
    completed_at: float | None = None
    cancelled: bool = False
    width_px: int = 0
    height_px: int = 0
    frames: int = 0
    audio: bool = False
    overbill: str = "1"
    units_header: str | None = None
    is_swapped: bool = False
    failure: dict[str, Any] | None = None
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
    resolution: str = ""
    video_frames: int = 0
    lifecycle: dict[str, Any] | None = None
    fault: str = ""
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

    def is_gone(self, now: float) -> bool:
        """Say whether the result can no longer be had: deleted, or kept for as long as fal keeps it."""
        if self.completed_at is None:
            return False
        is_large = not self.keep_payloads and len(json.dumps(self.result)) >= LARGE_RESULT
        kept_s = PAYLOADS_KEPT_S if self.keep_payloads else LARGE_KEPT_S if is_large else RESULT_KEPT_S
        return self.deleted_at is not None or now > self.completed_at + kept_s

    def document(self) -> dict[str, Any]:
        """Return the record as JSON."""
        # Not `asdict`, whose deep copy costs more than the rest of a submit.
        return {name: getattr(self, name) for name in self.__slots__}

    def dump(self) -> str:
        """Return the record as JSON text."""
        return json.dumps(self.document())

    @classmethod
    def load(cls, text: str) -> Record:
        """Read what `dump` wrote."""
        return cls(**json.loads(text))


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
        return [Record.load(text) for (text,) in rows]

    def save(self, record: Record) -> None:
        """Write a record; it is in the journal when this returns."""
        self.db.execute(
            "insert or replace into requests values (?, ?, ?)", (record.id, record.number, record.dump())
        )

    def setting(self, name: str, default: Any) -> Any:
        """Return a setting that `set` stored, or the default."""
        row = self.db.execute("select value from settings where name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else default

    def set(self, name: str, value: Any) -> None:
        """Store a setting as JSON."""
        self.db.execute("insert or replace into settings values (?, ?)", (name, json.dumps(value)))
