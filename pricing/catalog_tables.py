"""The tables of a catalog file, key by key: what each may hold, and what it means."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from pricing.money import parse_usd
from pricing.rates import CONFIDENCES, Confidence, Rate
from pricing.units import KNOWN_UNITS, Unit, parse_unit

Task = Literal["text-to-video", "image-to-video", "reference-to-video", "draft-to-video"]
TASKS: tuple[Task, ...] = ("text-to-video", "image-to-video", "reference-to-video", "draft-to-video")

Sizes = dict[str, tuple[int, int]]
"""Width and height in pixels by aspect ratio."""

SizesByTable = dict[tuple[str, str], Sizes]
SIDE_MAX_PX = 16_384

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)*", re.ASCII)
_AMOUNT = re.compile(r"\d{1,7}(\.\d{1,9})?", re.ASCII)
_SECONDS = re.compile(r"[1-9]\d{0,3}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Allowed:
    """Checks a value: `read` returns what it means, or raises ValueError; `words` say what is allowed."""

    words: str
    read: Callable[[Any], Any]

    def __call__(self, value: Any) -> Any:
        """Return what a value means. Raises ValueError, which says what is allowed."""
        try:
            return self.read(value)
        except ValueError:
            raise ValueError(f"it must be {self.words}") from None


def _allowed(words: str, is_right: Callable[[Any], bool]) -> BeforeValidator:
    """Return a check of a value that is taken as it is."""

    def read(value: Any) -> Any:
        if not is_right(value):
            raise ValueError
        return value

    return BeforeValidator(Allowed(words, read))


def _whole(low: int, high: int) -> BeforeValidator:
    return _allowed(
        f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and value.isprintable()


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _are_whole(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(each) is int for each in value)


def _are_seconds(value: Any) -> bool:
    return _are_whole(value) and value == sorted(set(value)) and value[0] > 0 and value[-1] <= 3600


def _are_bounds(value: Any) -> bool:
    return _are_whole(value) and len(value) == 2 and 0 <= value[0] <= value[1] <= 10**6


def _is_amount(value: Any) -> bool:
    """Dollars are text, because a number of TOML would be a float."""
    return isinstance(value, str) and _AMOUNT.fullmatch(value) is not None and parse_usd(value) > 0


def _unit(value: Any) -> Unit:
    unit = parse_unit(value) if isinstance(value, str) else None
    if unit is None:
        raise ValueError
    return unit


def _day(value: Any) -> str:
    is_day = isinstance(value, dt.date) and not isinstance(value, dt.datetime)
    day = value if is_day else dt.date.fromisoformat(value if isinstance(value, str) else "")
    return day.isoformat()


def _default_duration(value: Any) -> int | None:
    if value == "auto":
        return None
    if not isinstance(value, str) or not _SECONDS.fullmatch(value):
        raise ValueError
    return int(value)


def _is_ratio(text: str) -> bool:
    across, _, down = text.partition(":")
    return all(side.isascii() and side.isdigit() and int(side) > 0 for side in (across, down))


def _is_size(value: Any) -> bool:
    return _are_whole(value) and len(value) == 2 and all(0 < side <= SIDE_MAX_PX for side in value)


def _are_sizes(value: Any) -> bool:
    is_table = isinstance(value, dict) and bool(value)
    return is_table and all(_is_ratio(ratio) and _is_size(size) for ratio, size in value.items())


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 200 and _NAME.fullmatch(value) is not None


Text = Annotated[str, _allowed("text on one line", _is_text)]
Name = Annotated[str, _allowed("letters, digits, '.', '_', '-' and '/'", _is_name)]
Texts = Annotated[tuple[str, ...], _allowed("a list of texts, each once", _are_texts)]
Truth = Annotated[bool, _allowed("true or false", lambda value: isinstance(value, bool))]
Seconds = Annotated[
    tuple[int, ...], _allowed("a list of whole seconds from 1 to 3600, the shortest first", _are_seconds)
]
Bounds = Annotated[tuple[int, int], _allowed("two whole numbers, the lower first", _are_bounds)]
Amount = Annotated[
    str, _allowed("dollars as text like 0.014, above 0, with at most nine decimals", _is_amount)
]
Per = Annotated[Unit, BeforeValidator(Allowed(KNOWN_UNITS, _unit))]
Day = Annotated[str, BeforeValidator(Allowed("a day like 2026-11-21", _day))]
SizeTable = Annotated[Sizes, _allowed('sizes like { "16:9" = [1280, 720] }', _are_sizes)]
DefaultDuration = Annotated[
    int | None, BeforeValidator(Allowed("seconds as text like 5, or auto", _default_duration))
]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Endpoint(_Table):
    """One fal model id and what it accepts.

    `durations_s` are whole seconds, `default_duration_s` is None where the model chooses (`auto`). Bounds are
    inclusive, None where the endpoint has no such input. `audio` says whether it takes `generate_audio`
    (whose default is true); `seed`, `camera_fixed`, `safety_checker`, `draft` and `end_user_id` say the same
    of those inputs, `num_frames_doubted` that some of fal's documents do not list `num_frames`,
    `returns_seed` that the reply names the seed. `tasks` are what it can do with reference files, and
    `prompt_optional` says that files alone are enough. `not_sent` are options that have one value and no
    input. `pixels` names the table of its sizes. `input_video_ms` is the most video that may come in, in
    milliseconds. `aliases` are other ids under which fal may list it. `deprecated` names the model to take
    instead, "" where it is current. Where `history_confirmed` is False, no real account has shown yet how
    fal's history lists its requests. `unit` and `unit_price` are what fal's price list says, None where it
    says nothing.
    """

    id: Name
    model: Name
    task: Annotated[Task, _allowed(f"one of {', '.join(TASKS)}", TASKS.__contains__)]
    pixels: Text
    aspect_ratios: Texts
    default_aspect_ratio: Text
    resolutions: Texts
    default_resolution: Text
    durations_s: Seconds
    default_duration_s: DefaultDuration = Field(5, alias="default_duration")
    source: Text
    num_frames: Bounds | None = None
    num_frames_doubted: Truth = False
    reference_images: Bounds | None = None
    reference_videos: Bounds | None = None
    reference_audios: Bounds | None = None
    reference_files: Annotated[int, _whole(0, 1000)] = 0
    input_video_ms: Annotated[int, _whole(0, 3_600_000)] = 0
    end_image: Truth = False
    audio: Truth = False
    seed: Truth = False
    returns_seed: Truth = False
    camera_fixed: Truth = False
    safety_checker: Truth = False
    end_user_id: Truth = False
    draft: Truth = False
    codecs: Texts = ()
    bitrate_modes: Texts = ()
    tasks: Texts = ()
    prompt_optional: Truth = False
    not_sent: Texts = ()
    fps: Annotated[int, _whole(1, 240)] = 0
    aliases: Texts = ()
    deprecated: Text = ""
    history_confirmed: Truth = True
    unit: Text | None = None
    unit_price: Amount | None = None

    @model_validator(mode="before")
    @classmethod
    def _named_by_its_id(cls, row: Any) -> Any:
        if not isinstance(row, dict):
            return row
        own_id = row.get("id")
        if not isinstance(own_id, str):  # that is what is wrong with the row, and nothing else here
            return {"task": TASKS[0], "source": "https://fal.ai/models", **row}
        return {"task": own_id.rpartition("/")[2], "source": f"https://fal.ai/models/{own_id}", **row}

    def made_ratios(self, table: Iterable[str]) -> list[str]:
        """Return the ratios it can make: those it takes by name, or all of the table if it takes none."""
        named = [ratio for ratio in self.aspect_ratios if ratio != "auto"]
        return named or list(table)

    @property
    def auto_duration(self) -> bool:
        """Whether the model may choose the length."""
        return self.default_duration_s is None

    @property
    def names(self) -> tuple[str, ...]:
        """Its id and all other ids of it."""
        return (self.id, *self.aliases)


class RateRow(_Table):
    """One row of the price book, as it is written: see `Rate`."""

    of: Name
    usd: Amount
    per: Per
    since: Day = Field(alias="from")
    source: Text
    confidence: Annotated[
        Confidence, _allowed(f"one of {', '.join(CONFIDENCES)}", CONFIDENCES.__contains__)
    ] = "high"
    resolution: Text | None = None
    audio: Truth | None = None
    video_input: Truth | None = None
    input_usd: Amount | None = None
    note: Text = ""

    def rate(self) -> Rate:
        """Return the row with its amounts in nano-dollars."""
        return Rate(
            of=self.of,
            unit=self.per,
            nano=parse_usd(self.usd),
            since=self.since,
            source=self.source,
            confidence=self.confidence,
            resolution=self.resolution,
            audio=self.audio,
            video_input=self.video_input,
            input_nano=parse_usd(self.input_usd) if self.input_usd else 0,
            note=self.note,
        )


class PixelTable(BaseModel):
    """Sizes by resolution, which are the keys that are not named here."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, SizeTable]
    source: Text
    inexact: Texts = ()
    other: dict[str, SizeTable] = {}


class CatalogTables(_Table):
    """The whole file."""

    as_of: Day = ""
    fps: Annotated[int, _whole(1, 240)] = 24
    endpoints: tuple[Endpoint, ...] = ()
    rates: tuple[RateRow, ...] = ()
    pixels: dict[str, PixelTable] = {}

    @property
    def book(self) -> tuple[Rate, ...]:
        """The rows of the price book."""
        return tuple(row.rate() for row in self.rates)

    @property
    def sizes(self) -> SizesByTable:
        """Sizes by pixel table and resolution."""
        return {
            (name, each): sizes
            for name, table in self.pixels.items()
            for each, sizes in table.__pydantic_extra__.items()
        }

    @property
    def other_sizes(self) -> SizesByTable:
        """The sizes that another source names."""
        return {
            (name, each): sizes for name, table in self.pixels.items() for each, sizes in table.other.items()
        }


def words_for(field: FieldInfo) -> str:
    """Say what a key may hold."""
    checks = [each.func for each in field.metadata if isinstance(each, BeforeValidator)]
    return "".join(each.words for each in checks if isinstance(each, Allowed))
