"""One campaign: two runs on one tight budget, bought by two workers that are killed again and again."""

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from callsheet import failpoints
from callsheet.engine.open_run import Selection, open_run, select
from callsheet.engine.results import result_rows
from callsheet.ledger import FINISHED, Ledger, State, admission, queries, verify
from callsheet.settings import Settings
from manifests.plan import Plan
from manifests.planner import make_plan
from tests.procfs import processor_s
from tests.rig.judgement import Judgement, judge
from tests.rig.operator import reconcile
from tests.rig.processes import KILLED, apart, ended, kill, spawn, wait
from tests.rig.provider import Provider, bad_replies, other_trouble, provider, silence
from tests.rig.worker import Life, live

RUNS = 2
JOBS = 22
"""Jobs of each run."""

SLOTS = 4
AFFORDABLE = 35
"""How many of the 44 jobs the budget holds: it ends while both workers are busy."""

OPENING = "after_open"
"""The one boundary that a worker does not pass: whoever opens a run does."""

LIFE_CPU_S = (0.02, 0.5)
NAMED_LIFE_CPU_S = 1.0
"""Processor time until a worker is killed at random, or where it does not come to its boundary. So it does as
much on a busy machine as on an idle one."""

LONGEST_LIFE_S = 10.0
LONGEST_S = 180.0
QUIET_LIFE_S = 5.0


@dataclass(slots=True)
class Tally:
    """What was done to the product, and what the oracle says, over all campaigns."""

    kills: int = 0
    by_name: Counter[str] = field(default_factory=Counter)
    campaigns: int = 0
    judgement: Judgement = field(default_factory=Judgement)


@dataclass(slots=True)
class Lane:
    """One run and the worker that is on it.

    The rig kills it by itself after `life_s` of processor time, or at `until_s`; `idle` counts its last lives
    that found nothing to do.
    """

    run_id: str
    pid: int = 0
    failpoint: str = ""
    idle: int = 0
    life_s: float = 0.0
    until_s: float = 0.0


@dataclass(slots=True)
class Setting:
    """Everything about a campaign that does not change."""

    provider: Provider
    settings: Settings
    lanes: list[Lane]
    limit_nano: int
    job_nano: int
    rng: random.Random
    bug: Callable[[], None] | None = None
    lives: int = 0
    again: str = ""
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = [name for name in failpoints.NAMES if name != OPENING]
        self.names = self.rng.sample(names, len(names))


def attack(
    folder: Path,
    *,
    kills: int,
    seed: int,
    tally: Tally,
    bug: Callable[[], None] | None = None,
    faults: Sequence[dict[str, Any]] = (),
) -> None:
    """Run one campaign through about so many kills and to its end, then ask the oracle."""
    folder.mkdir(parents=True)
    plans = [_plan(folder, number) for number in range(RUNS)]
    with provider(folder / "provider") as there:
        trouble = faults or (*bad_replies(0.30, seed), *other_trouble(seed))
        ledger_url = f"sqlite:///{folder / 'ledger.sqlite'}"
        settings = there.settings(folder, ledger_url, SLOTS)
        apart(_open, ledger_url, plans, folder)
        job_nano = plans[0].jobs[0].quote.maximum_nano
        lanes = [Lane(name) for name in sorted(path.name for path in (folder / "runs").glob("rig-*"))]
        scene = Setting(there, settings, lanes, job_nano * AFFORDABLE, job_nano, random.Random(seed), bug)
        there.arm(*trouble)
        _torment(scene, kills, tally)
        there.calm()
        time.sleep(max(fault.get("delay_s", 0) for fault in trouble))  # what comes late has come
        _finish(scene)
        _open_again(scene, plans[0], folder / "runs", tally)
        tally.campaigns += 1
        apart_result = folder / "judgement.json"
        apart(_judge, scene, apart_result)
        tally.judgement.add(Judgement.read(apart_result))


def _torment(scene: Setting, kills: int, tally: Tally) -> None:
    """Start both workers again and again until so many have been killed."""
    target = tally.kills + kills
    reconciler, deadline_s = 0, time.monotonic() + LONGEST_S
    while (
        tally.kills < target and time.monotonic() < deadline_s and any(lane.idle < 3 for lane in scene.lanes)
    ):
        for lane in scene.lanes:
            if not lane.pid:
                _start(scene, lane)
        died = [lane for lane in scene.lanes if _reap(lane, tally)]
        if reconciler and ended(reconciler) is not None:
            reconciler = 0
        if died and not reconciler:
            reconciler = spawn(reconcile, scene.settings, scene.bug)
        if not died:
            time.sleep(0.004)
    for lane in scene.lanes:
        if lane.pid:
            kill(lane.pid)
            wait(lane.pid)
            lane.pid = 0
    if reconciler:
        wait(reconciler)


