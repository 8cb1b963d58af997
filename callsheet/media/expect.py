"""What a clip must be, from what was ordered, and the comparison of the two. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from callsheet.media.codes import Fault, fault
from callsheet.media.facts import MediaFacts
from manifests.job import Job
from pricing.catalog import AUTO, DEFAULT_DURATION_S, Catalog
from pricing.tokens import grid_neighbours

FRAME_RATE_TOLERANCE = 0.1
"""Frames per second; lets 23.976 pass for 24, which nobody can see."""

FRAME_TOLERANCE = 1
"""Frames either way, beyond 24d and 24d + 1, both of which are right (pricing/quotes.py)."""

_NOMINAL = {1088: 1080}
"""Lines. Volcengine's table says 1088, which is 1080 padded to whole macroblocks; fal's page for Pro Fast
image-to-video prices 1080 ($0.243 = 1920 x 1080 x 120 / 1024 tokens). Either is what was ordered."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is right. `sizes` are (width, height) in pixels, frame bounds are inclusive.

    Where `audio_required` is False it does not matter whether there is sound.
    """

    sizes: tuple[tuple[int, int], ...]
    fps: float
    frames_min: int
    frames_max: int
    audio_required: bool = False


def expectation_of(job: Job, catalog: Catalog) -> Expectation:
    """Return what fal must deliver for a job.

    With `auto` every size of the resolution is right, because fal alone chooses. Sound must be there where
    it was paid for; where it was not asked for it is ignored: a silent track costs nothing, and no film is
    thrown away for having one.
    """
    table = catalog.sizes(job.endpoint, job.resolution)
    sizes = list(table.values()) if job.aspect_ratio == AUTO else [table[job.aspect_ratio]]
    low, high = _frames(job, catalog.fps)
    return Expectation(
        sizes=tuple(dict.fromkeys(size for pair in sizes for size in (pair, _nominal(pair)))),
        fps=catalog.fps,
        frames_min=low - FRAME_TOLERANCE,
        frames_max=high + 1 + FRAME_TOLERANCE,
        audio_required=bool(job.generate_audio),
    )


def _frames(job: Job, fps: int) -> tuple[int, int]:
    if job.num_frames is None:
        frames = fps * (job.duration_s or DEFAULT_DURATION_S)
        return frames, frames
    return grid_neighbours(job.num_frames)


def _nominal(size: tuple[int, int]) -> tuple[int, int]:
    return _NOMINAL.get(size[0], size[0]), _NOMINAL.get(size[1], size[1])


def verify(facts: MediaFacts, expected: Expectation) -> None:
    """Compare what came with what was ordered.

    Raises MediaError naming both: wrong_size, wrong_frame_rate, wrong_frame_count, wrong_duration or
    missing_audio.
    """
    if (facts.width_px, facts.height_px) not in expected.sizes:
        wanted = " or ".join(f"{width} x {height}" for width, height in expected.sizes)
        raise fault(Fault.WRONG_SIZE, f"asked for {wanted} pixels, got {facts.width_px} x {facts.height_px}")
    if abs(facts.fps - expected.fps) > FRAME_RATE_TOLERANCE:
        raise fault(
            Fault.WRONG_FRAME_RATE, f"asked for {expected.fps:g} frames a second, got {facts.fps:.3f}"
        )
    if not expected.frames_min <= facts.frames <= expected.frames_max:
        raise fault(
            Fault.WRONG_FRAME_COUNT,
            f"asked for {expected.frames_min} to {expected.frames_max} frames, got {facts.frames}",
        )
    _verify_time_and_sound(facts, expected)


def _verify_time_and_sound(facts: MediaFacts, expected: Expectation) -> None:
    low_s = (expected.frames_min - 0.5) / expected.fps
    high_s = (expected.frames_max + 0.5) / expected.fps
    if not low_s <= facts.duration_s <= high_s:
        raise fault(
            Fault.WRONG_DURATION, f"asked for {low_s:.2f} to {high_s:.2f} s, got {facts.duration_s:.2f} s"
        )
    if expected.audio_required and not facts.has_audio:
        raise fault(Fault.MISSING_AUDIO, "asked for sound, which is paid for, and the video has none")
