"""Whether there is a ledger to ask: what only plans makes none."""

from __future__ import annotations

from pathlib import Path

from callsheet.files import ELSEWHERE, is_there
from callsheet.settings import Settings

_NO_FILE = ("", ":memory:", "file:")


def has_ledger(settings: Settings) -> bool:
    """Say whether a ledger was made already; one that is no file of SQLite's counts as made.

    So whatever is wrong with the URL is said by opening it. Raises UsageError where the file's folder cannot
    be looked into: caps that stand there would not be seen.
    """
    url = settings.ledger
    file = url.removeprefix("sqlite:///")
    if file == url or file.startswith(_NO_FILE[1:]) or not file or "?" in file:
        return True
    path = Path(file).expanduser().absolute()
    is_ours = path.is_relative_to(settings.data_dir.absolute())
    instead = ELSEWHERE if is_ours else "CALLSHEET_LEDGER_URL names it"
    return is_there(path, what="the ledger", instead=instead)