def _start(scene: Setting, lane: Lane) -> None:
    lane.failpoint = ""
    lane.life_s = scene.rng.uniform(*LIFE_CPU_S)
    lane.until_s = time.monotonic() + LONGEST_LIFE_S
    scene.lives += 1
    if scene.lives % 2:  # every other life ends at a named boundary, each name in its turn
        name = scene.names[scene.lives // 2 % len(scene.names)]
        lane.failpoint = f"{name}:{scene.rng.choice((1, 1, 2, 3))}"
        lane.life_s = NAMED_LIFE_CPU_S
    lane.pid = spawn(live, Life(scene.settings, lane.run_id, lane.failpoint, scene.bug))


def _reap(lane: Lane, tally: Tally) -> bool:
    """Kill a worker whose time has come and count how it ended; False while it lives."""
    ours = time.monotonic() >= lane.until_s or processor_s(lane.pid) >= lane.life_s
    if ours:
        kill(lane.pid)
    status = wait(lane.pid) if ours else ended(lane.pid)
    if status is None:
        return False
    lane.pid = 0
    lane.idle = lane.idle + 1 if status == 0 else 0
    if status == KILLED:
        tally.kills += 1
        tally.by_name["at random" if ours else lane.failpoint.partition(":")[0]] += 1
    elif status != 0:
        tally.judgement.crashes += 1
    return True


def _finish(scene: Setting) -> None:
    """Let everything come to its end in peace: no faults, no kills, until nothing is open any more.

    A planted bug may leave what only a person can decide, so it is not waited for long.
    """
    for lives in range(40 if scene.bug is None else 4):
        apart(reconcile, scene.settings, scene.bug)
        pids = [spawn(live, Life(scene.settings, lane.run_id, "", scene.bug)) for lane in scene.lanes]
        # A worker may wait for a slot that a job of the other run holds, which only its next life looks
        # at. On a busy machine a life must be longer to get anywhere.
        until_s = time.monotonic() + QUIET_LIFE_S * (1 + lives / 4)
        while pids and time.monotonic() < until_s:
            pids = [pid for pid in pids if ended(pid) is None]
            time.sleep(0.01)
        for pid in pids:
            kill(pid)
            wait(pid)
        # Who was killed may leave a part file: what sweeps it is a life after that one.
        if not pids and wait(spawn(_require_finished, scene)) == 0:
            return


def _open_again(scene: Setting, plan: Plan, folder: Path, tally: Tally) -> None:
    """Open a run of what was made before, kill it right after, and go on with it."""
    before = {path.name for path in folder.glob("rig-*")}
    status = wait(spawn(_open_and_die, scene.settings.ledger, plan, folder))
    tally.kills += status == KILLED
    tally.by_name[OPENING] += status == KILLED
    scene.again = next((path.name for path in folder.glob("rig-*") if path.name not in before), "")
    if not scene.again:  # refused: something is in flight even now
        tally.judgement.unfinished += 1
        return
    tally.judgement.crashes += wait(spawn(live, Life(scene.settings, scene.again, "", scene.bug))) != 0


def _open_and_die(ledger_url: str, plan: Plan, folder: Path) -> None:
    os.environ[failpoints.VARIABLE] = OPENING
    with Ledger.open(ledger_url) as ledger:
        changes = select(ledger, plan, fit=True).changes
        left = tuple(index for index in range(len(plan.jobs)) if index not in changes.made)
        open_run(ledger, plan, Selection((), left, changes=changes), out=folder, options="")


def _require_finished(scene: Setting) -> None:
    with Ledger.open(scene.settings.ledger) as ledger:
        rows = [row for lane in scene.lanes for row in ledger.do(queries.jobs, lane.run_id)]
    silence()
    open_rows = [row for row in rows if row.state not in FINISHED]
    for row in open_rows:
        sys.stderr.write(f"still open: {row}\n")
    raise SystemExit(1 if open_rows else 0)


def _plan(folder: Path, number: int) -> Plan:
    manifest = folder / f"shots-{number}.csv"
    rows = [f"r{number}-{job},Run {number} shot {job},seedance-1.0-lite,480p,29" for job in range(JOBS)]
    manifest.write_text("custom_id,prompt,model,resolution,num_frames\n" + "\n".join(rows) + "\n")
    source = folder / f"campaign-{number}.toml"
    source.write_text(f'[campaign]\nname = "rig"\nmanifest = "{manifest.name}"\n')
    return make_plan(source)


def _open(ledger_url: str, plans: list[Plan], folder: Path) -> None:
    limit_nano = plans[0].jobs[0].quote.maximum_nano * AFFORDABLE
    with Ledger.open(ledger_url) as ledger:
        for plan in plans:
            selection = Selection(tuple(range(len(plan.jobs))), ())
            open_run(ledger, plan, selection, out=folder / "runs", options="")
        ledger.do(admission.set_cap, "campaign", "rig", "total", limit_nano)


def _judge(scene: Setting, path: Path) -> None:
    with Ledger.open(scene.settings.ledger) as ledger:
        rows = [row for lane in scene.lanes for row in ledger.do(queries.jobs, lane.run_id)]
        folders = {lane.run_id: Path(ledger.do(queries.run, lane.run_id).out) for lane in scene.lanes}
        again = []
        if scene.again:
            run = ledger.do(queries.run, scene.again)
            again = result_rows(ledger, run)
            folders[scene.again] = Path(run.out)
        broken = ledger.do(verify.verify)
    found = judge(
        scene.provider.oracle(),
        rows,
        folders,
        limit_nano=scene.limit_nano,
        job_nano=scene.job_nano,
        slots=SLOTS,
        again=[(row, folders[scene.again]) for row in again],
    )
    found.broken_promises += len(broken)
    found.skipped += sum(row.state is State.SKIPPED_BUDGET for row in rows)
    found.write(path)
