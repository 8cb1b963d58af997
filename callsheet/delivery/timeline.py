"""The delivered clips one after the other, as an OpenTimelineIO file that editors open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from urllib.parse import quote

import opentimelineio as otio
from opentimelineio import opentime, schema


@dataclass(frozen=True, slots=True)
class Shot:
    """A clip of the timeline: its path in the delivery, its length in frames and its rate per second."""

    name: str
    path: str
    frames: int
    rate: Fraction
    has_audio: bool
    metadata: Mapping[str, Any]


def timeline_text(name: str, shots: Sequence[Shot]) -> str:
    """Return the timeline as OpenTimelineIO's JSON. Media are named by paths relative to the file.

    There is a track for the picture, and one for the sound where a clip has any.
    """
    timeline = schema.Timeline(name)
    picture = schema.Track("V1", kind=schema.TrackKind.Video)
    picture.extend([_clip(shot) for shot in shots])
    timeline.tracks.append(picture)
    if any(shot.has_audio for shot in shots):
        sound = schema.Track("A1", kind=schema.TrackKind.Audio)
        sound.extend([_clip(shot) if shot.has_audio else _silence(shot) for shot in shots])
        timeline.tracks.append(sound)
    return str(timeline.to_json_string(indent=2)) + "\n"


def _range(shot: Shot) -> Any:
    rate = float(shot.rate)
    return opentime.TimeRange(opentime.RationalTime(0, rate), opentime.RationalTime(shot.frames, rate))


def _clip(shot: Shot) -> otio.schema.Clip:
    media = schema.ExternalReference(
        target_url=quote(shot.path),
        available_range=_range(shot),
        metadata={"callsheet": dict(shot.metadata)},
    )
    return schema.Clip(name=shot.name, media_reference=media, source_range=_range(shot))


def _silence(shot: Shot) -> otio.schema.Gap:
    return schema.Gap(name=shot.name, source_range=_range(shot))
