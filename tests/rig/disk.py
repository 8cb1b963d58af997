"""A disk whose power can be cut: SQLite writes through it, and every write and sync is written down.

SQLite's own way of testing this (its test6.c) is a VFS; apsw lets one be written in Python. Locks and the
WAL's shared memory are not what is tested, so the connection runs with `locking_mode = EXCLUSIVE`, which
keeps the WAL's index in memory; what is written to the file and to the WAL, and when it is synced, is the
same.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import apsw

SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes that went to a file. `data` None is a truncation to `offset`."""

    name: str
    offset: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Sync:
    """The disk was told to keep what the file has been given so far."""

    name: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A verb of the ledger returned: from here on `events` lines of its journal may not be lost."""

    events: int


Operation = Write | Sync | Acknowledged


@dataclass(slots=True)
class Recorder:
    """What happened, in order, on top of files that were safe before."""

    before: Mapping[str, bytes]
    operations: list[Operation] = field(default_factory=list)

    def images(self, cut: int, rng: random.Random) -> dict[str, bytes]:
        """Return the files as they may be found when the power goes after `cut` operations.

        What was synced is there. Of the writes after a file's last sync each may have reached the disk, or
        not, or in part; in any order, as a drive's cache does it.
        """
        files = {name: bytearray(content) for name, content in self.before.items()}
        pending: dict[str, list[Write]] = {}
        for operation in self.operations[:cut]:
            if isinstance(operation, Write):
                pending.setdefault(operation.name, []).append(operation)
            elif isinstance(operation, Sync):
                for write in pending.pop(operation.name, []):
                    _apply(files.setdefault(operation.name, bytearray()), write)
        for name, writes in pending.items():
            for write in _what_remains(writes, rng):
                _apply(files.setdefault(name, bytearray()), write)
        return {name: bytes(content) for name, content in files.items()}

    def acknowledged(self, cut: int) -> int:
        """Return how many events were acknowledged before the power went."""
        counts = [each.events for each in self.operations[:cut] if isinstance(each, Acknowledged)]
        return max(counts, default=0)


def _what_remains(writes: list[Write], rng: random.Random) -> list[Write]:
    style = rng.choice(("nothing", "some", "torn", "everything"))
    if style == "nothing":
        return []
    if style == "everything":
        return writes
    kept = [write for write in writes if rng.random() < 0.5]
    return [_torn(write, rng) for write in kept] if style == "torn" else kept


def _torn(write: Write, rng: random.Random) -> Write:
    """Keep whole sectors from the beginning only."""
    if write.data is None:
        return write
    sectors = len(write.data) // SECTOR_BYTES
    return Write(write.name, write.offset, write.data[: SECTOR_BYTES * rng.randint(0, sectors)])


def _apply(content: bytearray, write: Write) -> None:
    if write.data is None:
        del content[write.offset :]
        return
    end = write.offset + len(write.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[write.offset : end] = write.data


class RecordingVFS(apsw.VFS):
    """The system's own file system, with a recorder in front."""

    def __init__(self, name: str, recorder: Recorder) -> None:
        self.recorder = recorder
        super().__init__(name, "")

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's
        """Open a file of the ledger; temporary files, which have no name, are not recorded."""
        if name is None:
            return super().xOpen(name, flags)
        return _RecordingFile(name, flags, self.recorder)


class _RecordingFile(apsw.VFSFile):
    def __init__(self, name: apsw.URIFilename | str, flags: list[int], recorder: Recorder) -> None:
        super().__init__("", name, flags)
        path = name if isinstance(name, str) else name.filename()
        self._name = Path(path).name
        self._recorder = recorder

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        super().xWrite(data, offset)
        self._recorder.operations.append(Write(self._name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        super().xTruncate(newsize)
        self._recorder.operations.append(Write(self._name, newsize, None))

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        # The real sync is left out: what it would promise is what the recorder knows.
        self._recorder.operations.append(Sync(self._name))
