"""How long renders take: fal's published figure, and what this run has seen. Pure; times are in seconds."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from pricing.quotes import Quote

REFERENCE_RENDER_S = 41.0
"""fal's page for Seedance: "~41 seconds for 5-second 1080p video on L20 GPU"
(https://fal.ai/models/fal-ai/bytedance/seedance/v1/lite/image-to-video)."""

REFERENCE_WORK = 1920 * 1088 * 120
"""The pixels of that video: 1080p at 16:9 in Seedance 1.0, 24 frames a second, 5 seconds."""


def published_render_s(pixels: int, frames: int) -> float:
    """Return the published figure, scaled by how much there is to render."""
    return REFERENCE_RENDER_S * pixels * frames / REFERENCE_WORK


_ENOUGH = 5
"""Observed renders after which a kind of job counts as known."""


@dataclass(frozen=True, slots=True)
class RenderKind:
    """A kind of job whose renders take about the same time. `pixels` is width x height of the video."""

    endpoint_id: str
    pixels: int
    frames: int

    @classmethod
    def of(cls, endpoint_id: str, price: Quote) -> RenderKind:
        """Return the kind of a priced job."""
        return cls(endpoint_id, price.width_px * price.height_px, price.frames)

    @classmethod
    def read(cls, text: str) -> RenderKind:
        """Read what `text` wrote. Raises ValueError for anything else."""
        endpoint_id, pixels, frames = text.rsplit("|", 2)
        return cls(endpoint_id, int(pixels), int(frames))

    @property
    def text(self) -> str:
        """The kind as the ledger names it."""
        return f"{self.endpoint_id}|{self.pixels}|{self.frames}"

    @property
    def prior_s(self) -> float:
        """The published figure, scaled by how much there is to render."""
        return published_render_s(self.pixels, self.frames)


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a render takes, in seconds: `low_s` to `high_s`, most likely `expected_s` (all above 0).

    `is_known` says that it was learned from enough renders of this very kind.
    """

    expected_s: float
    low_s: float
    high_s: float
    is_known: bool = False


class RenderTimes:
    """What renders have taken, by kind of job.

    `scale` multiplies the published figure until something has been learned (a sandbox at speed 20: 1 / 20).
    Kinds never seen before follow the ratio of the endpoint's other kinds.
    """

    def __init__(self, *, scale: float = 1.0, remembered: int = 30) -> None:
        self._scale = scale
        self._by_kind: defaultdict[RenderKind, deque[float]] = defaultdict(lambda: deque(maxlen=remembered))
        self._by_endpoint: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=remembered))

    def observe(self, kind: RenderKind, render_s: float) -> None:
        """Learn from a render that ended well. `render_s` counts from its start, not from the submission."""
        if render_s > 0:
            self._by_kind[kind].append(render_s)
            self._by_endpoint[kind.endpoint_id].append(render_s / kind.prior_s)

    def estimate(self, kind: RenderKind) -> Estimate:
        """Return what to expect of the next render of this kind."""
        seen = self._by_kind.get(kind, ())
        if len(seen) >= _ENOUGH:
            return _learned(sorted(seen))
        if seen:
            return _spread(median(seen), 0.8, 1.3)
        ratios = self._by_endpoint.get(kind.endpoint_id, ())
        ratio = median(ratios) if ratios else self._scale
        return _spread(kind.prior_s * ratio, 0.7, 1.4)


def _spread(expected_s: float, low: float, high: float) -> Estimate:
    return Estimate(expected_s, expected_s * low, expected_s * high)


def _learned(seen: list[float]) -> Estimate:
    middle = median(seen)
    deviation = median(abs(value - middle) for value in seen)
    half = min(max(2.4 * deviation, 0.015 * middle), 0.4 * middle)
    return Estimate(middle, middle - half, middle + half, is_known=True)


def campaign_s(renders: Iterable[tuple[int, float]], *, concurrency: int) -> float:
    """Return how long many renders take, `concurrency` (1 or more) at a time: [(how many, seconds each)].

    Never less than the longest of them; what fal's queue adds is not known beforehand.
    """
    listed = [(count, render_s) for count, render_s in renders if count]
    longest_s = max((render_s for _, render_s in listed), default=0.0)
    return max(longest_s, sum(count * render_s for count, render_s in listed) / concurrency)


def in_words(seconds: float) -> str:
    """Write a time for people: `40 s`, `12 min`, `3 h 20 min`; at least `1 s`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours < 48 else f"{hours / 24:.1f} days"
