"""Files that are replaced as a whole: a reader sees the old one or the new one, also after a power cut."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

_MODE = 0o644


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, make it durable and put it in the place of `path`.

    On any error the old file stays as it was. Raises OSError and what `write` raises.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(cast("BinaryIO", file))
            file.flush()
            os.fchmod(file.fileno(), _MODE)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    _sync(path.parent)


def write_text_atomically(path: Path, text: str) -> None:
    """Write UTF-8 text in the same way; half of a surrogate pair, which UTF-8 lacks, becomes `?`."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8", "replace")))


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
