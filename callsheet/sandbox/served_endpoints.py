"""The endpoints, the schema of each as fal's own documents state it, and the errors of a model.

Unknown fields are ignored, as fal's models do: `num_frames` changes nothing on an endpoint without it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal, cast

from pydantic import BaseModel, Field, ValidationError, create_model

from callsheet.errors import CallsheetError
from callsheet.sandbox.pixels import AUTO_RATIOS, FPS, PIXELS, frames_of

MAX_ECHO = 10_000
"""Characters of an input that a reply repeats."""


class BadInput(CallsheetError):
    """The render cannot use an argument. It becomes fal's 422 body; `type` is fal's word for it."""

    def __init__(self, message: str, *, type_: str, loc: tuple[str | int, ...], **context: Any) -> None:
        self.type = type_
        self.loc = loc
        self.context = context
        super().__init__(message)

    def body(self, found: Any) -> dict[str, Any]:
        """Return the document of the 422 reply."""
        return model_error(str(self), self.type, ["body", *self.loc], found, self.context)


def model_error(
    message: str, type_: str, loc: list[str | int], found: Any = None, context: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the body of a model's error: a list with one item."""
    item = {"loc": loc, "msg": message, "type": type_, "input": _echo(found)}
    item["url"] = f"https://docs.fal.ai/errors#{type_}"
    return {"detail": [{**item, "ctx": context} if context else item]}


def validation_body(error: ValidationError) -> dict[str, Any]:
    """Return the body for arguments against the schema: pydantic's list, `body` in front of each place."""
    items = json.loads(error.json())
    for item in items:
        item["loc"] = ["body", *item["loc"]]
        item["input"] = _echo(item.get("input"))
    return {"detail": items}


def _echo(found: Any) -> Any:
    """Return an input, or the beginning of its text where it is long."""
    text = json.dumps(found, default=str)
    return found if len(text) <= MAX_ECHO else text[:200] + "..."


MAX_PROMPT = 50_000
"""Characters. fal publishes no bound; this one keeps a request within reason."""

INSTRUCTION = re.compile(r"\[([^\]\[]*)\]")
"""A camera instruction in a prompt; each makes a shot."""

VIDEO_INPUT = Fraction(3, 5)
"""The factor on the price where videos are among the inputs; their seconds are billed as well."""

_KINDS = ("text", "image", "reference")
KIND_NAMES = {kind: f"{kind.capitalize()} to Video" for kind in _KINDS} | {"draft": "Draft Completion"}
_Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ServedEndpoint:
    """One model id. `price_nano` is the list price in nano-dollars per token.

    `unit_price_nano` is that of one unit, 0 for what is priced by tokens. `unit` is the price list's word for
    what `X-Fal-Billable-Units` counts. `kind` is text, image, reference or draft. `sizes` are (width, height)
    in pixels, by resolution and ratio. `alias` is the id in the paths of fal's OpenAPI document where it
    differs from the listed one. A person's own model has `own_rate` (what multiplies its price, by sound and
    resolution), and `auto_s`, the seconds of a clip whose length is left to it.
    """

    id: str
    short_name: str
    kind: str
    schema: type[BaseModel]
    version: str
    price_nano: int
    unit: str
    sizes: Mapping[str, Mapping[str, tuple[int, int]]]
    alias: str = ""
    unit_price_nano: int = 0
    own_rate: Callable[..., Fraction] | None = None
    fps: int = FPS
    auto_s: int = 0

    @property
    def apps(self) -> set[str]:
        """Owner and app, as in status URLs: of the id, and of the alias."""
        return {"/".join(each.split("/")[:2]) for each in (self.id, self.alias) if each}

    def rate(self, *, audio: bool = False, resolution: str = "", videos: bool = False) -> Fraction:
        """Return nano-dollars per token of a clip; fal's list has one price, its pages and bills differ.

        v1.5 with sound costs twice the list price (fal's page). 2.5 at 1080p costs 1.094 times (a bill of
        2026-09). 2.0 at 4k costs 8/14, and videos as input make it 0.6 times, for mini only their own
        seconds (third parties, 2026-10).
        """
        if self.own_rate is not None:
            return self.own_rate(audio=audio, resolution=resolution)
        rate = Fraction(self.price_nano)
        if self.version == "1.5" and audio:
            rate *= 2
        if self.version == "2.5" and resolution == "1080p":
            rate *= Fraction("1.094")
        if resolution == "4k":
            rate *= Fraction(8, 14)
        return rate * VIDEO_INPUT if videos and not self.is_mini else rate

    @property
    def is_mini(self) -> bool:
        """Whether the discount for input videos holds for their own seconds alone."""
        return "/mini/" in self.id


