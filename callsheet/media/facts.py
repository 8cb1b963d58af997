"""What a video file was found to hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What was found. Pixels as stored, `fps` as the track's average, `duration_s` of the decoded pictures.

    `has_audio` is True where sound samples could be decoded, not where a track merely claims them.
    """

    width_px: int
    height_px: int
    fps: float
    frames: int
    duration_s: float
    has_audio: bool
    codec: str
    audio_codec: str = ""
