"""Jobs of which many are alike: what decides a price, for whom, how urgent. A plan has few kinds of them."""

from __future__ import annotations

import json
from collections.abc import Container
from functools import lru_cache
from typing import Any

from manifests.plan import Plan, PlannedJob
from manifests.stored import StoredJobs

_DECISIVE = (
    "client",
    "priority",
    "endpoint",
    "resolution",
    "aspect_ratio",
    "duration_s",
    "num_frames",
    "generate_audio",
    "expected_nano",
    "maximum_nano",
)


def alike(plan: Plan, without: Container[int]) -> tuple[list[PlannedJob], list[int]]:
    """Return one job of each kind, and for every job of the plan which kind it is, in order.

    Jobs at the positions `without` are passed over. Jobs in memory are few: each is a kind of its own.
    """
    if not isinstance(plan.jobs, StoredJobs):
        jobs = [planned for at, planned in enumerate(plan.jobs) if at not in without]
        return jobs, list(range(len(jobs)))
    kinds: dict[tuple[Any, ...], int] = {}
    firsts: list[int] = []
    which: list[int] = []
    rows = plan.jobs.values(*_DECISIVE, "end_image_url", "pictures")
    for at, (*decisive, end_image, pictures) in enumerate(rows):
        if at in without:
            continue
        kind = (*decisive, bool(end_image), _first_size(pictures))
        number = kinds.setdefault(kind, len(kinds))
        if number == len(firsts):
            firsts.append(at)
        which.append(number)
    return [planned for _, planned in plan.picked(firsts)], which


@lru_cache
def _first_size(pictures: str) -> tuple[int, ...] | None:
    """Return width and height of the first frame, where they are known; see `plan_rows.pictures_text`."""
    found = json.loads(pictures).get("image_url") if pictures else None
    size = found[0][-1] if found else None
    return tuple(size) if size else None