@dataclass(frozen=True, slots=True)
class _Family:
    """Endpoints that differ only in what they start from. `seconds` are the shortest and the longest clip."""

    path: str
    name: str
    version: str
    price_nano: int
    seconds: tuple[int, int]
    resolutions: str = "480p 720p 1080p"
    resolution: str = "720p"

    @property
    def alias(self) -> str:
        """The path in fal's OpenAPI documents where it differs."""
        if self.version[0] == "1":
            return ""
        return self.path.replace("bytedance/", "fal-ai/").replace("2.0", "2")


# List prices and units: fal's price list as captured in 2026-10. It has no row for v1 Lite, whose page says
# $1.8 per million tokens; its unit is assumed. A dollar per million tokens is 1000 nano-dollars per token.
_V1, _2, _25 = "fal-ai/bytedance/seedance/v1", "bytedance/seedance-2.0", "bytedance/seedance-2.5"
_SHORT, _LONG, _LONGEST = (2, 12), (4, 15), (4, 30)
_LOW, _UP_TO_4K = "480p 720p", "480p 720p 1080p 4k"
_FAMILIES = (
    _Family(f"{_V1}/lite", "Seedance 1.0 Lite", "1.0", 1800, _SHORT),
    _Family(f"{_V1}/pro", "Seedance 1.0 Pro", "1.0", 2500, _SHORT, resolution="1080p"),
    _Family(f"{_V1}/pro/fast", "Seedance 1.0 Pro Fast", "1.0", 1000, _SHORT, resolution="1080p"),
    _Family(f"{_V1}.5/pro", "Seedance 1.5 Pro", "1.5", 1200, (4, 12)),
    _Family(_2, "Seedance 2.0", "2.0", 14_000, _LONG, _UP_TO_4K),
    _Family(f"{_2}/fast", "Seedance 2.0 Fast", "2.0", 11_200, _LONG, _LOW),
    _Family(f"{_2}/mini", "Seedance 2.0 Mini", "2.0", 7_000, _LONG, _LOW),
    _Family(f"{_2}/us", "Seedance 2.0 US", "2.0", 16_800, _LONG, _UP_TO_4K),
    _Family(_25, "Seedance 2.5", "2.5", 21_400, _LONGEST),
    _Family(f"{_25}/us", "Seedance 2.5 US", "2.5", 25_680, _LONGEST),
)
_CODEC = ("auto", "H264", "H265")
_SEED = (int | None, Field(None, ge=-(2**63), lt=2**63))


def one_of(values: Iterable[str], default: str) -> Any:
    """Return a schema's field that takes these values."""
    return (cast("Any", Literal)[tuple(values)], default)


