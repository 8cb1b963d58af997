"""Three workers on one ledger in PostgreSQL: renders in flight, and how much of the slots is used.

Each worker is a process that renders one part of a run, as `render-shard` does, without Prefect. A cap of 200
with renders of ten seconds, and one of 10 with renders of four. The sandbox and the database share this
machine's processors with them.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench_busy_slots import busy_share
from measuring import SPEED_FOR_ONE_SECOND, Figure, oracle, place, report, sandbox

sys.path.insert(0, str(Path(__file__).parents[1]))

WORKERS = 3
IN_FLIGHT_BOUND = 180
SHARE_BOUND = 0.95


def main() -> int:
    """Measure and print."""
    many = _run(slots=200, render_s=10, jobs=900)
    few = _run(slots=10, render_s=4, jobs=120)
    flight, share = in_flight(many), busy_share(few, 10)
    return report(
        [
            Figure(
                "in flight, cap 200, 10 s renders (median)",
                str(flight),
                "",
                f">= {IN_FLIGHT_BOUND}",
                flight >= IN_FLIGHT_BOUND,
            ),
            Figure("slot time used, cap 10, 4 s renders", f"{share:.1%}", "", "> 95%", share > SHARE_BOUND),
        ]
    )


def in_flight(accepted: list[dict[str, Any]]) -> int:
    """Return the median number of renders at a moment, from the end of the first render to the last start."""
    spans = [(each["started_at"], each["completed_at"]) for each in accepted]
    first, last = min(end for _, end in spans), max(start for start, _ in spans)
    moments = sorted(moment for span in spans for moment in span if first <= moment <= last)
    counts = [sum(start <= earlier < end for start, end in spans) for earlier, _ in pairwise(moments)]
    return round(statistics.median(counts))


def _run(*, slots: int, render_s: float, jobs: int) -> list[dict[str, Any]]:
    """Render a run in three parts; returns what the sandbox accepted."""
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
            workers = [
                subprocess.Popen([sys.executable, __file__, "render", run_id, part], env=environment)
                for part in parts
            ]
            for worker in workers:
                worker.wait()
            return list(oracle(url)["accepted"])


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

    await carry_out_part(run_id, part, sandbox=True, stop=StopSignal())


if __name__ == "__main__":
    os.environ.setdefault("NO_COLOR", "1")
    if sys.argv[1:2] == ["open"]:
        asyncio.run(_open(*sys.argv[2:]))
    elif sys.argv[1:2] == ["render"]:
        asyncio.run(_render(*sys.argv[2:]))
    else:
        sys.exit(main())
