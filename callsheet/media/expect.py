"""What a clip must be, from what was ordered, what it is, and the comparison of the two. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from callsheet.media.codes import MediaErrorCode, media_error
from manifests.job import Job
from manifests.look import Flag, LookRules, asks_for_cuts
from pricing.catalog import AUTO, Catalog
from pricing.units import grid_neighbours

FRAME_RATE_TOLERANCE = 0.1
"""Frames per second; accepts 23.976 for 24."""

FRAME_TOLERANCE = 1
"""Frames either way, beyond 24d and 24d + 1, which are both accepted (pricing/quotes.py)."""

AUDIO_TOLERANCE_S = 0.5
"""Seconds by which the sound may be shorter than the picture. AAC comes in frames of 21 ms, and encoders drop
the first one or two."""

SIZE_TOLERANCE = 0.12
"""How far each side may be from a size that no document states, as a part of it."""

_NOMINAL = {1088: 1080}
"""Lines. Volcengine's table says 1088, which is 1080 padded to whole macroblocks; fal's page for Pro Fast
image-to-video prices 1080 ($0.243 = 1920 x 1080 x 120 / 1024 tokens). Both are accepted."""


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What a file was found to hold, by decoding all of it.

    Pixels as stored; `fps` is the track's average; `duration_s` is that of the decoded frames and `audio_s`
    that of the decoded samples, 0 where there are none.
    """

    width_px: int
    height_px: int
    fps: float
    frames: int
    duration_s: float
    audio_s: float = 0.0

    @property
    def has_audio(self) -> bool:
        """Whether there is sound that could be decoded; a track that merely claims it does not count."""
        return self.audio_s > 0


Jpeg = bytes


class Decoded(NamedTuple):
    """What decoding a file brought: what it holds, two JPEGs, and what a technical look found.

    `thumbnail` is one of its frames and `strip` several of them, b"" where none could be made.
    """

    facts: MediaFacts
    thumbnail: Jpeg
    strip: Jpeg
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True, slots=True)
class LookOrder:
    """What a technical look looks for in a clip (`callsheet.media.look`).

    `sound` says that sound was ordered, `cuts` that the prompt asks for cuts. `first` and `last` are the
    files of the pictures that the clip is to begin and end with; None where there is none on this machine.
    """

    rules: LookRules
    sound: bool = False
    cuts: bool = False
    first: Path | None = None
    last: Path | None = None


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is accepted. `sizes` are (width, height) in pixels, frame bounds are inclusive.

    Where `exact` is False a size near one of them is accepted too. Where `audio_required` is False the file
    may have sound or none. Where `look` is given, the file is looked at while it is decoded.
    """

    sizes: tuple[tuple[int, int], ...]
    fps: float
    frames_min: int
    frames_max: int
    audio_required: bool = False
    exact: bool = True
    look: LookOrder | None = None

    def accepts_size(self, width_px: int, height_px: int) -> bool:
        """Say whether a picture of this size is right."""
        if self.exact:
            return (width_px, height_px) in self.sizes
        return any(
            abs(width_px - width) <= SIZE_TOLERANCE * width
            and abs(height_px - height) <= SIZE_TOLERANCE * height
            for width, height in self.sizes
        )


def expectation_of(job: Job, catalog: Catalog, rules: LookRules | None = None) -> Expectation:
    """Return what fal must deliver for a job.

    With `auto` every size of the resolution, and every length, is accepted, because fal chooses. Sound must
    be there where it was paid for; where it was not ordered it is ignored. `rules` say what a technical look
    flags; without them there is none.
    """
    shot = job.shot
    table = catalog.possible_sizes(job.endpoint, shot.resolution)
    chosen = table.values() if job.aspect_ratio == AUTO else [table[job.aspect_ratio]]
    sizes = [size for possible in chosen for size in possible]
    fps = catalog.fps_of(job.endpoint)
    low, high = _frames(job, fps)
    return Expectation(
        sizes=tuple(dict.fromkeys(size for pair in sizes for size in (pair, _nominal(pair)))),
        fps=fps,
        exact=catalog.is_exact(job.endpoint, shot.resolution),
        frames_min=low - FRAME_TOLERANCE,
        frames_max=high + 1 + FRAME_TOLERANCE,
        audio_required=bool(job.generate_audio),
        look=None if rules is None else look_order_of(job, rules),
    )


def look_order_of(job: Job, rules: LookRules) -> LookOrder:
    """Return what is looked for in a job's clip. Pictures behind an address are not fetched for this."""
    first, last = (
        Path(image.value) if image is not None and image.kind == "file" else None
        for image in (job.image, job.end_image)
    )
    return LookOrder(rules, bool(job.generate_audio), asks_for_cuts(job.prompt), first, last)


def _frames(job: Job, fps: int) -> tuple[int, int]:
    """Return the least and the most frames that are right; off the grid, both neighbours on it are."""
    if job.num_frames is None:
        allowed_s = job.endpoint.durations_s if job.duration_s is None else (job.duration_s,)
        return fps * min(allowed_s), fps * max(allowed_s)
    return grid_neighbours(job.num_frames)


def _nominal(size: tuple[int, int]) -> tuple[int, int]:
    return _NOMINAL.get(size[0], size[0]), _NOMINAL.get(size[1], size[1])


def verify(facts: MediaFacts, expected: Expectation) -> None:
    """Compare what came with what was ordered.

    Raises MediaError naming both: wrong_size, wrong_frame_rate, wrong_frame_count, wrong_duration,
    missing_audio or short_audio.
    """
    if not expected.accepts_size(facts.width_px, facts.height_px):
        wanted = " or ".join(f"{width} x {height}" for width, height in expected.sizes)
        raise media_error(
            MediaErrorCode.WRONG_SIZE, f"asked for {wanted} pixels, got {facts.width_px} x {facts.height_px}"
        )
    if abs(facts.fps - expected.fps) > FRAME_RATE_TOLERANCE:
        raise media_error(
            MediaErrorCode.WRONG_FRAME_RATE,
            f"asked for {expected.fps:g} frames a second, got {facts.fps:.3f}",
        )
    if not expected.frames_min <= facts.frames <= expected.frames_max:
        raise media_error(
            MediaErrorCode.WRONG_FRAME_COUNT,
            f"asked for {expected.frames_min} to {expected.frames_max} frames, got {facts.frames}",
        )
    _verify_time_and_sound(facts, expected)


def _verify_time_and_sound(facts: MediaFacts, expected: Expectation) -> None:
    low_s = (expected.frames_min - 0.5) / expected.fps
    high_s = (expected.frames_max + 0.5) / expected.fps
    if not low_s <= facts.duration_s <= high_s:
        raise media_error(
            MediaErrorCode.WRONG_DURATION,
            f"asked for {low_s:.2f} to {high_s:.2f} s, got {facts.duration_s:.2f} s",
        )
    if not expected.audio_required:
        return
    if not facts.has_audio:
        raise media_error(
            MediaErrorCode.MISSING_AUDIO, "asked for sound, which is paid for, and the video has none"
        )
    if facts.audio_s < facts.duration_s - AUDIO_TOLERANCE_S:
        raise media_error(
            MediaErrorCode.SHORT_AUDIO,
            f"asked for sound, which is paid for, and {facts.audio_s:.2f} s of the video's "
            f"{facts.duration_s:.2f} s have any",
        )