def _fields(family: _Family, kind: str) -> _Fields:
    """Return the fields of an endpoint's schema, with types and defaults."""
    is_lite, shortest, longest = family.path.endswith("lite"), *family.seconds
    seconds = [str(number) for number in range(shortest, longest + 1)]
    resolutions = family.resolutions.split()
    prompt = (str, Field(max_length=MAX_PROMPT))
    if family.version[0] == "1":
        ratios = AUTO_RATIOS if kind == "text" and family.version == "1.0" else (*AUTO_RATIOS, "auto")
        by_image = kind != "text" and family.version == "1.0"
        fields: _Fields = {
            "prompt": prompt,
            "aspect_ratio": one_of(
                (*ratios, "9:21") if is_lite and kind == "text" else ratios, "auto" if by_image else "16:9"
            ),
            "resolution": one_of(resolutions[: 2 if kind == "reference" else None], family.resolution),
            "duration": one_of(seconds, "5"),
            "camera_fixed": (bool, False),
            "seed": _SEED,
            "enable_safety_checker": (bool, True),
        }
        if family.version == "1.0":
            fields["num_frames"] = (int | None, Field(None, ge=29, le=289))
    else:
        is_fixed = kind == "image" and family.version == "2.5"
        fields = {
            "prompt": prompt,
            "aspect_ratio": one_of(["auto"] if is_fixed else ["auto", *AUTO_RATIOS], "auto"),
            "resolution": one_of(resolutions, family.resolution),
            "duration": one_of(["auto", *seconds], "auto"),
            "codec": one_of(_CODEC, "auto"),
            "end_user_id": (str | None, None),
        }
        if not family.path.endswith("mini"):
            fields["bitrate_mode"] = one_of(("standard", "high"), "standard")
        if family.version == "2.5" and kind != "text":
            fields["prompt"] = (str | None, Field(None, max_length=MAX_PROMPT))
        if family.path.endswith("2.5"):
            fields["draft"] = (bool, False)
    if family.version != "1.0":
        fields["generate_audio"] = (bool, True)
    return fields | _inputs(family, kind)


def _inputs(family: _Family, kind: str) -> _Fields:
    """Return the fields that name files."""
    if kind == "image":
        has_end = not family.path.endswith("v1/pro/fast")
        return {"image_url": (str, ...)} | ({"end_image_url": (str | None, None)} if has_end else {})
    if kind == "text":
        return {}
    if family.version == "1.0":
        return {"reference_image_urls": (list[str], Field(min_length=1, max_length=4))}
    most = (9, 3, 3) if family.version == "2.0" else (30, 10, 10)
    names = ("image_urls", "video_urls", "audio_urls")
    fields: _Fields = {
        name: (list[str], Field([], max_length=count)) for name, count in zip(names, most, strict=True)
    }
    if family.version == "2.5":
        fields["seed"] = _SEED
        fields["task"] = one_of(("reference", "editing", "extension"), "reference")
    return fields


def _endpoints() -> Iterable[ServedEndpoint]:
    for family in _FAMILIES:
        is_v1 = family.version[0] == "1"
        unit = "1m tokens" if is_v1 and not family.path.endswith("lite") else "1000 tokens"
        for kind in _KINDS if not is_v1 or family.path.endswith("lite") else ("text", "image"):
            schema = create_model(f"{kind.capitalize()}ToVideoInput", **_fields(family, kind))
            yield ServedEndpoint(
                id=f"{family.path}/{kind}-to-video",
                short_name=family.name,
                kind=kind,
                schema=schema,
                version=family.version,
                price_nano=family.price_nano,
                unit=unit,
                sizes={each: PIXELS[family.version, each] for each in family.resolutions.split()},
                alias=family.alias and f"{family.alias}/{kind}-to-video",
            )
    draft = create_model(
        "DraftCompleteInput",
        draft_id=(str, Field(min_length=1, max_length=8192)),
        codec=one_of(_CODEC, "auto"),
        resolution=one_of(["1080p"], "1080p"),
    )
    yield ServedEndpoint(
        id=f"{_25}/draft/complete",
        short_name="Seedance 2.5",
        kind="draft",
        schema=draft,
        version="2.5",
        price_nano=21_400,
        unit="1000 tokens",
        sizes={"1080p": PIXELS["2.5", "1080p"]},
        alias="fal-ai/seedance-2.5/draft/complete",
    )


ENDPOINTS: dict[str, ServedEndpoint] = {row.id: row for row in _endpoints()}


