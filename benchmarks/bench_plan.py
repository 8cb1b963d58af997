"""Planning by the million: beside a loop over pydantic models, and beside merely reading the same columns.

Each figure is the best of a few runs, in a process of its own that prints its time and its peak memory; a
machine that does other work besides shows it in the wall clock, so processor time is printed as well.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from measuring import CALLSHEET, Figure, Place, median_s, place, report, succeed

from manifests.job import Job
from manifests.table import UNPRINTABLE

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
        prompts = [
            f"Shot {n}: a {what} in soft morning light. [Push in]"
            for n, what in zip(at, subjects[at % 5], strict=True)
        ]
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
    # ru_maxrss of a new process begins with its parent's; the memory map's own high-water mark does not.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak_kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    print(*took, int(peak_kib) * 1024)


def _plan(path: Path) -> None:
    from callsheet.errors import ManifestError
    from manifests.plan_file import write_plan
    from manifests.planner import make_plan

    try:
        write_plan(make_plan(path), path.with_name("plan.json"))
    except ManifestError as error:
        from callsheet.cli.views.problems import by_kind, errors_csv

        by_kind(error.problems)
        path.with_name("errors.csv").write_text(errors_csv(error.problems), encoding="utf-8")


def _read(path: Path) -> None:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(batch_size=1 << 16):
        assert batch.num_columns == 8


def _shot_model(catalog: Any) -> Any:
    """Return a pydantic model of one row that knows bounds, and which endpoint allows what."""
    from pydantic import BaseModel, Field, model_validator

    class Shot(BaseModel):
        custom_id: str = Field(max_length=120)
        prompt: str = Field(min_length=1, max_length=5000)
        model: str
        aspect_ratio: str
        resolution: str
        duration: int
        seed: int = Field(ge=-1, lt=2**31)
        client: str = Field(max_length=120)

        @model_validator(mode="after")
        def _check(self) -> Shot:
            endpoint = catalog.endpoint_for(self.model, "text-to-video")
            if endpoint is None or self.aspect_ratio not in endpoint.aspect_ratios:
                raise ValueError("aspect_ratio")
            if self.resolution not in endpoint.resolutions or self.duration not in endpoint.durations_s:
                raise ValueError("resolution or duration")
            if UNPRINTABLE.search(self.prompt) or not self.custom_id.isprintable():
                raise ValueError("control characters")
            return self

    return Shot


def _models(path: Path) -> None:
    """Do the same work row by row: check with pydantic, price, name, look for twins, hash, write."""
    import hashlib

    import pyarrow as pa
    import pyarrow.parquet as pq

    from manifests.names import folded, is_safe, safe_part
    from manifests.plan import PlannedJob
    from manifests.plan_rows import rows_schema
    from manifests.validate import unknown_instructions
    from pricing.catalog import load_catalog
    from pricing.quotes import Shot as Priced
    from pricing.quotes import quote

    catalog = load_catalog()
    model = _shot_model(catalog)
    seen: dict[str, set[str]] = {"id": set(), "name": set(), "content": set()}
    digest, total_nano = hashlib.sha256(), 0
    writer = pq.ParquetWriter(path.with_name("loop.parquet"), rows_schema(()), compression="lz4")
    for batch in pq.ParquetFile(path).iter_batches(batch_size=1 << 14):
        rows = []
        for cells in batch.to_pylist():
            shot = model.model_validate(cells)
            endpoint = catalog.endpoint_for(shot.model, "text-to-video")
            assert endpoint is not None
            price = quote(catalog, Priced(endpoint, shot.resolution, shot.aspect_ratio, shot.duration))
            total_nano += price.maximum_nano
            job = Job(
                row=len(rows),
                custom_id=shot.custom_id,
                endpoint=endpoint,
                prompt=shot.prompt,
                resolution=shot.resolution,
                aspect_ratio=shot.aspect_ratio,
                duration_s=shot.duration,
                seed=shot.seed,
                client=shot.client,
                output_name=safe_part(shot.custom_id),
            )
            planned = PlannedJob(job, price, job.fingerprint, cells)
            for kind, key in (
                ("id", job.custom_id),
                ("name", folded(job.output_name)),
                ("content", planned.fingerprint),
            ):
                assert key not in seen[kind]
                seen[kind].add(key)
            assert is_safe(job.output_name)
            assert not unknown_instructions(job.prompt)
            digest.update(planned.fingerprint.encode())
            rows.append(_row(planned))
        writer.write_table(pa.Table.from_pylist(rows, schema=rows_schema(())))
    writer.close()


def _row(planned: Any) -> dict[str, Any]:
    from manifests.plan_rows import TEXTS, shared_cells

    job = planned.job
    return (
        dict.fromkeys(TEXTS, "")
        | shared_cells(job.endpoint, job.options, planned.quote)
        | {
            "row": job.row,
            "custom_id": job.custom_id,
            "prompt": job.prompt,
            "seed": job.seed,
            "client": job.client,
            "output_name": job.output_name,
            "take": job.take,
            "priority": job.priority,
        }
    )


def _bare(path: Path) -> None:
    """Only validate types and bounds of each row with pydantic: no prices, no names, no twins, no plan."""
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

    for batch in pq.ParquetFile(path).iter_batches(batch_size=1 << 14):
        for row in batch.to_pylist():
            Shot.model_validate(row)


ACTIONS = {"plan": _plan, "read": _read, "models": _models, "bare": _bare}


def main() -> int:
    """Measure and print."""
    if len(sys.argv) == 3:
        _act(sys.argv[1], Path(sys.argv[2]))
        return 0
    with place() as here:
        million, bad = here.folder / "million.parquet", here.folder / "bad.parquet"
        write_manifest(million, MILLION)
        write_manifest(bad, MILLION, bad_every=10)
        read, plan, spoiled = (
            _measured(*each) for each in (("read", million), ("plan", million), ("plan", bad))
        )
        tenth = here.folder / "tenth.parquet"
        write_manifest(tenth, MILLION // 10)
        models, bare = (_tenfold(_measured(action, tenth)) for action in ("models", "bare"))
        figures = [
            Figure("read 8 columns, 10^6 rows, pyarrow", *_columns(read)),
            Figure(
                "plan 10^6 rows into a plan file",
                *_columns(plan),
                "<= 5 s",
                plan[0] <= 5,
            ),
            Figure("  memory", f"{plan[2] / MIB:,.0f} MiB", "", "<= 1,024 MiB", plan[2] <= 1 << 30),
            Figure(
                "  beside reading",
                f"{plan[0] / read[0]:.1f} x",
                f"{plan[1] / read[1]:.1f} x in processor time",
                "<= 10 x",
                plan[0] <= 10 * read[0],
            ),
            Figure("pydantic models, types and bounds only", *_columns(bare)),
            Figure("pydantic models, the same work (10 x 10^5)", *_columns(models)),
            Figure(
                "  beside planning", f"{models[0] / plan[0]:.1f} x", "", ">= 20 x", models[0] >= 20 * plan[0]
            ),
            Figure("10^5 bad rows of 10^6, all written down", *_columns(spoiled), "<= 5 s", spoiled[0] <= 5),
        ]
        figures += _commands(here)
    return report(figures)


def _tenfold(figure: tuple[float, float, int]) -> tuple[float, float, int]:
    return figure[0] * 10, figure[1] * 10, figure[2]


def _columns(figure: tuple[float, float, int]) -> tuple[str, str]:
    return f"{figure[0]:.2f} s", f"{figure[1]:.2f} s of processor, {figure[2] / MIB:,.0f} MiB"


def _commands(here: Place) -> list[Figure]:
    """Return how long the whole command takes, from the shell and back."""
    figures = []
    for rows, bound in ((100, 0.5), (100_000, 1.5)):
        command = [CALLSHEET, "plan", str(here.manifest(rows)), "--budget-usd", "100000"]
        seconds = median_s(lambda command=command: succeed(command, here.environment()), 5)
        figures.append(
            Figure(
                f"callsheet plan, CSV of {rows:,} rows",
                f"{seconds:.2f} s",
                "",
                f"< {bound} s",
                seconds < bound,
            )
        )
    return figures


if __name__ == "__main__":
    sys.exit(main())
