"""Rows that were made already from an image whose address has another one now.

A job that is bought remembers the ETag of each address it names. When its row is planned again, the server
is asked once more: another ETag makes the row a changed one. Where nothing was remembered, or no ETag is
answered, the row stays already made: what was paid for is not bought again for want of an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice

from callsheet.ledger import Ledger, queries
from callsheet.settings import Settings
from manifests.diff import Changes
from manifests.etags import etags_of
from manifests.job import Image, Job, decode_job
from manifests.plan import Plan
from pricing.catalog import load_catalog

Etags = Callable[[Iterable[str]], Mapping[str, str]]
"""Returns the ETags that are known of some addresses."""

ROWS = 2_000
"""Rows whose images are asked about at one time."""


def etags_for(settings: Settings, *, sandbox: bool) -> Etags | None:
    """Return how ETags are asked for, None where they are not: the sandbox fetches no image."""
    if sandbox or not settings.image_check:
        return None
    return partial(etags_of, allow_private=settings.allow_private_hosts)


def with_changed_images(ledger: Ledger, plan: Plan, changes: Changes, etags: Etags | None) -> Changes:
    """Count rows as changed, and not as made, whose image has another ETag than when they were made."""
    if etags is None:
        return changes
    made = [each.job_id for each in changes.made.values()]
    remembering = ledger.do(queries.payloads, made, with_etag=True)
    rows = [position for position, made in changes.made.items() if made.job_id in remembering][:ROWS]
    if not rows:
        return changes
    catalog = load_catalog()
    jobs = {position: planned.job for position, planned in plan.picked(rows)}
    now = etags(image.value for job in jobs.values() for image in job.images if image.kind == "url")

    def has_changed(position: int) -> bool:
        before = decode_job(remembering[changes.made[position].job_id], catalog)
        known = {image.identity: image.etag for image in before.images if image.etag}
        return any(
            known.get(image.identity, now[image.value]) != now[image.value]
            for image in jobs[position].images
            if image.value in now
        )

    other = frozenset(filter(has_changed, jobs))
    return Changes(
        made={position: made for position, made in changes.made.items() if position not in other},
        changed={**changes.changed, **{position: changes.made[position] for position in other}},
        pictures=other,
    )


def etags_to_remember(plan: Plan, positions: Iterable[int], etags: Etags | None) -> Mapping[str, str]:
    """Return the ETags of the addresses that the jobs at these positions name."""
    if etags is None:
        return {}
    first = plan.picked(islice(positions, ROWS))
    return etags(image.value for _, each in first for image in each.job.images if image.kind == "url")


def remembering(job: Job, known: Mapping[str, str]) -> Job:
    """Return a job whose images carry the ETags that are known of their addresses."""

    def marked(image: Image | None) -> Image | None:
        etag = known.get(image.value) if image is not None else None
        return replace(image, etag=etag) if image is not None and etag else image

    if not known:
        return job
    return replace(
        job,
        image=marked(job.image),
        end_image=marked(job.end_image),
        references=tuple(filter(None, map(marked, job.references))),
    )
