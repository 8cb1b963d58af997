"""A technical look at a clip while it is decoded: black, frozen and blurred stretches, cuts, sound, pictures.

FFmpeg's own filters measure (blackdetect, scdet, blurdetect, silencedetect, ssim), on small copies of the
frames: every second frame at about 160 x 90 pixels, and two a second at about 432 x 243 for blur.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from av import AudioFrame, VideoFrame
from av.filter import Graph
from PIL import Image, ImageOps

from callsheet.media.expect import LookOrder
from callsheet.media.measures import Blur, Picture, Sound, Stretch, long_ones
from manifests.look import Flag

logger = logging.getLogger(__name__)

COMPARED = (16, 16)
"""Width and height, in pixels, at which both are compared: small, so that a camera that has moved a little
does not count."""

PICTURE_MAX_PIXELS = 64_000_000

NEAR_S = 0.15
"""A cut as near as this to the edge of a black stretch is that edge."""


class Look:
    """Measures the frames of one clip in the order in which they are decoded.

    It never raises: a look that cannot be had is logged, and the clip has no flags.
    """

    def __init__(self, order: LookOrder) -> None:
        self._order = order
        self._kinds = order.rules.kinds - ({"cut"} if order.cuts else set())
        self._is_broken = False
        self._picture: Picture | None = None
        self._blur: Blur | None = None
        self._sound: Sound | None = None
        self._first: VideoFrame | None = None
        self._last: VideoFrame | None = None

    def offer_picture(self, frame: VideoFrame) -> None:
        """Take the next frame of the video."""
        if self._is_broken:
            return
        with self._guarded():
            self._last = frame
            if self._first is None:
                self._first = frame
                if self._kinds & {"black", "frozen", "cut"}:
                    self._picture = Picture(frame, self._order.rules.limits)
                if "blurred" in self._kinds:
                    self._blur = Blur(frame, self._order.rules.limits["blurred_px"])
            if self._picture:
                self._picture.offer(frame)
            if self._blur:
                self._blur.offer(frame)

    def offer_sound(self, frame: AudioFrame) -> None:
        """Take the next samples of the sound."""
        if self._is_broken:
            return
        with self._guarded():
            if self._sound is None and self._order.sound and self._kinds & {"silent", "clipped"}:
                self._sound = Sound(frame, self._order.rules.limits)
            if self._sound:
                self._sound.offer(frame)

    def flags(self, end_s: float) -> tuple[Flag, ...]:
        """Return what was found, in order of time. `end_s` is the clip's length in seconds."""
        found: list[Flag] = []
        with self._guarded():
            found += self._in_picture(end_s)
            found += self._beside_pictures(end_s)
            if self._blur:
                found += self._blur.found(end_s, self._order.rules.limits["blurred_s"])
            if self._sound:
                found += self._sound.found(end_s, self._order.rules.limits)
        wanted = (flag for flag in found if flag.kind in self._kinds)
        return () if self._is_broken else tuple(sorted(wanted, key=lambda flag: (flag.from_s, flag.to_s)))

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 -- a look never fails a paid job
            self._is_broken = True
            logger.warning("a clip could not be looked at: %s: %s", type(error).__name__, error)

    def _in_picture(self, end_s: float) -> Iterator[Flag]:
        """Yield what is black or frozen, and cuts. What is black does not move, and its edges are no cuts."""
        if self._picture is None:
            return
        limits = self._order.rules.limits
        black = self._picture.black.until(end_s)
        yield from long_ones(black, "black", limits["black_s"])
        for flag in long_ones(self._picture.frozen(end_s), "frozen", limits["frozen_s"]):
            if not _is_mostly_within(flag, black):
                yield flag
        for at_s, percent in self._picture.cuts():
            if not any(abs(at_s - edge_s) < NEAR_S for stretch in black for edge_s in stretch):
                yield Flag("cut", round(at_s, 3), round(at_s, 3), percent)

    def _beside_pictures(self, end_s: float) -> Iterator[Flag]:
        """Yield what is not the picture that the clip is to begin or end with."""
        first, last = (self._first, self._order.first, 0.0), (self._last, self._order.last, end_s)
        for kind, (frame, path, at_s) in (("first_frame", first), ("last_frame", last)):
            if kind in self._kinds and frame is not None and path is not None:
                alike = likeness(frame, path)
                if alike is not None and alike < self._order.rules.limits["alike"]:
                    yield Flag(kind, round(at_s, 3), round(at_s, 3), round(alike, 3))


def _is_mostly_within(flag: Flag, others: list[Stretch]) -> bool:
    shared_s = sum(max(0.0, min(flag.to_s, to_s) - max(flag.from_s, from_s)) for from_s, to_s in others)
    return shared_s > (flag.to_s - flag.from_s) / 2


def likeness(frame: VideoFrame, picture: Path) -> float | None:
    """Return how much a frame is like a picture, from 0 to 1 (SSIM); None where the picture is not readable.

    The picture is cropped around its middle to the frame's shape, as fal does.
    """
    try:
        with Image.open(picture) as opened:
            if opened.width * opened.height > PICTURE_MAX_PIXELS:
                return None
            opened.draft("RGB", (frame.width, frame.height))
            upright = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    fitted = ImageOps.fit(upright, (frame.width, frame.height), Image.Resampling.BOX)
    return similarity(frame, VideoFrame.from_image(fitted))  # type: ignore[no-untyped-call]


def similarity(one: VideoFrame, other: VideoFrame) -> float:
    """Return the structural similarity (SSIM) of two frames as small grey pictures, from 0 to 1."""
    graph = Graph()
    small = []
    for each in (one, other):
        copy = each.reformat(*COMPARED, format="gray", interpolation="AREA")
        copy.pts, copy.time_base = 0, Fraction(1, 24)
        small.append(copy)
    buffers = [
        graph.add_buffer(width=each.width, height=each.height, format=each.format, time_base=each.time_base)
        for each in small
    ]
    ssim, sink = graph.add("ssim"), graph.add("buffersink")
    buffers[0].link_to(ssim, 0, 0)
    buffers[1].link_to(ssim, 0, 1)
    ssim.link_to(sink)
    graph.configure()
    for buffer, each in zip(buffers, small, strict=True):
        buffer.push(each)
        buffer.push(None)
    return max(0.0, float(graph.pull().metadata["lavfi.ssim.All"]))
