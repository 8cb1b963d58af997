"""What the report page knows of each clip, as plain data for its script. Pure.

Every text is cleaned of control characters and of those that turn the direction of text. Addresses are
relative to the page, and "" where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

from callsheet.ledger.records import Review
from callsheet.report.error_table import CHARGED_TEXT
from callsheet.report.rows import SUCCESSES, ResultRow, minute_utc, strip_of
from callsheet.report.safe_text import clean
from callsheet.wording import command
from pricing.money import usd_text
from pricing.quotes import length_text

GROUPS = {
    "succeeded": "done",
    "already_made": "done",
    "failed": "failed",
    "cancelled": "failed",
    "unknown": "unknown",
    "skipped_budget": "skipped",
}
"""The filter that a status belongs to; any other one is `open`."""

_LABELS = {
    "succeeded": "finished",
    "already_made": "already made",
    "in_queue": "in queue",
    "in_progress": "rendering",
    "rendered": "not fetched yet",
    "unknown": "outcome unknown",
    "skipped_budget": "skipped",
}
_EXPLAINED = {
    "skipped_budget": "Skipped: over budget.",
    "unknown": "fal may have accepted and charged it. `{reconcile}` finds out.",
    "rendered": "It is paid for and will be fetched for free: `{resume}`.",
    "cancelled": "Cancelled.",
}
_FLAG = re.compile(r"[^\W\d][\w-]*")


Address = Callable[[str], str]
"""Gives the address of a file of a run by its path, relative to the run's folder."""


def clip_documents(
    rows: Sequence[ResultRow],
    others: Sequence[ResultRow],
    pictures: Collection[str],
    address: Address = quote,
    *,
    sandbox: bool = False,
) -> Iterator[dict[str, Any]]:
    """Describe the clips of a run, then takes of the same shots in other runs.

    `pictures` are the thumbnails and strips that exist, relative to the run's folder. Clips of one shot have
    the same number in `shot`; a clip that is alone has none. `sandbox` says where the run was.
    """
    verbs = {verb: command(verb, sandbox=sandbox) for verb in ("reconcile", "resume")}
    explained = {status: text.format(**verbs) for status, text in _EXPLAINED.items()}
    shots = shot_numbers([*rows, *others])
    for row in rows:
        yield _document(row, pictures, shots[row.custom_id], address, explained)
    for row in others:
        run = PurePosixPath(row.folder).name
        yield _document(row, pictures, shots[row.custom_id], address, explained) | {"other": run}


def shot_numbers(rows: Iterable[ResultRow]) -> dict[str, int]:
    """Number the shots by the names of their clips, 0 for a clip that is the only one of its shot.

    Takes of a row are one shot, and so are a clip and its retakes.
    """
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while parents.setdefault(name, name) != name:
            name = parents[name]
        return name

    names = []
    for row in rows:
        names.append(row.custom_id)
        for linked in (row.shot, row.retake_of):
            if linked:
                parents[root(row.custom_id)] = root(linked)
    members: dict[str, int] = {}
    for name in names:
        members[root(name)] = members.get(root(name), 0) + 1
    numbers = {shot: at for at, shot in enumerate((s for s, count in members.items() if count > 1), 1)}
    return {name: numbers.get(root(name), 0) for name in names}


def _document(
    row: ResultRow, pictures: Collection[str], shot: int, address: Address, explained: Mapping[str, str]
) -> dict[str, Any]:
    charged = CHARGED_TEXT.get(row.charged, "") if row.error else ""
    poster = row.poster_path
    strip = str(strip_of(PurePosixPath(poster))) if poster else ""
    return {
        "job": row.job_id,
        "id": clean(row.custom_id),
        "row": row.job.row,
        "group": GROUPS.get(row.status, "open"),
        "label": _label(row),
        "prompt": clean(row.job.prompt),
        "model": row.model,
        "task": row.job.endpoint.task,
        "client": clean(row.job.client),
        "resolution": row.job.shot.resolution,
        "shape": _shape(row),
        "seconds": row.duration_s,
        "sound": bool(row.has_audio),
        "cost": row.actual_nano,
        "expected": row.expected_nano,
        "parts": {"draft": row.draft_nano, "finish": row.finish_nano},
        "error": clean(row.error) or explained.get(row.status, ""),
        "charged": "" if charged in row.error.lower() else charged,
        "video": _playable(row.output_path, address),
        "draft": _playable(row.draft_path, address),
        "poster": address(poster) if poster in pictures else "",
        "strip": address(strip) if strip in pictures else "",
        "link": row.output_url if is_web_address(row.output_url) else "",
        "details": _details(row),
        "take": row.job.take,
        "shot": shot,
        "retake_of": clean(row.retake_of),
        "flags": _flags(row.flags),
        "verdict": row.verdict,
        "note": clean(row.review_note),
        "reviews": [review_document(review) for review in row.reviews],
        "times": _times(row),
    }


