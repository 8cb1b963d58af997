"""Three workers on one ledger in PostgreSQL: renders in flight, and how much of the slots is used.

Each worker is a process that renders one part of a run, as `render-shard` does, without Prefect. A cap of 200
with renders of ten seconds, one of 200 at fal's pace, and one of 10 with renders of four. The sandbox and the
database share this machine's processors with them. So what a job costs each of them is measured, and with
that how many renders this machine's processors can keep up with: a bound is what is promised, or that.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench_busy_slots import busy_share
from measuring import SPEED_FOR_ONE_SECOND, Figure, cpu_s, oracle, place, report, sandbox

from callsheet.sandbox.launcher import ADDRESS_FILE

sys.path.insert(0, str(Path(__file__).parents[1]))

WORKERS = 3
SLOTS = 200
IN_FLIGHT_BOUND = 180
SHARE_BOUND = 0.95
FAL_RENDER_S = 41.0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor time of one job, in milliseconds, by who used it; `spare` is what others left, in cores."""

    workers_ms: float
    decoding_ms: float
    sandbox_ms: float
    database_ms: float
    spare: float

    @property
    def job_ms(self) -> float:
        """What one job costs this machine."""
        return self.workers_ms + self.decoding_ms + self.sandbox_ms + self.database_ms

    def most_in_flight(self, render_s: float) -> float:
        """Return how many renders of this length the processors keep up with."""
        return self.spare * 1000 / self.job_ms * render_s


def main() -> int:
    """Measure and print."""
    many, spent = _run(slots=SLOTS, render_s=10, jobs=900)
    real, at_pace = _run(slots=SLOTS, render_s=FAL_RENDER_S, jobs=600)
    few, _ = _run(slots=10, render_s=4, jobs=120)
    share = busy_share(few, 10)
    return report(
        [
            _flight("cap 200, 10 s renders", many, spent, 10),
            _flight(f"cap 200, {FAL_RENDER_S:.0f} s renders", real, at_pace, FAL_RENDER_S),
            Figure("processor of a job: the worker", f"{spent.workers_ms:.0f} ms"),
            Figure("decoding and looking", f"{spent.decoding_ms:.0f} ms"),
            Figure("the sandbox", f"{spent.sandbox_ms:.0f} ms"),
            Figure("the database", f"{spent.database_ms:.0f} ms"),
            Figure(
                "cores for 200 slots of 10 s",
                f"{SLOTS / 10 * spent.job_ms / 1000:.1f}",
                f"this machine has {os.cpu_count()}, {spent.spare:.1f} of them to spare",
            ),
            Figure("slot time used, cap 10, 4 s renders", f"{share:.1%}", "", "> 95%", share > SHARE_BOUND),
        ]
    )


def _flight(name: str, accepted: list[dict[str, Any]], spent: Spent, render_s: float) -> Figure:
    """Return how many were in flight, beside what the processors allow."""
    seen, possible = in_flight(accepted), spent.most_in_flight(render_s)
    bound = min(IN_FLIGHT_BOUND, 0.9 * possible)
    return Figure(
        f"in flight, {name} (median)",
        str(seen),
        f"the processors allow {possible:.0f}",
        f">= {bound:.0f}",
        seen >= bound,
    )


def in_flight(accepted: list[dict[str, Any]]) -> int:
    """Return the median number of renders over time, from the end of the first render to the last start."""
    spans = [(each["started_at"], each["completed_at"]) for each in accepted]
    first, last = min(end for _, end in spans), max(start for start, _ in spans)
    moments = sorted(moment for span in spans for moment in span if first <= moment <= last)
    lasted = sorted(
        (sum(start <= earlier < end for start, end in spans), later - earlier)
        for earlier, later in pairwise(moments)
    )
    left_s = (last - first) / 2
    for count, for_s in lasted:
        left_s -= for_s
        if left_s <= 0:
            return count
    return 0


