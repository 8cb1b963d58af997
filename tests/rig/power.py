"""The power goes: at any write or sync of the ledger's file, with whatever the disk had not kept yet."""

import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from unittest import mock

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from callsheet.errors import CallsheetError
from callsheet.ledger import (
    Event,
    Ledger,
    NewJob,
    NewRun,
    Output,
    Settlement,
    admission,
    queries,
    runs,
    settlement,
    sqlite,
    transitions,
    verify,
)
from callsheet.ticket import Ticket
from pricing.budgets import Cap
from tests.rig import apsw_driver
from tests.rig.disk import Acknowledged, Recorder, RecordingVFS
from tests.rig.figures import Figure, at_least, none_of
from tests.rig.kills import memory_folder

JOBS = 60
"""Enough commits for SQLite to copy its WAL into the file, twice, while the power may go."""

FILE = Output(
    path="media/a.mp4",
    url="u",
    sha256="ab" * 32,
    bytes=1,
    width_px=1,
    height_px=1,
    fps=24.0,
    duration_s=1.0,
    has_audio=False,
)


@dataclass(slots=True)
class Cuts:
    """What so many power cuts came to."""

    cuts: int = 0
    commits: int = 0
    lost: int = 0
    damaged: int = 0
    checkpoints: int = 0


def power_figures(*, cuts: int, seed: int) -> list[Figure]:
    """Return the figures: none lost with FULL, and many where it is only NORMAL."""
    with memory_folder() as folder:
        full = cut_the_power(folder / "full", "FULL", cuts=cuts, seed=seed)
        normal = cut_the_power(folder / "normal", "NORMAL", cuts=max(50, cuts // 10), seed=seed)
    part = "power cuts"
    return [
        at_least(part, "cuts, synchronous = FULL", full.cuts, cuts),
        at_least(part, "commits that were acknowledged on the way", full.commits, JOBS),
        at_least(part, "times the WAL was copied into the file", full.checkpoints, 1),
        none_of(part, "cuts that lost an acknowledged commit", full.lost),
        none_of(part, "cuts that left a damaged ledger", full.damaged),
        at_least(part, f"lost in {normal.cuts} cuts, were it NORMAL", normal.lost, normal.cuts // 4),
    ]


def cut_the_power(folder: Path, synchronous: str, *, cuts: int, seed: int) -> Cuts:
    """Record one busy ledger, then cut at so many random places of the recording."""
    folder.mkdir(parents=True)
    recorder = record(folder, synchronous)
    rng, found = random.Random(seed), Cuts()
    operations = recorder.operations
    found.commits = sum(isinstance(each, Acknowledged) for each in operations)
    synced = Counter(each.name for each in operations if type(each).__name__ == "Sync")
    found.checkpoints = synced["ledger.sqlite"]
    for number in range(cuts):
        cut = rng.randint(0, len(operations))
        there = folder / "after"
        there.mkdir()
        for name, content in recorder.images(cut, rng).items():
            (there / name).write_bytes(content)
        found.cuts = number + 1
        events, sound = _survey(there / "ledger.sqlite")
        found.lost += events < recorder.acknowledged(cut)
        found.damaged += not sound
        shutil.rmtree(there)
    return found


def _survey(path: Path) -> tuple[int, bool]:
    """Open what is left as the product would: how many events are there, and does every promise hold?"""
    path.chmod(0o600)
    try:
        with Ledger.open(f"sqlite:///{path}") as ledger:
            sound = ledger.do(verify.verify) == []
    except CallsheetError:
        return 0, False
    with closing(sqlite3.connect(path)) as connection, connection:
        (events,) = connection.execute("SELECT count(*) FROM event").fetchone()
    connection.close()
    return events, sound


def record(folder: Path, synchronous: str) -> Recorder:
    """Let a ledger live through sixty purchases on a disk that writes everything down."""
    path = folder / "ledger.sqlite"
    Ledger.open(f"sqlite:///{path}").close()
    recorder = Recorder({path.name: path.read_bytes()})
    with _ledger(path, recorder, synchronous) as ledger:
        cap = Cap("campaign", "c", "total", JOBS * 100)
        jobs = [replace(_JOB, row=number, custom_id=str(number)) for number in range(JOBS)]
        ledger.do(
            runs.open_run, NewRun(run_id="r", campaign="c", plan_hash="", price_book="", out=""), jobs, [cap]
        )
        done = 0
        for row in ledger.do(queries.jobs, "r"):
            for event in _LIFE:
                _VERBS[event](ledger, row.job_id)
                done += 1
                recorder.operations.append(Acknowledged(done))
    return recorder


@contextmanager
def _ledger(path: Path, recorder: Recorder, synchronous: str) -> Iterator[Ledger]:
    name = f"recording-{id(recorder)}"
    vfs = RecordingVFS(name, recorder)
    pragmas = {**sqlite._PRAGMAS, "synchronous": (synchronous, (1, 2))}
    with mock.patch.object(sqlite, "_PRAGMAS", MappingProxyType(pragmas)):
        engine = sa.create_engine(
            "sqlite://",
            module=apsw_driver,
            creator=lambda: apsw_driver.Connection(str(path), name),
            poolclass=StaticPool,
        )
        sa.event.listen(engine, "connect", sqlite._set_up)
        sa.event.listen(engine, "begin", sqlite._begin)
        ledger = Ledger(engine, label=str(path), file=path, clock=lambda: 1_795_262_400_000)
        ledger.note_origin()
        try:
            yield ledger
        finally:
            # The recording ends here: closing would sync, and the power goes before.
            recorded = len(recorder.operations)
            ledger.close()
            del recorder.operations[recorded:]
            vfs.unregister()


_JOB = NewJob(
    row=0,
    custom_id="",
    endpoint="e",
    model="m",
    fingerprint="f",
    payload="{}",
    expected_nano=90,
    maximum_nano=100,
)
_LIFE = (Event.ADMIT, Event.SEND, Event.ACCEPT, Event.RENDER, Event.SETTLE, Event.COLLECT)
_VERBS = {
    Event.ADMIT: lambda ledger, job: ledger.do(admission.admit, job, slots=10),
    Event.SEND: lambda ledger, job: ledger.do(transitions.send, job, arguments_sha256="x"),
    Event.ACCEPT: lambda ledger, job: ledger.do(
        transitions.accept, job, Ticket(f"request-{job}", "e", "s", "r", "c")
    ),
    Event.RENDER: lambda ledger, job: ledger.do(transitions.render, job),
    Event.SETTLE: lambda ledger, job: ledger.do(
        settlement.settle, job, Settlement(cost_nano=90, cost_basis="expected", result_json="{}" * 400)
    ),
    Event.COLLECT: lambda ledger, job: ledger.do(transitions.collect, job, FILE),
}
