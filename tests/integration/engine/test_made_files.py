"""Files of earlier runs that had one name in two folders: each job of a new run has its own video."""

from __future__ import annotations

import csv
import errno
import hashlib
from pathlib import Path
from typing import Any

import pytest

from callsheet.engine import made_files
from callsheet.engine import open_run as opening
from callsheet.engine.finalize import write_report
from callsheet.engine.made_files import gone_files
from callsheet.engine.run import open_context
from callsheet.engine.stopping import StopSignal
from callsheet.ledger import Ledger, State, queries
from callsheet.media import place

pytestmark = pytest.mark.anyio


async def test_two_reused_videos_of_one_name_stay_two_videos(house: Any) -> None:
    """The second one is called `~2`, in the folder, in the ledger's rows and in the results."""
    for prompt in ("A boat in port", "A boat at sea"):
        await house.work(house.open_run(f"a,{prompt}"))
    run_id = house.open_run("a,A boat at sea", "b,A boat in port")
    rows = house.rows(run_id)
    assert {row.state for row in rows} == {State.ALREADY_MADE}
    assert [row.output.path for row in rows] == ["media/a.mp4", "media/a~2.mp4"]
    with Ledger.open(house.settings.ledger) as ledger:
        run = ledger.do(queries.run, run_id)
        write_report(run, rows, [], [])
        assert gone_files(ledger, rows) == []
    told = list(csv.DictReader((Path(run.out) / "results.csv").read_text().splitlines()))
    for row, line in zip(rows, told, strict=True):
        data = (Path(run.out) / line["output_path"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row.output.sha256
    assert rows[0].output.sha256 != rows[1].output.sha256


@pytest.mark.parametrize("other_disk", [False, True])
async def test_a_file_that_a_crash_kept_out_of_the_folder_is_brought_by_resume(
    house: Any, monkeypatch: pytest.MonkeyPatch, *, other_disk: bool
) -> None:
    """The ledger said that it is made and the process died before the file was there."""
    prompt = f"A boat brought late{' from afar' if other_disk else ''}"
    await house.work(house.open_run(f"a,{prompt}"))
    with monkeypatch.context() as dying:
        dying.setattr(opening, "bring_all", lambda *_: None)
        run_id = house.open_run(f"a,{prompt}")
    (row,) = house.rows(run_id)
    with Ledger.open(house.settings.ledger) as ledger:
        target = Path(ledger.do(queries.run, run_id).out) / row.output.path
    assert not target.exists()

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EXDEV, "another disk")

    with monkeypatch.context() as disks:
        if other_disk:
            disks.setattr(made_files.os, "link", refuse)
            disks.setattr(place, "_give_name", lambda part, name: bool(part.rename(name)))
        async with open_context(house.request(run_id), run_id, house.settings, StopSignal()):
            pass
    assert hashlib.sha256(target.read_bytes()).hexdigest() == row.output.sha256
    assert len(house.accepted(prompt)) == 1
