"""A soak: a run in parts, three keepers that are killed, bad replies, a database that restarts."""

import asyncio
import os
import random
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from callsheet.engine import coordinator, finalize, keeper, reconcile_loop
from callsheet.engine.context import open_account
from callsheet.engine.keeper import RendersHere, keep
from callsheet.engine.open_run import Selection, open_run
from callsheet.engine.request import RunRequest, settings_for
from callsheet.engine.stopping import StopSignal
from callsheet.errors import CallsheetError
from callsheet.ledger import FINISHED, Ledger, parts, queries, verify
from callsheet.provider.client import FalQueue
from callsheet.sandbox.config import SANDBOX_KEY
from callsheet.settings import Settings
from manifests.planner import make_plan
from tests.procfs import processor_s
from tests.rig.figures import Figure, at_least, none_of
from tests.rig.judgement import Judgement, judge
from tests.rig.processes import KILLED, apart, ended, kill, spawn, wait
from tests.rig.provider import bad_replies, hurry, other_trouble, provider, silence
from tests.rig.servers import Cluster, cluster
from tests.rig.worker import GIVES_UP_S

WORKERS = 3
SLOTS = 10
PART = 25
LIFE_CPU_S = (0.3, 2.5)
"""Processor time of a keeper until it is killed: it does as much on a busy machine as on an idle one."""

LONGEST_LIFE_S = 20.0
RESTART_AFTER_S = 8.0
LONGEST_S = 1_800.0
FAULTS = 0.30


def shard_figures(*, jobs: int, seed: int) -> list[Figure]:
    """Attack one run of so many jobs until it is closed, then ask the oracle."""
    with TemporaryDirectory() as folder, cluster() as server, provider(Path(folder) / "provider") as there:
        home = Path(folder)
        there.arm(*bad_replies(FAULTS, seed), *other_trouble(seed))
        settings = there.settings(home, server.url, SLOTS)
        apart(_open, settings, home, jobs)
        begun = time.monotonic()
        kills, restarts = _torment(settings, server, random.Random(seed))
        took_s = time.monotonic() - begun
        result = home / "judgement.json"
        apart(_judge, settings, there.oracle(), result)
        found = Judgement.read(result)
        sys.stderr.writelines(f"{line[:500]}\n" for line in found.missing)
    part = f"{jobs:,} jobs in parts, 3 keepers"
    return [
        at_least(part, "kills", kills, 3),
        at_least(part, "restarts of the database", restarts, 1),
        at_least(part, "bad replies", found.bad_replies, jobs // 5),
        none_of(part, "bought twice", found.bought_twice),
        none_of(part, "lost", found.lost),
        none_of(part, "corrupt", found.corrupt),
        none_of(part, "more open than slots", found.over_slots),
        none_of(part, "unfinished without a person", found.unfinished),
        none_of(part, "broken promises of the ledger", found.broken_promises),
        Figure(part, "seconds", f"{took_s:.0f}", f"<= {LONGEST_S:.0f}", took_s <= LONGEST_S),
    ]


def _open(settings: Settings, home: Path, jobs: int) -> None:
    rows = [f"s{n},Shard shot {n},seedance-1.0-lite,480p,29" for n in range(jobs)]
    manifest = home / "shots.csv"
    manifest.write_text("custom_id,prompt,model,resolution,num_frames\n" + "\n".join(rows) + "\n")
    plan = make_plan(manifest)
    with Ledger.open(settings.ledger) as ledger:
        everything = Selection(tuple(range(len(plan.jobs))), ())
        options = RunRequest(concurrency=SLOTS).model_dump_json()
        run_id = open_run(ledger, plan, everything, out=home / "runs", options=options)
        ledger.do(parts.split, run_id, PART)


def _torment(settings: Settings, server: Cluster, rng: random.Random) -> tuple[int, int]:
    """Kill keepers and restart the database until the run is closed. Returns how often each was done."""
    workers: dict[int, tuple[float, float]] = {}
    kills = restarts = 0
    begun = time.monotonic()
    while time.monotonic() - begun < LONGEST_S and not _is_closed(settings):
        while len(workers) < WORKERS:
            workers[spawn(_keep_on, settings)] = (time.monotonic(), rng.uniform(*LIFE_CPU_S))
        for pid, (since_s, life_s) in list(workers.items()):
            if time.monotonic() - since_s > LONGEST_LIFE_S or processor_s(pid) > life_s:
                kill(pid)
                kills += wait(pid) == KILLED
                del workers[pid]
            elif ended(pid) is not None:
                del workers[pid]
        if not restarts and time.monotonic() - begun > RESTART_AFTER_S:
            server.stop()
            time.sleep(1)
            server.start()
            restarts += 1
        time.sleep(0.2)
    for pid in workers:
        kill(pid)
        wait(pid)
    return kills, restarts


def _is_closed(settings: Settings) -> bool:
    return wait(spawn(_exit_when_open, settings)) == 0


def _exit_when_open(settings: Settings) -> None:
    with Ledger.open(settings.ledger) as ledger:
        (run,) = ledger.do(queries.runs)
    raise SystemExit(run.closed_ms is None)


def _keep_on(settings: Settings) -> None:
    """Be a keeper that renders, with shorter pauses, until killed."""
    silence()
    hurry()
    os.environ |= {
        "FAL_KEY": SANDBOX_KEY,
        "CALLSHEET_LEDGER_URL": settings.ledger,
        "CALLSHEET_DATA_DIR": str(settings.data_dir),
        "CALLSHEET_PLATFORM_URL": settings.platform_url,
        **{f"CALLSHEET_{name}_URL": settings.queue_url for name in ("QUEUE", "REST", "CDN")},
        "CALLSHEET_START_TIMEOUT_S": str(settings.start_timeout_s),
        "CALLSHEET_RUN_TIMEOUT_S": str(settings.run_timeout_s),
        "CALLSHEET_HISTORY_LAG_S": str(settings.history_lag_s),
        "CALLSHEET_BREAKER": "0",
    }
    FalQueue.submit.__kwdefaults__["deadline_s"] = GIVES_UP_S
    reconcile_loop.LOOK_EVERY_S = 0.5
    coordinator.RESERVED_MS, finalize.REST_S, keeper.AT_ONCE = 3_000, 1, 1
    asyncio.run(_rounds())


async def _rounds() -> None:
    here = RendersHere(sandbox=False, stop=StopSignal())
    while True:
        try:
            async with open_account(settings_for(RunRequest())) as account:
                await keep(account, here.start)
        except CallsheetError:
            pass
        await asyncio.sleep(0.5)


def _judge(settings: Settings, oracle: dict, path: Path) -> None:
    with Ledger.open(settings.ledger) as ledger:
        (run,) = ledger.do(queries.runs)
        rows = ledger.do(queries.jobs, run.run_id)
        broken = ledger.do(verify.verify)
    job_nano = max(row.maximum_nano for row in rows)
    found = judge(
        oracle,
        rows,
        {run.run_id: Path(run.out)},
        limit_nano=job_nano * len(rows) * 4,
        job_nano=job_nano,
        slots=SLOTS,
    )
    found.broken_promises += len(broken)
    found.unfinished = sum(row.state not in FINISHED for row in rows)
    found.write(path)
