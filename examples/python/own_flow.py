"""A flow of your own that uses Callsheet's as a subflow: write tonight's manifest, then buy it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from prefect import flow, task

from callsheet.engine.request import RunRequest
from flows.run_campaign import run_campaign


@task
def write_manifest(path: Path) -> Path:
    """Write the shots of tonight. Yours would come from a warehouse or a CMS."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["custom_id", "prompt", "model", "resolution", "num_frames"])
        writer.writerow(["harbour", "A harbour at night, rain", "seedance-1.0-pro-fast", "480p", "29"])
        writer.writerow(["market", "A market at dawn", "seedance-1.0-pro-fast", "480p", "29"])
    return path


@flow(name="nightly-shots")
async def nightly_shots(folder: Path, *, sandbox: bool = True) -> dict[str, Any]:
    """Buy tonight's shots, for at most two dollars. Returns the run's summary."""
    manifest = write_manifest(folder / "tonight.csv")
    request = RunRequest(source=str(manifest), budget_usd="2", fit=True, sandbox=sandbox, speed=50)
    summary: dict[str, Any] = await run_campaign(request)
    return summary