def review_document(review: Review) -> dict[str, Any]:
    """Describe one judgement."""
    return {
        "review": review.review_id,
        "at": minute_utc(review.at_ms),
        "by": clean(review.by),
        "verdict": review.verdict,
        "note": clean(review.note),
        "changes": {
            name: clean(value) if isinstance(value, str) else value for name, value in review.changes.items()
        },
    }


def _label(row: ResultRow) -> str:
    """Name the status; what was made as a draft and not finished is called one."""
    is_draft = row.status in SUCCESSES and row.draft_nano is not None and row.finish_nano is None
    return "draft" if is_draft else _LABELS.get(row.status, row.status)


def _shape(row: ResultRow) -> str:
    """Say what the clip is, or, where there is none, what was asked for."""
    if row.width_px is None or row.duration_s is None:
        length = length_text(row.job.shot)
        return f"{row.job.shot.resolution} · {row.job.aspect_ratio} · {length}"
    sound = " · sound" if row.has_audio else ""
    return f"{row.width_px} × {row.height_px} · {row.duration_s:.2f} s · {row.fps:g} fps{sound}"  # noqa: RUF001


def _details(row: ResultRow) -> list[tuple[str, str]]:
    """Return the small print as pairs of a word and a value; what is not known is left out."""
    pairs = (
        ("endpoint", row.job.endpoint.id),
        ("request", row.request_id),
        ("seed", "" if row.seed_used is None else str(row.seed_used)),
        ("attempts", str(row.attempts) if row.attempts > 1 else ""),
        ("cost from", row.cost_basis.replace("_", " ")),
        ("draft", "" if row.draft_nano is None else f"${usd_text(row.draft_nano)}"),
        ("finish", "" if row.finish_nano is None else f"${usd_text(row.finish_nano)}"),
        ("finish until", "" if row.finish_until_ms is None else minute_utc(row.finish_until_ms)),
        ("queued", _seconds(row.submitted_ms, row.started_ms)),
        ("rendered in", "" if row.render_s is None else f"{row.render_s:.3g} s"),
        ("error", row.error_type),
        ("file", row.output_path if _is_elsewhere(row.output_path) else ""),
        ("SHA-256", row.sha256),
    )
    return [(word, clean(value)) for word, value in pairs if value]


def _seconds(since_ms: int | None, until_ms: int | None) -> str:
    if since_ms is None or until_ms is None:
        return ""
    return f"{max(0, until_ms - since_ms) / 1000:.3g} s"


def _times(row: ResultRow) -> list[int | None] | None:
    """Return when a clip was submitted, started, rendered and here (Unix ms), None if it was not sent."""
    if row.submitted_ms is None:
        return None
    rendered_ms = None
    if row.started_ms is not None and row.render_s is not None:
        rendered_ms = row.started_ms + round(row.render_s * 1000)
    return [row.submitted_ms, row.started_ms, rendered_ms, row.finished_ms]


def _flags(flags: str) -> list[tuple[str, str]]:
    """Return each flag's kind and its text: `black 0-1.2 s; frozen 3-5 s` are black and frozen."""
    found = []
    for part in flags.split(";"):
        text = clean(part).strip()
        kind = _FLAG.match(text)
        if text:
            found.append((kind[0].lower() if kind else text, text))
    return found


def _playable(path: str, address: Address) -> str:
    """Return the address of a file that a browser can play from the page, "" for one in another store."""
    return address(path) if path and not _is_elsewhere(path) else ""


def _is_elsewhere(path: str) -> bool:
    """Say whether a file is in another object store than the page; a browser cannot play it from there."""
    return "://" in path


def is_web_address(url: str) -> bool:
    """Say whether a link may be followed from the page: `javascript:` and the like may not."""
    try:
        return urlsplit(url).scheme in {"https", "http"}
    except ValueError:
        return False
