"""Sums by model, by client and by status. Money stays whole nano-dollars (int64) throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from callsheet.report.rows import SKIPPED, SUCCESSES, ResultRow
from pricing.budgets import first_spellings

if TYPE_CHECKING:  # pandas takes 0.4 s to import; only a finished run pays for it
    import pandas as pd

Group = Literal["model", "client", "status"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollup:
    """The sums of one group. Amounts in nano-dollars, `video_s` seconds of finished video.

    `actual_nano` is booked, `held_nano` still held; `expected_nano` is of the jobs that either of the
    two is for, so that it can be set beside them. `failed` counts failed and cancelled jobs.
    """

    name: str
    jobs: int
    succeeded: int
    failed: int
    skipped: int
    unknown: int
    expected_nano: int
    maximum_nano: int
    actual_nano: int
    held_nano: int
    video_s: float


_SUMS = (
    "jobs",
    "succeeded",
    "failed",
    "skipped",
    "unknown",
    "expected_nano",
    "maximum_nano",
    "actual_nano",
    "held_nano",
)


def frame_of(rows: Sequence[ResultRow]) -> pd.DataFrame:
    """Return what is summed as a data frame: one row per job, counts and amounts as int64."""
    import pandas as pd  # noqa: PLC0415

    clients = first_spellings(row.job.client for row in rows)
    frame = pd.DataFrame(
        {
            "model": [row.model for row in rows],
            "client": [clients[row.job.client] for row in rows],
            "status": [row.status for row in rows],
            "jobs": [1 for _ in rows],
            "succeeded": [row.status in SUCCESSES for row in rows],
            "failed": [row.status in {"failed", "cancelled"} for row in rows],
            "skipped": [row.status in SKIPPED for row in rows],
            "unknown": [row.status == "unknown" for row in rows],
            "expected_nano": [row.expected_nano if _is_paid(row) else 0 for row in rows],
            "maximum_nano": [row.maximum_nano for row in rows],
            "actual_nano": [row.actual_nano or 0 for row in rows],
            "held_nano": [row.held_nano for row in rows],
            "video_s": [row.duration_s or 0.0 for row in rows],
            "render_s": [row.render_s for row in rows],
        }
    )
    return frame.astype(dict.fromkeys(_SUMS, "int64") | {"video_s": "float64", "render_s": "float64"})


def _is_paid(row: ResultRow) -> bool:
    """Say whether money of this run was spent on a job, or is held for what was sent of it."""
    return bool(row.actual_nano) or (row.held_nano > 0 and row.status != "held")


def rollups(frame: pd.DataFrame, by: Group) -> list[Rollup]:
    """Sum by one column, groups in alphabetical order."""
    groups = frame.groupby(by, sort=True)
    # Column by column: a row of a mixed frame would turn the whole numbers into floats.
    counts = groups[list(_SUMS)].sum()
    seconds = groups["video_s"].sum()
    columns = [counts[name].tolist() for name in _SUMS]
    return [
        _rollup(str(name), whole, video_s)
        for name, video_s, *whole in zip(counts.index, seconds.tolist(), *columns, strict=True)
    ]


def total(frame: pd.DataFrame) -> Rollup:
    """Sum everything."""
    return _rollup("", frame[list(_SUMS)].sum().tolist(), float(frame["video_s"].sum()))


def render_quantile_s(frame: pd.DataFrame, quantile: float) -> float | None:
    """Return that quantile (0 to 1) of the render times in seconds, None where nothing was rendered."""
    times = frame["render_s"].dropna()
    return round(float(times.quantile(quantile)), 3) if len(times) else None


def _rollup(name: str, whole: Sequence[int], video_s: float) -> Rollup:
    return Rollup(name=name, video_s=round(video_s, 3), **dict(zip(_SUMS, whole, strict=True)))
