"""What is told of the clips: sidecars, shot list, OpenTimelineIO timeline, and what a delivery contains."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from urllib.parse import quote

import opentimelineio as otio
from opentimelineio import opentime, schema

from callsheet.delivery.kept_clips import KeptClip
from callsheet.delivery.package import FORMAT, Written
from callsheet.ledger import Run
from callsheet.report.rows import iso_utc
from callsheet.report.safe_text import guarded, spreadsheet_csv
from pricing.money import usd_text


@dataclass(frozen=True, slots=True)
class Delivered:
    """A clip in the delivery. `label` is where its AI label is: "embedded", or "sidecar" with the reason."""

    clip: KeptClip
    video: Written
    label: str
    why_sidecar: str = ""


def facts_of(each: Delivered, run: Run) -> dict[str, Any]:
    """Return everything that is known of a clip, in the shot list's order. Amounts are exact decimal USD."""
    row, maker = each.clip.row, each.clip.maker
    return {
        "file": each.video.path,
        "custom_id": row.custom_id,
        "client": row.job.client,
        "campaign": run.campaign,
        "prompt": row.job.prompt,
        "model": row.model,
        "endpoint": row.job.endpoint.id,
        "seed": row.seed_used if row.seed_used is not None else row.job.seed,
        "take": row.job.take,
        "retake_of": row.retake_of,
        "width": row.width_px,
        "height": row.height_px,
        "fps": row.fps,
        "duration_s": row.duration_s,
        "has_audio": row.has_audio,
        "bytes": each.video.bytes,
        "sha256": each.video.sha256,
        "original_sha256": each.video.source_sha256,
        "bill_usd": "" if row.actual_nano is None else usd_text(row.actual_nano),
        "cost_basis": row.cost_basis,
        "request_id": row.request_id,
        "run_id": maker.run_id,
        "submitted_at": iso_utc(row.submitted_ms),
        "finished_at": iso_utc(row.finished_ms),
        "verdict": row.verdict,
        "review_note": row.review_note,
        "ai_label": each.label,
    }


def sidecar(each: Delivered, run: Run) -> bytes:
    """Return a clip's JSON file: its facts, and the manifest's other columns."""
    document = {**facts_of(each, run), "columns": dict(each.clip.row.job.extra)}
    return _json(document)


def shot_list(delivered: Sequence[Delivered], run: Run) -> bytes:
    """Return the shot list as CSV for spreadsheets: no cell begins like a formula."""
    rows = [facts_of(each, run) for each in delivered]
    header = list(rows[0])
    return spreadsheet_csv(header, ([guarded(cell) for cell in row.values()] for row in rows)).encode(
        "utf-8", "replace"
    )


def contents(
    delivered: Sequence[Delivered],
    missing: Sequence[KeptClip],
    files: Iterable[Written],
    run: Run,
    *,
    is_sandbox: bool,
) -> bytes:
    """Return what a delivery contains: its clips, what is missing, and every file with its hash."""
    document = {
        "format": FORMAT,
        "run_id": run.run_id,
        "campaign": run.campaign,
        "sandbox": is_sandbox,
        "clips": [facts_of(each, run) for each in delivered],
        "missing": [clip.row.custom_id for clip in missing],
        "files": [{"path": each.path, "bytes": each.bytes, "sha256": each.sha256} for each in files],
    }
    return _json(document)


def _json(document: Any) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class TimelineClip:
    """A clip of the timeline: its path in the delivery, its length in frames and its rate per second."""

    name: str
    path: str
    frames: int
    rate: Fraction
    has_audio: bool
    metadata: Mapping[str, Any]


def timeline_text(name: str, clips: Sequence[TimelineClip]) -> str:
    """Return the timeline as OpenTimelineIO's JSON. Media are named by paths relative to the file.

    There is a track for the picture, and one for the sound where a clip has any.
    """
    timeline = schema.Timeline(name)
    picture = schema.Track("V1", kind=schema.TrackKind.Video)
    picture.extend([_media(clip) for clip in clips])
    timeline.tracks.append(picture)
    if any(clip.has_audio for clip in clips):
        sound = schema.Track("A1", kind=schema.TrackKind.Audio)
        sound.extend([_media(clip) if clip.has_audio else _silence(clip) for clip in clips])
        timeline.tracks.append(sound)
    return str(timeline.to_json_string(indent=2)) + "\n"


def _range(clip: TimelineClip) -> Any:
    rate = float(clip.rate)
    return opentime.TimeRange(opentime.RationalTime(0, rate), opentime.RationalTime(clip.frames, rate))


def _media(clip: TimelineClip) -> otio.schema.Clip:
    media = schema.ExternalReference(
        target_url=quote(clip.path),
        available_range=_range(clip),
        metadata={"callsheet": dict(clip.metadata)},
    )
    return schema.Clip(name=clip.name, media_reference=media, source_range=_range(clip))


def _silence(clip: TimelineClip) -> otio.schema.Gap:
    return schema.Gap(name=clip.name, source_range=_range(clip))
