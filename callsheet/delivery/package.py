"""A delivery on disk: a folder or a ZIP, whole or not at all.

It is made under a temporary name beside its final one and named at the end. What stands there already is
replaced only if it is a delivery, with nothing in it that a delivery did not put there. The same clips give
the same bytes: a ZIP has no times of its own and is not compressed, as videos are already.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from callsheet.errors import UsageError
from callsheet.files import SUFFIX, atomically, sync_directory, take_lock

CONTENTS = "delivery.json"
"""The file that every delivery has: what is in it."""

FORMAT = "callsheet-delivery-1"
_PIECE_BYTES = 1 << 20
_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The time of every file of a ZIP: the format has none before."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file of the delivery. `source_sha256` is that of what was copied, without what was added to it."""

    path: str
    bytes: int
    sha256: str
    source_sha256: str = ""


class Package(ABC):
    """A delivery that is being made. Paths are relative, with `/`, and each is written once."""

    __slots__ = ()

    def copy(self, path: str, source: Path, tail: bytes) -> Written:
        """Copy a file and add `tail` to the copy. Raises OSError."""
        digest, size = hashlib.sha256(), 0
        with source.open("rb") as file, self._new(path) as copy:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                size += copy.write(piece)
            original = digest.hexdigest()
            digest.update(tail)
            size += copy.write(tail)
        return Written(path, size, digest.hexdigest(), original)

    def write(self, path: str, content: bytes) -> Written:
        """Write a file. Raises OSError."""
        with self._new(path) as file:
            file.write(content)
        return Written(path, len(content), hashlib.sha256(content).hexdigest())

    @abstractmethod
    def _new(self, path: str) -> AbstractContextManager[IO[bytes]]:
        """Open a new file of the package."""


@contextmanager
def open_package(target: Path) -> Iterator[Package]:
    """Give the package that becomes `target`: a ZIP where the name ends in `.zip`, else a folder.

    Whatever goes wrong, nothing half-written stands under that name. Raises UsageError where something else
    than a delivery stands there, OSError.
    """
    target = target.absolute()
    if target.suffix.lower() == ".zip":
        _refuse_other_file(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomically(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            yield _Zip(archive)
        return
    _refuse_other_folder(target)
    with _new_folder(target) as folder:
        yield _Folder(folder)


def _refuse_other_file(target: Path) -> None:
    if not os.path.lexists(target):
        return
    try:
        with zipfile.ZipFile(target) as archive:
            known = _is_delivery(archive.read(CONTENTS))
    except (OSError, KeyError, zipfile.BadZipFile):
        known = False
    if not known:
        raise UsageError(f"{target} exists and is no delivery; name another file with --to")


def _refuse_other_folder(target: Path) -> None:
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise UsageError(f"{target} exists and is no folder; name another with --to")
    files = {path.relative_to(target).as_posix(): path for path in target.rglob("*") if not path.is_dir()}
    if not files:
        return
    try:
        content = (target / CONTENTS).read_bytes()
    except OSError:
        content = b""
    if not _is_delivery(content):
        raise UsageError(f"{target} exists and is no delivery; name another folder with --to")
    listed = {each["path"]: each["bytes"] for each in json.loads(content)["files"]}
    for name, path in files.items():
        if name != CONTENTS and listed.get(name) != path.lstat().st_size:
            raise UsageError(
                f"{path} was added or changed since the delivery; it would be lost. Move it away, or name "
                "another folder with --to"
            )


def _is_delivery(content: bytes) -> bool:
    try:
        document = json.loads(content)
        return document["format"] == FORMAT and isinstance(document["files"], list)
    except (ValueError, KeyError, TypeError):
        return False


@dataclass(frozen=True, slots=True)
class _Folder(Package):
    folder: Path

    @contextmanager
    def _new(self, path: str) -> Iterator[IO[bytes]]:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())


@dataclass(frozen=True, slots=True)
class _Zip(Package):
    archive: zipfile.ZipFile

    def _new(self, path: str) -> IO[bytes]:
        entry = zipfile.ZipInfo(path, _EARLIEST)
        entry.external_attr = 0o644 << 16
        return self.archive.open(entry, "w", force_zip64=True)


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Give a folder beside `target` that gets the name at the end, or is removed on an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    made = target.with_name(f".{target.name}.{secrets.token_hex(8)}{SUFFIX}")
    made.mkdir()
    descriptor = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        take_lock(descriptor)
        yield made
        for folder in (made, *(path for path in made.rglob("*") if path.is_dir())):
            sync_directory(folder)
        _name(made, target)
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(descriptor)


def _name(made: Path, target: Path) -> None:
    """Give the folder its name. A delivery that stood there is moved aside first and then removed."""
    old = target.with_name(f".{target.name}.{secrets.token_hex(8)}{SUFFIX}")
    if target.exists():
        target.rename(old)
    made.rename(target)
    sync_directory(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sweep(target: Path) -> None:
    """Remove the folders that deliveries to `target` have left behind whose process is gone."""
    for path in target.parent.glob(f".{target.name}.*{SUFFIX}"):
        if path.is_symlink() or not path.is_dir():
            continue
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if take_lock(descriptor):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)
