"""Keep rates of a run's rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from callsheet.report.rows import SUCCESSES, ResultRow
from manifests.retakes import shot_of
from pricing.keep_rates import JudgedClip, keep_rates, rate_document


def clips_of(rows: Sequence[ResultRow], campaign: str) -> list[JudgedClip]:
    """Return the clips that a run has made itself; what it uses of earlier runs was judged there."""
    return [
        JudgedClip(
            campaign=campaign,
            client=row.job.client,
            model=row.model,
            shot=shot_of(row.custom_id, row.job.take),
            spent_nano=row.actual_nano or 0,
            verdict=row.verdict or ("keep" if row.finish_nano is not None else ""),
            length_ms=round(1000 * (row.duration_s or 0)),
        )
        for row in rows
        if row.status in SUCCESSES and row.status != "already_made"
    ]


def keep_document(rows: Sequence[ResultRow], campaign: str) -> dict[str, Any]:
    """Describe what is kept of a run: all together, by model and by client."""
    clips = clips_of(rows, campaign)
    return {
        **rate_document(keep_rates(clips)[0]),
        "by_model": {rate.name: rate_document(rate) for rate in keep_rates(clips, "model")},
        "by_client": {rate.name: rate_document(rate) for rate in keep_rates(clips, "client")},
    }
