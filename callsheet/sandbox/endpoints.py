"""The endpoints, their prices, and the schema of each as its own page at fal.ai states it.

Unknown fields are ignored, as fal's models do: `num_frames` changes nothing on an endpoint whose page does
not list it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

from callsheet.sandbox.pixels import frames_of

Ratio6 = Literal["21:9", "16:9", "4:3", "1:1", "3:4", "9:16"]
Ratio7 = Literal["21:9", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21"]
RatioAuto = Literal["21:9", "16:9", "4:3", "1:1", "3:4", "9:16", "auto"]
Resolution = Literal["480p", "720p", "1080p"]
ReferenceResolution = Literal["480p", "720p"]
Seconds2To12 = Literal["2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"]
Seconds4To12 = Literal["4", "5", "6", "7", "8", "9", "10", "11", "12"]


MAX_PROMPT = 50_000
"""Characters. fal publishes no bound; this one keeps a request within reason."""


class Arguments(BaseModel):
    """What every endpoint takes. `seed` -1 or none means: choose one."""

    prompt: str = Field(max_length=MAX_PROMPT)
    camera_fixed: bool = False
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    enable_safety_checker: bool = True


class _Seconds(Arguments):
    duration: Seconds2To12 = "5"


class _Frames(_Seconds):
    num_frames: int | None = Field(default=None, ge=29, le=289)


class _LiteText(_Frames):
    aspect_ratio: Ratio7 = "16:9"
    resolution: Resolution = "720p"


class _LiteImage(_Frames):
    image_url: str
    end_image_url: str | None = None
    aspect_ratio: RatioAuto = "auto"
    resolution: Resolution = "720p"


class _LiteReference(_Frames):
    reference_image_urls: list[str] = Field(min_length=1, max_length=4)
    aspect_ratio: RatioAuto = "auto"
    resolution: ReferenceResolution = "720p"


class _ProText(_Seconds):
    aspect_ratio: Ratio6 = "16:9"
    resolution: Resolution = "1080p"


class _ProImage(_Seconds):
    image_url: str
    end_image_url: str | None = None
    aspect_ratio: RatioAuto = "auto"
    resolution: Resolution = "1080p"


class _FastText(_Frames):
    aspect_ratio: Ratio6 = "16:9"
    resolution: Resolution = "1080p"


class _FastImage(_Seconds):
    image_url: str
    aspect_ratio: RatioAuto = "auto"
    resolution: Resolution = "1080p"


class _Text15(Arguments):
    aspect_ratio: RatioAuto = "16:9"
    resolution: Resolution = "720p"
    duration: Seconds4To12 = "5"
    generate_audio: bool = True


class _Image15(_Text15):
    image_url: str
    end_image_url: str | None = None


@dataclass(frozen=True, slots=True)
class ServedEndpoint:
    """One model id. Rates are nano-dollars per token; `silent_rate_nano` holds where no audio is made.

    `unit` is the price list's word for what `X-Fal-Billable-Units` counts.
    """

    id: str
    short_name: str
    schema: type[Arguments]
    version: str
    rate_nano: int
    silent_rate_nano: int
    unit: str

    def rate(self, *, audio: bool) -> int:
        """Nano-dollars per token, with or without an audio track."""
        return self.rate_nano if audio else self.silent_rate_nano


def _row(
    path: str, name: str, schema: type[Arguments], rate_nano: int, silent_nano: int = 0
) -> ServedEndpoint:
    version = "1.5" if path.startswith("v1.5") else "1.0"
    full_id = f"fal-ai/bytedance/seedance/{path}"
    unit = "1000 tokens" if "/lite/" in path else "1m tokens"
    return ServedEndpoint(full_id, name, schema, version, rate_nano, silent_nano or rate_nano, unit)


# $ per million tokens on each endpoint's page at fal.ai: 1.0 Pro 2.5, Pro Fast 1.0, Lite 1.8; 1.5 Pro 2.4
# with audio and 1.2 without. A dollar per million tokens is 1000 nano-dollars per token. Units as in fal's
# price list (captured 2026-10), which has no row for Lite: 1000 tokens is assumed there.
_ROWS = (
    _row("v1/lite/text-to-video", "Seedance 1.0 Lite", _LiteText, 1800),
    _row("v1/lite/image-to-video", "Seedance 1.0 Lite", _LiteImage, 1800),
    _row("v1/lite/reference-to-video", "Seedance 1.0 Lite", _LiteReference, 1800),
    _row("v1/pro/text-to-video", "Seedance 1.0 Pro", _ProText, 2500),
    _row("v1/pro/image-to-video", "Seedance 1.0 Pro", _ProImage, 2500),
    _row("v1/pro/fast/text-to-video", "Seedance 1.0 Pro Fast", _FastText, 1000),
    _row("v1/pro/fast/image-to-video", "Seedance 1.0 Pro Fast", _FastImage, 1000),
    _row("v1.5/pro/text-to-video", "Seedance 1.5 Pro", _Text15, 2400, 1200),
    _row("v1.5/pro/image-to-video", "Seedance 1.5 Pro", _Image15, 2400, 1200),
)
ENDPOINTS: Mapping[str, ServedEndpoint] = {row.id: row for row in _ROWS}


@dataclass(frozen=True, slots=True)
class ClipOrder:
    """The arguments that matter to the render, with every default filled in.

    `images` are URLs: none, the first image, or up to four references (`montage`).
    """

    endpoint: ServedEndpoint
    prompt: str
    ratio: str
    resolution: str
    frames: int
    seed: int
    audio: bool
    camera_fixed: bool
    images: tuple[str, ...]
    end_image: str | None
    montage: bool


def shot_of(endpoint: ServedEndpoint, arguments: Mapping[str, Any], random_seed: int) -> ClipOrder:
    """Check the arguments and fill in the defaults. Raises pydantic.ValidationError.

    `random_seed` is used where no seed was given or it is -1.
    """
    given = endpoint.schema.model_validate(arguments).model_dump()
    first = given.get("image_url")
    references = given.get("reference_image_urls") or ()
    return ClipOrder(
        endpoint=endpoint,
        prompt=given["prompt"],
        ratio=given["aspect_ratio"],
        resolution=given["resolution"],
        frames=given.get("num_frames") or frames_of(int(given["duration"])),
        seed=random_seed if given["seed"] in (None, -1) else given["seed"],
        audio=given.get("generate_audio", False),
        camera_fixed=given["camera_fixed"],
        images=(first,) if first else tuple(references),
        end_image=given.get("end_image_url"),
        montage=bool(references),
    )
