"""What outlives the process: requests in SQLite, uploaded and rendered files beside it.

A kill at any instant leaves a readable state: SQLite's WAL holds each acknowledged record, and files get
their names only when they are whole.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
import os
import re
import secrets
import sqlite3
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

NORMAL, LOW = "normal", "low"


@dataclass(slots=True)
class Record:
    """One accepted request. Times are Unix seconds by the wall clock, and so the same after a restart.

    `units` is the exact decimal text of the units billed, empty while unknown; `unit_price_nano` is a
    fraction as text. `cost_nano` is what was billed, in nano-dollars: 0 until it completed, and 0 for what
    failed. `result` is the body of the result call, whose status is `status_code`. `overbill` multiplies
    units and cost (decimal text), `units_header` replaces X-Fal-Billable-Units, and `is_swapped` exchanges
    width and height: all three are faults.
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

    @property
    def owner(self) -> str:
        """The first part of the endpoint id."""
        return self.endpoint.split("/")[0]

    @property
    def alias(self) -> str:
        """The second part of the endpoint id."""
        return self.endpoint.split("/")[1]

    @property
    def status(self) -> str:
        """The word of fal for where the request is."""
        if self.completed_at is not None:
            return "COMPLETED"
        return "IN_QUEUE" if self.started_at is None else "IN_PROGRESS"

    @property
    def place(self) -> tuple[bool, int]:
        """What the queue is sorted by: low priority after normal, then by arrival."""
        return (self.priority == LOW, self.number)

    def dump(self) -> str:
        """Return the record as JSON text."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Record:
        """Read what `dump` wrote."""
        return cls(**json.loads(text))


_SCHEMA = """
create table if not exists requests (
    id text primary key, number integer not null, record text not null
) strict;
create table if not exists files (
    name text primary key, content_type text not null, etag text not null
) strict;
"""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file this server hands out. `name` is its path below /files/; `etag` is quoted, ready to send."""

    name: str
    path: Path
    content_type: str
    etag: str


class Store:
    """The folder of one sandbox. Use it from one thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files_dir = folder / "files"
        self.files_dir.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(folder / "sandbox.sqlite", isolation_level=None)
        self._db.execute("pragma journal_mode=wal")
        # NORMAL is enough here: a killed process loses nothing, and no money hangs on a power cut.
        self._db.execute("pragma synchronous=normal")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def records(self) -> list[Record]:
        """Every request ever accepted, in order."""
        rows = self._db.execute("select record from requests order by number")
        return [Record.load(text) for (text,) in rows]

    def save(self, record: Record) -> None:
        """Store a record as it is now."""
        self._db.execute(
            "insert or replace into requests values (?, ?, ?)", (record.id, record.number, record.dump())
        )

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file by its path below /files/, or None; may be called from any thread."""
        try:
            path = (self.files_dir / name).resolve()
            inside = path.is_relative_to(self.files_dir.resolve())
            return path.read_bytes() if inside and path.is_file() else None
        except (OSError, ValueError):  # no such name: too long, or with a NUL in it
            return None

    def add_bytes(self, body: bytes, file_name: str, content_type: str) -> StoredFile:
        """Store an upload under a name that cannot be guessed."""
        name = _public_name(file_name, content_type)
        self._write(name, body)
        return self._register(name, content_type, hashlib.sha256(body).hexdigest())

    def add_file(self, source: Path, name: str, content_type: str, sha256: str) -> StoredFile:
        """Hand out a rendered file; the bytes are shared with `source` where the disk can."""
        path = self._target(name)
        path.unlink(missing_ok=True)
        try:
            os.link(source, path)
        except OSError:
            path.write_bytes(source.read_bytes())
        return self._register(name, content_type, sha256)

    def file(self, name: str) -> StoredFile | None:
        """Find a file by its path below /files/."""
        row = self._db.execute("select content_type, etag from files where name = ?", (name,)).fetchone()
        return StoredFile(name, self.files_dir / name, *row) if row and row[1] else None

    def reserve(self, file_name: str, content_type: str) -> str:
        """Give out the name of a file that will be PUT later; until then it has no ETag and is not found."""
        name = _public_name(file_name, content_type)
        self._db.execute("insert into files values (?, ?, '')", (name, content_type))
        return name

    def put(self, name: str, body: bytes) -> bool:
        """Store the bytes of a reserved name; False where no such name was given out."""
        row = self._db.execute("select content_type from files where name = ?", (name,)).fetchone()
        if row is None:
            return False
        self._write(name, body)
        self._register(name, row[0], hashlib.sha256(body).hexdigest())
        return True

    def _write(self, name: str, body: bytes) -> None:
        path = self._target(name)
        part = path.with_name(path.name + ".part")
        part.write_bytes(body)
        part.rename(path)

    def _target(self, name: str) -> Path:
        path = self.files_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _register(self, name: str, content_type: str, sha256: str) -> StoredFile:
        etag = f'"{sha256[:32]}"'
        self._db.execute("insert or replace into files values (?, ?, ?)", (name, content_type, etag))
        return StoredFile(name, self.files_dir / name, content_type, etag)


def _public_name(file_name: str, content_type: str) -> str:
    """Like fal's `penguin/qmLZSvOIzTKs6bDFXiEtH_video.mp4`: a folder, a random word, the given name."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(file_name).name).strip(".") or "file"
    if "." not in clean:
        clean += mimetypes.guess_extension(content_type) or ".bin"
    return f"upload/{secrets.token_urlsafe(16)}_{clean[-80:]}"