class Served:
    """The endpoints of one server: fal's, and those of a person's own catalog.

    `by_path` has listed ids and aliases: both are one endpoint in history and billing.
    """

    def __init__(self, own: Iterable[ServedEndpoint]) -> None:
        self.by_id = dict(ENDPOINTS)
        self.by_path = {row.alias: row for row in ENDPOINTS.values() if row.alias} | ENDPOINTS
        self.add(own)

    def add(self, own: Iterable[ServedEndpoint]) -> list[str]:
        """Serve these from now on, and return their ids."""
        more = {endpoint.id: endpoint for endpoint in own}
        self.by_id.update(more)
        self.by_path.update(more)
        return list(more)


MOST_FILES = {"2.0": 12, "2.5": 50}
"""Reference files of all kinds together."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that an argument names: `kind` is image, video or audio, `loc` its place in the arguments."""

    kind: str
    loc: tuple[str | int, ...]
    url: str


@dataclass(frozen=True, slots=True)
class ClipOrder:
    """The arguments that matter to the render, with every default filled in.

    `sources` are the first image, or the references. `codec` is H264 or H265.
    """

    endpoint: ServedEndpoint
    prompt: str
    ratio: str
    resolution: str
    frames: int
    seed: int
    audio: bool = False
    camera_fixed: bool = False
    sources: tuple[Source, ...] = ()
    end_image: str | None = None
    codec: str = "H264"
    high_bitrate: bool = False
    draft: bool = False

    def completed(self, endpoint: ServedEndpoint, codec: str) -> ClipOrder:
        """Return the order that completes this draft: the same take at 1080p."""
        codec = self.codec if codec == "auto" else codec
        return replace(self, endpoint=endpoint, resolution="1080p", codec=codec, draft=False)


def shot_of(endpoint: ServedEndpoint, arguments: Mapping[str, Any], random_seed: int) -> ClipOrder:
    """Check the arguments and fill in the defaults. Raises pydantic.ValidationError and BadInput.

    `random_seed` is used where no seed was given or it is -1. Not for the endpoint that completes drafts.
    """
    given = endpoint.schema.model_validate(arguments).model_dump()
    sources = _sources(given)
    if len(sources) > MOST_FILES.get(endpoint.version, len(sources)):
        most = MOST_FILES[endpoint.version]
        raise BadInput(
            f"At most {most} reference files are allowed, {len(sources)} were given",
            type_="sequence_too_long",
            loc=sources[-1].loc,
            max_length=most,
        )
    if sources and all(source.kind == "audio" for source in sources):
        raise BadInput("Reference audio needs an image or a video", type_="value_error", loc=("audio_urls",))
    prompt, seed = given["prompt"] or "", given.get("seed")
    draft = given.get("draft", False)
    return ClipOrder(
        endpoint=endpoint,
        prompt=prompt,
        ratio=given["aspect_ratio"],
        resolution="480p" if draft else given["resolution"],
        frames=given.get("num_frames")
        or frames_of(_seconds(endpoint, given["duration"], prompt), endpoint.fps),
        seed=random_seed if seed in (None, -1) else seed,
        audio=given.get("generate_audio", False),
        camera_fixed=given.get("camera_fixed", False),
        sources=sources,
        end_image=given.get("end_image_url"),
        codec="H265" if given.get("codec") == "H265" else "H264",
        high_bitrate=given.get("bitrate_mode") == "high",
        draft=draft,
    )


def _sources(given: Mapping[str, Any]) -> tuple[Source, ...]:
    found = [Source("image", ("image_url",), given["image_url"])] if given.get("image_url") else []
    names = {
        "reference_image_urls": "image",
        "image_urls": "image",
        "video_urls": "video",
        "audio_urls": "audio",
    }
    for name, kind in names.items():
        found += [Source(kind, (name, index), url) for index, url in enumerate(given.get(name) or ())]
    return tuple(found)


def _seconds(endpoint: ServedEndpoint, duration: str, prompt: str) -> int:
    """Return whole seconds. For `auto` the sandbox takes 5, and 3 more for each further shot (assumed)."""
    if duration != "auto":
        return int(duration)
    shots = len(INSTRUCTION.findall(prompt))
    return endpoint.auto_s or min(5 + 3 * max(0, shots - 1), 15 if endpoint.version == "2.0" else 30)
