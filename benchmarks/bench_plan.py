"""Planning by the million: beside a loop over pydantic models, and beside merely reading the same columns.

Each figure is the best of a few runs, in a process of its own that prints its time and its peak memory; a
machine that does other work besides shows it in the wall clock, so processor time is printed as well.
`--large` adds ten million rows.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from measuring import CALLSHEET, Figure, Place, median_s, place, report, succeed

MILLION = 1_000_000
TIMES = 3
MIB = 1 << 20


def write_manifest(path: Path, rows: int, bad_every: int = 0) -> None:
    """Write Parquet of eight columns; every `bad_every`-th row has a mistake of one of three kinds."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    models = np.array(["seedance-1.0-pro", "seedance-1.0-lite", "seedance-1.0-pro-fast"], object)
    ratios = np.array(["16:9", "9:16", "1:1"], object)
    clients = np.array(["acme", "northwind", "globex", "initech"], object)
    subjects = np.array(["fox", "glass teapot", "street in the rain", "quiet harbour", "lighthouse"], object)
    writer = None
    for start in range(0, rows, MILLION):
        at = np.arange(start, min(start + MILLION, rows))
        bad = (at % bad_every == 0) if bad_every else np.zeros(len(at), bool)
        kind = at // max(bad_every, 1) % 3
        prompts = [f"Shot {n}: a {what} in soft morning light. [Push in]" for n, what in zip(at, subjects[at % 5], strict=True)]
        table = pa.table(
            {
                "custom_id": [f"shot-{n:08d}" for n in at],
                "prompt": prompts,
                "model": models[at % 3],
                "aspect_ratio": np.where(bad & (kind == 0), "16:10", ratios[at // 3 % 3]),
                "resolution": np.where(at % 2, "480p", "720p"),
                "duration": np.where(bad & (kind == 1), 99, at % 9 + 3),
                "seed": np.where(bad & (kind == 2), -9, at * 7919 % 2**31),
                "client": clients[at % 4],
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def _measured(action: str, path: Path) -> tuple[float, float, int]:
    """Run one action in a process of its own: wall seconds, processor seconds, peak bytes."""
    best = (float("inf"), float("inf"), 0)
    for _ in range(TIMES):
        done = subprocess.run(
            [sys.executable, __file__, action, str(path)], capture_output=True, text=True, check=True
        )
        wall, cpu, peak = done.stdout.split()
        best = min(best, (float(wall), float(cpu), int(peak)))
    return best


def _act(action: str, path: Path) -> None:
    """Do one action and print what it took; imports are part of it."""
    begun, worked = time.perf_counter(), time.process_time()
    ACTIONS[action](path)
    took = time.perf_counter() - begun, time.process_time() - worked
    print(*took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _plan(path: Path) -> None:
    from callsheet.errors import ManifestError
    from manifests.plan_file import write_plan
    from manifests.planning import make_plan

    try:
        write_plan(make_plan(path), path.with_name("plan.json"))
    except ManifestError as error:
        from callsheet.cli.problems import by_kind, errors_csv

        by_kind(error.problems)
        path.with_name("errors.csv").write_text(errors_csv(error.problems), encoding="utf-8")


def _read(path: Path) -> None:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(batch_size=1 << 16):
        assert batch.num_columns == 8


def _models(path: Path) -> None:
    """Check rows one by one with a pydantic model that knows types and bounds, and no price: a tenth of them."""
    import pyarrow.parquet as pq
    from pydantic import BaseModel, Field

    class Shot(BaseModel):
        custom_id: str = Field(max_length=120)
        prompt: str = Field(min_length=1, max_length=5000)
        model: str = Field(pattern="^seedance-1[.]0-(pro|lite|pro-fast)$")
        aspect_ratio: str = Field(pattern="^(16:9|9:16|1:1|4:3|3:4|21:9|9:21)$")
        resolution: str = Field(pattern="^(480p|720p|1080p)$")
        duration: int = Field(ge=2, le=12)
        seed: int = Field(ge=-1, lt=2**31)
        client: str = Field(max_length=120)

    def rows() -> Iterator[dict[str, object]]:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1 << 16):
            yield from batch.to_pylist()

    ids: set[str] = set()
    total_nano = 0
    for row in rows():
        shot = Shot.model_validate(row)
        assert shot.custom_id not in ids
        ids.add(shot.custom_id)
        total_nano += _one_price(shot.model, shot.resolution, shot.aspect_ratio, shot.duration)


def _one_price(model: str, resolution: str, aspect_ratio: str, duration_s: int) -> int:
    from pricing.catalog import load_catalog
    from pricing.quotes import Shot, quote

    catalog = load_catalog()
    endpoint = catalog.endpoint_for(model, "text-to-video")
    assert endpoint is not None
    return quote(catalog, Shot(endpoint, resolution, aspect_ratio, duration_s)).maximum_nano


ACTIONS = {"plan": _plan, "read": _read, "models": _models}


def main() -> int:
    """Measure and print."""
    if len(sys.argv) == 3:
        _act(sys.argv[1], Path(sys.argv[2]))
        return 0
    with place() as here:
        million, bad = here.folder / "million.parquet", here.folder / "bad.parquet"
        write_manifest(million, MILLION)
        write_manifest(bad, MILLION, bad_every=10)
        read, plan, spoiled = (_measured(*each) for each in (("read", million), ("plan", million), ("plan", bad)))
        models = _measured("models", million)
        figures = [
            Figure("read 8 columns, 10^6 rows, pyarrow", *_columns(read)),
            Figure(
                "plan 10^6 rows into a plan file",
                *_columns(plan),
                "<= 3 s",
                plan[0] <= 3,
            ),
            Figure("  memory", f"{plan[2] / MIB:,.0f} MiB", "", "<= 1,024 MiB", plan[2] <= 1 << 30),
            Figure(
                "  beside reading",
                f"{plan[0] / read[0]:.1f} x",
                f"{plan[1] / read[1]:.1f} x in processor time",
                "<= 5 x",
                plan[0] <= 5 * read[0],
            ),
            Figure("loop over pydantic models, 10^6 rows", *_columns(models)),
            Figure("  beside planning", f"{models[0] / plan[0]:.1f} x", "", ">= 20 x", models[0] >= 20 * plan[0]),
            Figure("10^5 bad rows of 10^6, all written down", *_columns(spoiled), "<= 3 s", spoiled[0] <= 3),
        ]
        if "--large" in sys.argv:
            figures += _large(here, plan)
        figures += _commands(here)
    return report(figures)


def _columns(figure: tuple[float, float, int]) -> tuple[str, str]:
    return f"{figure[0]:.2f} s", f"{figure[1]:.2f} s of processor, {figure[2] / MIB:,.0f} MiB"


def _large(here: Place, plan: tuple[float, float, int]) -> list[Figure]:
    path = here.folder / "large.parquet"
    write_manifest(path, 10 * MILLION)
    large = _measured("plan", path)
    return [
        Figure("plan 10^7 rows into a plan file", *_columns(large), "<= 30 s", large[0] <= 30),
        Figure("  beside 10^6", f"{large[0] / plan[0]:.1f} x", "", "<= 11 x", large[0] <= 11 * plan[0]),
        Figure("  memory", f"{large[2] / MIB:,.0f} MiB", "", "<= 1,024 MiB", large[2] <= 1 << 30),
    ]


def _commands(here: Place) -> list[Figure]:
    """Return how long the whole command takes, from the shell and back."""
    figures = []
    for rows, bound in ((100, 0.5), (100_000, 1.5)):
        command = [CALLSHEET, "plan", str(here.manifest(rows)), "--budget-usd", "100000"]
        seconds = median_s(lambda command=command: succeed(command, here.environment()), 5)
        figures.append(Figure(f"callsheet plan, CSV of {rows:,} rows", f"{seconds:.2f} s", "", f"< {bound} s", seconds < bound))
    return figures


if __name__ == "__main__":
    sys.exit(main())
