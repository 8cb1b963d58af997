"""What is measured of the frames and the sound of one clip, by FFmpeg's own filters.

All times are seconds from the clip's start.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av import AudioFrame, VideoFrame
from av.filter import Graph

from manifests.look import Flag

SMALL_PX = 160 * 90
BLUR_PX = 432 * 243
"""Pixels of the copies that are measured: blur needs more of the picture than the rest does."""

EVERY = 2
"""Of so many frames one is measured."""

BLUR_EVERY_S = 0.5
CLIP_WINDOW_S = 0.25
SHARPEST = 20
"""Percent of the picture whose sharpness counts: where anything is sharp, the clip is in focus."""

BLOCK_PX = 36
ALL_BLACK = 0.995
"""Share of a picture's pixels that must be black: a candle or street lights are more than the rest."""

KEY_PERCENT = 1.0
"""Below this much change, in percent of white, a key frame may show what the frame before it shows."""

FULL_SCALE = 0.9
"""Share of full scale from which on a sample counts as one at its end: FFmpeg's AAC encoder turns clipped
sound down to 0.95, and the codec rounds its corners."""

SAMPLES_HZ = 48_000

Stretch = tuple[float, float]
"""From when to when."""


def long_ones(stretches: list[Stretch], kind: str, least_s: float) -> list[Flag]:
    """Return the stretches that last as long as that, as flags."""
    return [
        Flag(kind, round(from_s, 3), round(to_s, 3), round(to_s - from_s, 3))
        for from_s, to_s in stretches
        if to_s - from_s >= least_s
    ]


class Stretches:
    """Stretches as a filter reports them: where one begins, and where it ends unless the clip ends first."""

    def __init__(self, begins: str, ends: str, zero_s: float = 0.0) -> None:
        self._keys, self._zero_s = (begins, ends), zero_s
        self._begun_s: float | None = None
        self._ended: list[Stretch] = []

    def read(self, said: Mapping[str, str]) -> None:
        """Take what a filter wrote at one frame."""
        begins, ends = self._keys
        if ends in said and self._begun_s is not None:
            self._ended.append((self._begun_s, float(said[ends]) - self._zero_s))
            self._begun_s = None
        if begins in said:
            self._begun_s = max(0.0, float(said[begins]) - self._zero_s)

    def until(self, end_s: float) -> list[Stretch]:
        """Return them; an open one ends with the clip."""
        ended = [(from_s, min(to_s, end_s)) for from_s, to_s in self._ended]
        return ended if self._begun_s is None else [*ended, (self._begun_s, end_s)]


class Picture:
    """Black and frozen stretches, and cuts, of small copies of every other frame."""

    def __init__(self, first: VideoFrame, limits: Mapping[str, float]) -> None:
        self._zero_s = first.time or 0.0
        self._graph = _video_graph(
            first,
            SMALL_PX,
            ("blackdetect", f"d=0.01:pic_th={ALL_BLACK}:pix_th={limits['black_level']}"),
            ("scdet", ""),
        )
        self._still_percent, self._cut_percent = limits["frozen_percent"], limits["cut_percent"]
        self._changes: list[tuple[float, float]] = []
        self._offered = 0
        self._has_key = False
        self._seen_s: float | None = None
        self._still_s: float | None = None
        self._frozen: list[Stretch] = []
        self.black = Stretches("lavfi.black_start", "lavfi.black_end", self._zero_s)

    def offer(self, frame: VideoFrame) -> None:
        """Measure the next frame, or pass it over.

        A key frame is coded anew, so it differs from a frame that shows the same: such a step says nothing.
        """
        number, self._offered = self._offered, self._offered + 1
        self._has_key = self._has_key or (frame.key_frame and number > 0)
        if number % EVERY:
            return
        for measured in _pulled(self._graph, frame):
            said, at_s = measured.metadata, (measured.time or 0.0) - self._zero_s
            self.black.read(said)
            percent = float(said.get("lavfi.scd.mafd", "inf"))
            if "lavfi.scd.mafd" in said:
                self._changes.append((at_s, percent))
            self._take_change(at_s, percent, KEY_PERCENT if self._has_key else self._still_percent)
            self._has_key = False

    def _take_change(self, at_s: float, percent: float, still_percent: float) -> None:
        is_still = self._seen_s is not None and percent <= still_percent
        if is_still and self._still_s is None:
            self._still_s = self._seen_s
        elif not is_still and self._still_s is not None:
            self._frozen.append((self._still_s, at_s))
            self._still_s = None
        self._seen_s = at_s

    def cuts(self) -> Iterator[tuple[float, float]]:
        """Yield when the picture jumps, and by how much more than before and after, in percent of white.

        A camera that is swung, or something that passes close by, changes the picture for longer.
        """
        around = [0.0, *(percent for _, percent in self._changes), 0.0]
        for number, (at_s, percent) in enumerate(self._changes):
            jump = percent - max(around[number], around[number + 2])
            if jump >= self._cut_percent:
                yield at_s, round(jump, 3)

    def frozen(self, end_s: float) -> list[Stretch]:
        """Return the frozen stretches; an open one ends with the clip."""
        return self._frozen if self._still_s is None else [*self._frozen, (self._still_s, end_s)]


