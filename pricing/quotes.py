"""What one job will cost, and what it can cost at worst.

expected  the published formula over the pixels asked for and 24 frames a second, at the most trusted rate.
maximum   what the provider may bill at worst: one frame more (real bills count 121 frames for 5 s:
          usage.completion_tokens of 246,840 = 1920 x 1088 x 121 / 1024 in BytePlus's own sample), up to the
          next number the model can make where `num_frames` is between two, the default length where fal's
          documents differ on `num_frames` and it may be ignored, the largest picture of the resolution where
          the aspect ratio is left to the model or sources differ, and the dearest rate where sources
          conflict.

A length that is left to the model counts as the longest. Budgets hold the maximum.

fal keeps a draft for seven days, for the account that ordered it (OpenAPI of Seedance 2.5, read 2026-11). The
order that finishes it names nothing but the draft, and its reply names no length: what a finish costs
follows from the draft's own order (real bills of 4 s: 0.830962 USD for a draft, 4.59862353 for its finish).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from pricing.catalog import AUTO, DEFAULT_DURATION_S, Catalog, Endpoint
from pricing.money import NanoUsd, ceil_div
from pricing.rates import Rate
from pricing.units import Clip, grid_neighbours, most_frames, tokens

_ASSUMED_RATIO = "16:9"


@dataclass(frozen=True, slots=True)
class Shot:
    """What decides a price: everything resolved to a value, nothing left to a default.

    Either `duration_s` (whole seconds) or `num_frames` is given, or the length is left to the model;
    `num_frames` wins, as at fal. `image_size` is the first frame's width and height in pixels, None when
    there is none or it is not known. `input_ms` is the length of all videos that come in, in milliseconds.
    """

    endpoint: Endpoint
    resolution: str
    aspect_ratio: str
    duration_s: int | None = DEFAULT_DURATION_S
    num_frames: int | None = None
    audio: bool = False
    image_size: tuple[int, int] | None = None
    input_ms: int = 0

    @property
    def is_open(self) -> bool:
        """Whether the length is left to the model."""
        return self.num_frames is None and self.duration_s is None


@dataclass(frozen=True, slots=True)
class Quote:
    """Expected and maximum cost of one job in nano-dollars, and the clip that the expected cost is for.

    `frames` is 24 x duration or `num_frames`; the file may hold one more.
    """

    width_px: int
    height_px: int
    fps: int
    frames: int
    expected_nano: NanoUsd
    maximum_nano: NanoUsd

    @property
    def duration_s(self) -> float:
        """Seconds, as the formula counts them."""
        return self.frames / self.fps

    @property
    def tokens(self) -> float:
        """Tokens, as the published formula counts them."""
        return tokens(self.width_px, self.height_px, self.frames)


def quote(catalog: Catalog, shot: Shot) -> Quote:
    """Price one shot. Raises LookupError where the price book has no such rate: unknown is never free."""
    rates = rates_of(catalog, shot)
    likely, possible = _sizes_of(catalog.possible_sizes(shot.endpoint, shot.resolution), shot)
    frames = _frames(catalog, shot)
    width_px, height_px = likely
    largest = max(possible, key=lambda size: size[0] * size[1])
    most = Clip(*largest, _most_frames(catalog, shot), catalog.fps_of(shot.endpoint), shot.input_ms)
    return Quote(
        width_px=width_px,
        height_px=height_px,
        fps=most.fps,
        frames=frames,
        expected_nano=NanoUsd(rates[0].cost_nano(Clip(width_px, height_px, frames, most.fps, shot.input_ms))),
        maximum_nano=NanoUsd(max(rate.cost_nano(most) for rate in rates)),
    )


def rates_of(catalog: Catalog, shot: Shot) -> tuple[Rate, ...]:
    """Return the rows that price a shot, the most trusted first. Raises LookupError where there is none."""
    return catalog.rates_for(
        shot.endpoint, resolution=shot.resolution, audio=shot.audio, video_input=shot.input_ms > 0
    )


def _frames(catalog: Catalog, shot: Shot) -> int:
    """Return the frames ordered: of the longest clip where the model chooses."""
    longest_s = max(shot.endpoint.durations_s, default=DEFAULT_DURATION_S)
    return shot.num_frames or catalog.fps_of(shot.endpoint) * (shot.duration_s or longest_s)


def _most_frames(catalog: Catalog, shot: Shot) -> int:
    """Return the most frames that fal may make: of the default length where it may ignore `num_frames`."""
    ordered = most_frames(_frames(catalog, shot))
    if shot.num_frames is None or not shot.endpoint.num_frames_doubted:
        return ordered
    instead = replace(shot, num_frames=None, duration_s=shot.endpoint.default_duration_s)
    return max(ordered, most_frames(_frames(catalog, instead)))


Sizes = dict[str, tuple[tuple[int, int], ...]]


def _sizes_of(sizes: Sizes, shot: Shot) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """Return the likely size and all that fal may make."""
    if shot.aspect_ratio != AUTO:
        return sizes[shot.aspect_ratio][0], list(sizes[shot.aspect_ratio])
    if shot.image_size is None:
        likely = sizes.get(_ASSUMED_RATIO) or next(iter(sizes.values()))
        return likely[0], [size for each in sizes.values() for size in each]
    nearest = nearest_ratios(tuple(sizes), shot.image_size)
    return sizes[nearest[0]][0], [size for ratio in nearest for size in sizes[ratio]]


def nearest_ratios(ratios: tuple[str, ...], image_size: tuple[int, int]) -> list[str]:
    """Return the ratio that `auto` will most likely choose for an image, first, and any other it might.

    The documents say "the closest aspect ratio" and not by which measure (Volcengine 82379/1520757), so the
    nearest by quotient and by difference, of width to height and of height to width, all count; for most
    images they are the same one.
    """
    actual = image_size[0] / image_size[1]

    def value(ratio: str) -> float:
        width, height = ratio.split(":")
        return int(width) / int(height)

    by_quotient = min(ratios, key=lambda ratio: abs(math.log(value(ratio) / actual)))
    by_difference = min(ratios, key=lambda ratio: abs(value(ratio) - actual))
    by_inverse = min(ratios, key=lambda ratio: abs(1 / value(ratio) - 1 / actual))
    return list(dict.fromkeys((by_quotient, by_difference, by_inverse)))


def least_nano(catalog: Catalog, shot: Shot) -> int:
    """Return the least that fal can bill for a shot, in nano-dollars, less 2 % for how fal counts.

    That is the smallest picture that the shot allows and the fewest frames, at the most trusted rate. Real
    bills cut tokens to whole ones and round units, and fal's pages count 1080 lines where 1088 are made
    (0.7 %).
    """
    sizes = _sizes_of(catalog.possible_sizes(shot.endpoint, shot.resolution), shot)[1]
    smallest = min(sizes, key=lambda size: size[0] * size[1])
    fps = catalog.fps_of(shot.endpoint)
    frames = grid_neighbours(shot.num_frames)[0] if shot.num_frames else _frames(catalog, shot)
    if shot.is_open:
        frames = fps * min(shot.endpoint.durations_s)
    clip = Clip(*smallest, frames, fps, shot.input_ms)
    return rates_of(catalog, shot)[0].cost_nano(clip) * 98 // 100


class PriceGroup(NamedTuple):
    """Jobs that fal must bill by the same numbers: all that decides a price apart from the aspect ratio.

    `length` is frames or whole seconds, in words.
    """

    endpoint_id: str
    resolution: str
    length: str
    audio: bool

    def __str__(self) -> str:
        sound = ", with sound" if self.audio else ""
        return f"{self.endpoint_id} {self.resolution} {self.length}{sound}"


def price_group(shot: Shot) -> PriceGroup:
    """Return the price group of a shot."""
    return PriceGroup(shot.endpoint.id, shot.resolution, length_text(shot), shot.audio)


def length_text(shot: Shot) -> str:
    """Write how long a shot is: `5 s`, `57 frames`, `auto length`, with the video that comes in."""
    length = f"{shot.num_frames} frames" if shot.num_frames else f"{shot.duration_s} s"
    came = f", {shot.input_ms / 1000:g} s of video in" if shot.input_ms else ""
    return ("auto length" if shot.is_open else length) + came


DRAFT_KEPT_MS = 7 * 86_400_000
"""How long fal keeps a draft after it was made, in milliseconds."""

DRAFT_ID_MAX_CHARS = 8192
"""The longest draft_id that fal takes."""

ASSUMED_SHARE = (1, 4)
"""The share of drafts that is taken to be kept where nothing was finished so far: a round guess of ours."""


@dataclass(frozen=True, slots=True)
class DraftCost:
    """What drafts, or their finishes, cost in nano-dollars: how many there are, expected, and at most."""

    drafts: int = 0
    expected_nano: int = 0
    maximum_nano: int = 0

    def of_share(self, share: tuple[int, int]) -> DraftCost:
        """Return the cost of a share of them, given as a part and a whole; amounts are rounded up."""
        part, whole = share
        return DraftCost(
            ceil_div(self.drafts * part, whole),
            ceil_div(self.expected_nano * part, whole),
            ceil_div(self.maximum_nano * part, whole),
        )


def finish_shot(catalog: Catalog, shot: Shot) -> Shot:
    """Return what finishing a draft orders: the same shot at the full size of the model's finishing endpoint.

    Raises LookupError where its model has none.
    """
    endpoint = catalog.endpoint_for(shot.endpoint.model, "draft-to-video")
    if endpoint is None:
        raise LookupError(f"{shot.endpoint.model} has no endpoint that finishes drafts")
    return replace(shot, endpoint=endpoint, resolution=endpoint.default_resolution)


def draft_cost(catalog: Catalog, drafts: Iterable[tuple[Shot, int]]) -> DraftCost:
    """Add up what these drafts cost: shots, each with how many there are of it."""
    count = expected_nano = maximum_nano = 0
    for shot, times in drafts:
        price = quote(catalog, shot)
        count += times
        expected_nano += times * price.expected_nano
        maximum_nano += times * price.maximum_nano
    return DraftCost(count, expected_nano, maximum_nano)


def finish_cost(catalog: Catalog, drafts: Iterable[tuple[Shot, int]]) -> DraftCost:
    """Add up what finishing all of these drafts costs."""
    return draft_cost(catalog, ((finish_shot(catalog, shot), times) for shot, times in drafts))
