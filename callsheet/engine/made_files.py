"""Files that earlier runs made and paid for: where they are, and what to say when they are gone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from callsheet.ledger import JobRow, Ledger, State

NAMED = 20


def made_path(ledger: Ledger, row: JobRow) -> Path | None:
    """Return where the file of a job lies, or lay; None where it has none."""
    if row.output_path_there is None or row.output_run_id is None:
        return None
    return Path(ledger.run(row.output_run_id).out) / row.output_path_there


def bring(ledger: Ledger, row: JobRow, folder: Path) -> None:
    """Let an earlier run's file appear in this one's folder: a second name, or a copy across disks.

    `row` is the job of this run; another job of it with the same video may have brought the file already.
    """
    source = made_path(ledger, row)
    if source is None or row.output is None:
        return
    target = folder / row.output.path
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:
        if source.exists():
            shutil.copy2(source, target)


def gone_files(ledger: Ledger, rows: Iterable[JobRow]) -> list[str]:
    """Name what was made and paid for and is no longer where it was, with what can be done about it."""
    reused = [row for row in rows if row.state in (State.SUCCEEDED, State.ALREADY_MADE)]
    places = [(row.custom_id, made_path(ledger, row)) for row in reused]
    gone = [(name, path) for name, path in places if path is not None and not path.exists()]
    told = [
        f"{name} was made and paid for, but its file is gone: {path}. It is not bought again; put the file "
        "back, or buy it once more with --again"
        for name, path in gone[:NAMED]
    ]
    return told + [f"and {len(gone) - NAMED} more files are gone"] * (len(gone) > NAMED)
