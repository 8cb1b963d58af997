"""The client's processor time for one job, beside decoding its file, and forty slots in one process.

Without Prefect: its share is in bench_busy_slots. The sandbox is another process, so its drawing does not
count. A first run of a few jobs is not counted: it imports everything.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from bench_busy_slots import busy_share
from measuring import SPEED_FOR_ONE_SECOND, Figure, Place, cpu_s, oracle, place, report, sandbox, succeed

JOBS = 200
CPU_BOUND_MS = 40.0
DECODES = 20
FIRST = "A first boat"
SHOT = {"model": "seedance-1.0-pro-fast", "resolution": "480p", "duration": 2}


def main() -> int:
    """Measure and print."""
    with place() as here:
        told, _ = _run(here, "ten", render_s=1, slots=10, jobs=JOBS)
        decode_ms = _decode_ms(Path(told["media"]))
        own_ms = 1000 * told["own_s"] / JOBS
        workers_ms = 1000 * told["workers_s"] / JOBS
        beside_ms = own_ms if workers_ms else own_ms - decode_ms
        forty, truth = _run(here, "forty", render_s=4, slots=40, jobs=400)
        counted = [each for each in truth["accepted"] if each["arguments"]["prompt"] != FIRST]
        share = busy_share(counted, 40)
    return report(
        [
            Figure("processor of a job, this process", f"{own_ms:.0f} ms", f"workers: {workers_ms:.0f} ms"),
            Figure("decoding the file alone", f"{decode_ms:.0f} ms"),
            Figure(
                "processor of a job beside decoding",
                f"{beside_ms:.0f} ms",
                "",
                f"<= {CPU_BOUND_MS:.0f} ms",
                beside_ms <= CPU_BOUND_MS,
            ),
            Figure("40 slots of 4 s, time used", f"{share:.1%}", "", "> 95%", share > 0.95),
            Figure("400 jobs on 40 slots, whole run", f"{forty['wall_s']:.1f} s", "ideal: 40 s"),
        ]
    )


def _run(
    here: Place, name: str, *, render_s: float, slots: int, jobs: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run jobs in a process of its own; returns what it measured, and the oracle's account."""
    speed = SPEED_FOR_ONE_SECOND / render_s
    environment = here.environment(CALLSHEET_DATA_DIR=str(here.folder / name))
    with sandbox(here.folder / name / "sandbox", speed, "--slots", str(slots)) as url:
        command = [sys.executable, __file__, str(here.manifest(jobs)), str(here.folder / "runs"), str(speed)]
        return json.loads(succeed([*command, str(slots)], environment)), oracle(url)


def _carry_out(source: str, out: str, speed: str, slots: str) -> None:
    import callsheet

    options = {"budget_usd": "10000", "sandbox": True, "speed": float(speed), "out": out}
    callsheet.run([{**SHOT, "prompt": FIRST}], concurrency=int(slots), **options)
    begun, begun_s = time.perf_counter(), cpu_s(resource.RUSAGE_SELF)
    summary = callsheet.run(source, concurrency=int(slots), **options)
    told = {
        "own_s": cpu_s(resource.RUSAGE_SELF) - begun_s,
        "workers_s": cpu_s(resource.RUSAGE_CHILDREN),
        "wall_s": time.perf_counter() - begun,
        "media": str(Path(summary.dir) / "media"),
    }
    print(json.dumps(told))


def _decode_ms(media: Path) -> float:
    """Return the processor time of verifying one of the files, in milliseconds."""
    from callsheet.media.probe import probe

    clip = next(media.glob("*.mp4"))
    probe(clip)
    begun = cpu_s(resource.RUSAGE_SELF)
    for _ in range(DECODES):
        probe(clip)
    return 1000 * (cpu_s(resource.RUSAGE_SELF) - begun) / DECODES


if __name__ == "__main__":
    if len(sys.argv) == 5:
        _carry_out(*sys.argv[1:])
    else:
        sys.exit(main())