class Blur:
    """The width of edges where a picture is sharpest, twice a second."""

    def __init__(self, first: VideoFrame, limit_px: float) -> None:
        block = f"block_pct={SHARPEST}:block_width={BLOCK_PX}:block_height={BLOCK_PX}"
        self._graph = _video_graph(first, BLUR_PX, ("blurdetect", block))
        self._limit_px = limit_px
        self._zero_s = self._next_s = first.time or 0.0
        self._seen: list[tuple[float, float]] = []

    def offer(self, frame: VideoFrame) -> None:
        """Measure a frame if it is its turn."""
        time_s = frame.time or 0.0
        if time_s + 0.001 < self._next_s:
            return
        self._next_s = time_s + BLUR_EVERY_S
        for measured in _pulled(self._graph, frame):
            width_px = float(measured.metadata.get("lavfi.blur", "nan"))  # none where there are no edges
            self._seen.append((time_s - self._zero_s, 0.0 if math.isnan(width_px) else width_px))

    def found(self, end_s: float, least_s: float) -> Iterator[Flag]:
        """Yield the stretches that are blurred throughout."""
        run: list[tuple[float, float]] = []
        for at_s, width_px in (*self._seen, (end_s, 0.0)):
            if width_px >= self._limit_px:
                run.append((at_s, width_px))
                continue
            if run and at_s - run[0][0] >= least_s:
                mean_px = sum(each for _, each in run) / len(run)
                yield Flag("blurred", round(run[0][0], 3), round(at_s, 3), round(mean_px, 2))
            run = []


class Sound:
    """Silent stretches, and quarters of a second whose peaks are cut off."""

    def __init__(self, first: AudioFrame, limits: Mapping[str, float]) -> None:
        graph = Graph()
        buffer = graph.add_abuffer(
            format=first.format.name,
            sample_rate=first.sample_rate,
            layout=first.layout.name,
            time_base=Fraction(1, first.sample_rate),
        )
        filters = (
            ("aformat", f"sample_fmts=fltp:sample_rates={SAMPLES_HZ}"),
            ("asetnsamples", f"n={round(SAMPLES_HZ * CLIP_WINDOW_S)}:p=0"),  # drops what other filters wrote
            ("silencedetect", f"noise={limits['silent_db']}dB:d={limits['silent_s']}"),
            ("abuffersink", ""),
        )
        graph.link_nodes(buffer, *(graph.add(name, said) for name, said in filters)).configure()
        self._graph, self._limit = graph, limits["clipped_share"]
        self._silence = Stretches("lavfi.silence_start", "lavfi.silence_end")
        self._clipped: list[tuple[float, float, float]] = []
        self._heard_s = 0.0

    def offer(self, frame: AudioFrame | None) -> None:
        """Measure samples; None says that there are no more."""
        for measured in _pulled(self._graph, frame):
            self._silence.read(measured.metadata)
            level = np.abs(measured.to_ndarray())
            from_s, self._heard_s = self._heard_s, self._heard_s + level.shape[1] / SAMPLES_HZ
            share = float((level >= FULL_SCALE).mean())
            if share >= self._limit:
                self._clipped.append((from_s, self._heard_s, share))

    def found(self, end_s: float, limits: Mapping[str, float]) -> Iterator[Flag]:
        """Yield silence, and clipping of two windows or more that touch each other."""
        self.offer(None)
        yield from long_ones(self._silence.until(end_s), "silent", limits["silent_s"])
        run: list[tuple[float, float, float]] = []
        for each in (*self._clipped, (math.inf, math.inf, 0.0)):
            if run and each[0] > run[-1][1] + 0.001:
                if len(run) > 1:
                    share = sum(found for *_, found in run) / len(run)
                    to_s = min(run[-1][1], end_s)
                    yield Flag("clipped", round(run[0][0], 3), round(to_s, 3), round(share, 3))
                run = []
            run.append(each)


def _video_graph(first: VideoFrame, pixels: int, *filters: tuple[str, str]) -> Graph:
    """Return a chain of filters over copies of about so many pixels, of the frames' own shape."""
    graph = Graph()
    graph.threads = 1
    buffer = graph.add_buffer(
        width=first.width, height=first.height, format=first.format, time_base=first.time_base
    )
    share = min(1.0, math.sqrt(pixels / (first.width * first.height)))
    width_px, height_px = (max(16, round(side * share / 2) * 2) for side in (first.width, first.height))
    nodes = [graph.add(name, arguments) for name, arguments in filters]
    scaled = graph.add("scale", f"w={width_px}:h={height_px}:flags=area")
    graph.link_nodes(buffer, scaled, *nodes, graph.add("buffersink")).configure()
    return graph


def _pulled(graph: Graph, frame: VideoFrame | AudioFrame | None) -> Iterator[Any]:
    """Push a frame (None at the end) and yield what comes out."""
    graph.push(frame)
    while True:
        try:
            yield graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
