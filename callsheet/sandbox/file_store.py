"""The files of one sandbox: uploads, whole or in parts, and finished videos, with expiry and access.

A file gets its name only when it is whole. An expired file is deleted the next time it is looked for.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from callsheet.sandbox.store import Store, now

Decision = Literal["allow", "forbid", "hide"]

_SCHEMA = """
create table if not exists files (
    name text primary key, content_type text, etag text, access text not null, life_s real, expires_at real
) strict
"""


class AccessRule(BaseModel, extra="forbid"):
    """What one user may do."""

    user: str = Field(min_length=1)
    decision: Decision


class AccessList(BaseModel, extra="forbid"):
    """Who may get a file without a signature: everyone, or no one (403 or 404); rules are only kept."""

    default: Decision
    rules: list[AccessRule] = []


class Lifecycle(BaseModel, extra="forbid"):
    """How long a file stays (None: for good) and who may get it; fal's storage settings."""

    expiration_duration_seconds: int | None = Field(None, ge=1, le=10**10, strict=True)
    initial_acl: AccessList | None = None

    @classmethod
    def of_header(cls, text: str | None) -> Lifecycle | None:
        """Read a lifecycle header; None where there is none. Raises ValueError."""
        return None if text is None else cls.model_validate_json(text)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file this server hands out. `name` is its path below /files/; `etag` is quoted, ready to send."""

    name: str
    path: Path
    content_type: str
    etag: str
    access: str


class FileStore:
    """Files below `files` in the sandbox's folder, named in its database. `clock` gives Unix seconds."""

    def __init__(self, store: Store, clock: Callable[[], float] = now) -> None:
        self._db, self._clock = store.db, clock
        self._folder = store.folder / "files"
        self._parts = store.folder / "parts"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._db.execute(_SCHEMA)

    @property
    def account(self) -> Lifecycle:
        """The account's storage settings, which hold for files that come without a lifecycle."""
        row = self._db.execute("select value from settings where name = 'storage'").fetchone()
        return Lifecycle.model_validate_json(row[0] if row else "{}")

    @account.setter
    def account(self, settings: Lifecycle) -> None:
        values = ("storage", settings.model_dump_json())
        self._db.execute("insert or replace into settings values (?, ?)", values)

    def file(self, name: str) -> StoredFile | None:
        """Find a whole file by its path below /files/; may be called from any thread."""
        row = self._db.execute(
            "select content_type, etag, access, expires_at from files where name = ? and etag <> ''", (name,)
        ).fetchone()
        if row is None:
            return None
        content_type, etag, access, expires_at = row
        if expires_at is not None and self._clock() >= expires_at:
            self.delete(name)
            return None
        return StoredFile(name, self._folder / name, content_type, etag, access)

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file, or None; may be called from any thread."""
        found = self.file(name)
        with suppress(OSError):
            return found.path.read_bytes() if found else None
        return None

    def usage(self) -> tuple[int, int]:
        """Return how many files there are and how many bytes they have."""
        names = self._db.execute("select name from files where etag <> ''").fetchall()
        sizes = [path.stat().st_size for (name,) in names if (path := self._folder / name).is_file()]
        return len(sizes), sum(sizes)

    def delete(self, name: str) -> bool:
        """Delete a file for good; False where there was none."""
        (self._folder / name).unlink(missing_ok=True)
        return self._db.execute("delete from files where name = ?", (name,)).rowcount > 0

    def add_file(
        self, source: Path, name: str, content_type: str, sha256: str, life: Lifecycle | None = None
    ) -> Path:
        """Hand out a rendered file; the bytes are shared with `source` where the disk can."""
        path = self._target(name)
        path.unlink(missing_ok=True)
        try:
            os.link(source, path)
        except OSError:
            shutil.copyfile(source, path)
        self._reserve(name, content_type, life)
        self._complete(name, sha256)
        return path

    def reserve(self, file_name: str, content_type: str, life: Lifecycle | None = None) -> str:
        """Give out the name of a file that will be PUT later; until then it has no ETag and is not found."""
        name = _public_name(file_name, content_type)
        self._reserve(name, content_type, life)
        return name

    def put(self, name: str, body: bytes) -> bool:
        """Store the bytes of a reserved name; False where no such name was given out."""
        if not self._is_reserved(name):
            return False
        path = self._target(name)
        part = path.with_name(path.name + ".part")
        part.write_bytes(body)
        part.rename(path)
        self._complete(name, hashlib.sha256(body).hexdigest())
        return True

    def put_part(self, name: str, upload_id: str, number: int, body: bytes) -> str | None:
        """Store one part of a reserved name and return its ETag; None where no such name was given out."""
        if not self._is_reserved(name) or not re.fullmatch(r"[\w-]{1,64}", upload_id, re.ASCII):
            return None
        folder = self._parts / upload_id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(number)).write_bytes(body)
        return _etag_of_part(body)

    def join_parts(self, name: str, upload_id: str, parts: list[tuple[int, str]]) -> bool:
        """Make the file of its parts, in order of their numbers; False where one is missing or another."""
        folder = self._parts / upload_id
        try:
            bodies = [(folder / str(number)).read_bytes() for number, _ in sorted(parts)]
        except OSError:
            return False
        etags = [etag for _, etag in sorted(parts)]
        if not parts or etags != [_etag_of_part(body) for body in bodies]:
            return False
        is_made = self.put(name, b"".join(bodies))
        shutil.rmtree(folder, ignore_errors=True)
        return is_made

    def _is_reserved(self, name: str) -> bool:
        return self._db.execute("select 1 from files where name = ?", (name,)).fetchone() is not None

    def _reserve(self, name: str, content_type: str, life: Lifecycle | None) -> None:
        life = life or self.account
        access = life.initial_acl.default if life.initial_acl else "allow"
        values = (name, content_type, access, life.expiration_duration_seconds)
        self._db.execute(
            "insert or replace into files (name, content_type, etag, access, life_s) values (?, ?, '', ?, ?)",
            values,
        )

    def _complete(self, name: str, sha256: str) -> None:
        self._db.execute(
            "update files set etag = ?, expires_at = ? + life_s where name = ?",
            (f'"{sha256[:32]}"', self._clock(), name),
        )

    def _target(self, name: str) -> Path:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _etag_of_part(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def _public_name(file_name: str, content_type: str) -> str:
    """Like fal's `penguin/qmLZSvOIzTKs6bDFXiEtH_video.mp4`: a folder, a random word, the given name."""
    clean = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(file_name).name).strip(".") or "file"
    if "." not in clean:
        clean += mimetypes.guess_extension(content_type) or ".bin"
    return f"upload/{secrets.token_urlsafe(16)}_{clean[-80:]}"