def _run(*, slots: int, render_s: float, jobs: int) -> tuple[list[dict[str, Any]], Spent]:
    """Render a run in three parts; returns what the sandbox accepted, and what a job cost."""
    from tests.rig.servers import cluster

    speed = SPEED_FOR_ONE_SECOND / render_s
    options = (str(slots), str(speed))
    with place() as here, cluster() as server:
        data_dir = here.folder / "data"
        environment = here.environment(CALLSHEET_DATA_DIR=str(data_dir), CALLSHEET_LEDGER_URL=server.url)
        with sandbox(data_dir / "sandbox", speed, "--slots", str(slots)) as url:
            command = [sys.executable, __file__, "open", str(here.manifest(jobs)), *options]
            run_id, *parts = subprocess.run(
                command, env=environment, cwd=here.folder, capture_output=True, text=True, check=True
            ).stdout.split()
            served = int(json.loads((data_dir / "sandbox" / ADDRESS_FILE).read_text())["pid"])
            stored = int((server.data / "postmaster.pid").read_text().split()[0])
            before = [_tree_s(served), _tree_s(stored), *_machine_s()]
            workers = [
                subprocess.Popen(
                    [sys.executable, __file__, "render", run_id, part],
                    env=environment,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for part in parts
            ]
            used = [json.loads(worker.communicate()[0]) for worker in workers]
            after = [_tree_s(served), _tree_s(stored), *_machine_s()]
            served_s, stored_s, busy_s, all_s = (
                end - start for start, end in zip(before, after, strict=True)
            )
            workers_s, decoding_s = (sum(each[kind] for each in used) for kind in (0, 1))
            others_s = max(0.0, busy_s - served_s - stored_s - workers_s - decoding_s)
            each_ms = [1000 * seconds / jobs for seconds in (workers_s, decoding_s, served_s, stored_s)]
            spare = (os.cpu_count() or 1) * (1 - others_s / all_s)
            return list(oracle(url)["accepted"]), Spent(*each_ms, spare=spare)


def _tree_s(pid: int) -> float:
    """Return the processor time of a process and of all its children, in seconds (Linux)."""
    parents: dict[int, tuple[int, float]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1]), sum(map(int, fields[11:15])) / TICKS
    family, used_s = [pid], 0.0
    for each in family:
        used_s += parents[each][1]
        family += [child for child, (parent, _) in parents.items() if parent == each]
    return used_s


def _machine_s() -> tuple[float, float]:
    """Return the time that all processors were busy, and the time that there was, in seconds (Linux)."""
    ticks = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    return (sum(ticks) - idle) / TICKS, sum(ticks) / TICKS


async def _open(source: str, slots: str, speed: str) -> None:
    from callsheet.engine.request import RunRequest, settings_for
    from callsheet.engine.run import open_plan
    from callsheet.ledger import Ledger, parts
    from manifests.planner import make_plan

    request = RunRequest(
        source=source, budget_usd="10000", sandbox=True, speed=float(speed), concurrency=int(slots)
    )
    settings = settings_for(request)
    plan = make_plan(source, overrides=request.plan_options(settings))
    run_id = await open_plan(plan, request, settings)
    with Ledger.open(settings.ledger) as ledger:
        found = ledger.do(parts.split, run_id, -(-len(plan.jobs) // WORKERS))
    print(run_id, *(each.name for each in found))


async def _render(run_id: str, part: str) -> None:
    from callsheet.engine.shard import carry_out_part
    from callsheet.engine.stopping import StopSignal

    begun_s = cpu_s(resource.RUSAGE_SELF)
    await carry_out_part(run_id, part, sandbox=True, stop=StopSignal())
    print(json.dumps([cpu_s(resource.RUSAGE_SELF) - begun_s, cpu_s(resource.RUSAGE_CHILDREN)]))


if __name__ == "__main__":
    os.environ.setdefault("NO_COLOR", "1")
    if sys.argv[1:2] == ["open"]:
        asyncio.run(_open(*sys.argv[2:]))
    elif sys.argv[1:2] == ["render"]:
        asyncio.run(_render(*sys.argv[2:]))
    else:
        sys.exit(main())
