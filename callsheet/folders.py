"""Folders that must be usable before anything begins, and whether a file is there or cannot be looked at."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from callsheet.errors import DiskFull, UsageError
from callsheet.settings import Settings

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
DATA_FOLDER = "the data folder"
ELSEWHERE = "set CALLSHEET_DATA_DIR to a folder that can be written to"


def usable_folder(folder: Path, *, what: str, instead: str, mode: int = 0o777) -> Path:
    """Make a folder where there is none, with `mode`, and return it.

    Messages call it `what` and say `instead` what to do. Raises UsageError where it is no folder, cannot be
    made or cannot be written to, DiskFull where there is no room to make it.
    """
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(f"{what} {folder} cannot be made: {error.strerror}") from error
        raise _refusal(folder, what, instead, _why_not_made(folder, error)) from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise _refusal(folder, what, instead, "it cannot be written to")
    return folder


def usable_data_folder(settings: Settings, *parts: str) -> Path:
    """Make the data folder, or one within it, for its owner alone, and return it.

    Raises UsageError where it cannot be used, naming the variable that names another.
    """
    return usable_folder(settings.data_dir.joinpath(*parts), what=DATA_FOLDER, instead=ELSEWHERE, mode=0o700)


def is_there(path: Path, *, what: str, instead: str) -> bool:
    """Say whether a file is there. Raises UsageError where nobody can know.

    `Path.exists` answers no also below a file and in a folder that may not be looked into.
    """
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _refusal(path, what, instead, _why_not_made(path, error)) from error
    return True


def _why_not_made(path: Path, error: OSError) -> str:
    for place in (path, *path.parents):
        if place.is_file():
            return "it is a file" if place == path else f"{place} is a file"
    return (error.strerror or type(error).__name__).lower()


def _refusal(path: Path, what: str, instead: str, why: str) -> UsageError:
    return UsageError(f"{what} {path} cannot be used: {why}; {instead}")
