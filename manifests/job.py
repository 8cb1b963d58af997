"""One video to make: a manifest row after every check, what is sent to fal, and the fingerprint of it.

A Job is complete: no option that decides the price is left to a default that fal could change. `encode_job`
and `decode_job` write it as one line of JSON and back, exactly: the ledger keeps jobs like this.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from callsheet.errors import UsageError
from manifests.addresses import unsigned
from manifests.columns import Media
from manifests.spellings import is_blank
from pricing.catalog import AUTO, Catalog, Endpoint
from pricing.quotes import Shot


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that a job starts from, ends with or refers to; or a video or a sound that it refers to.

    `kind` is "url" (an address that fal fetches itself), "file" (a local file, or an object of a store such
    as `s3://bucket/a.png`, uploaded once per distinct content) or "data" (a `data:` URI of the manifest, made
    a file before the run: `manifests.images`). For a file and for data `sha256` and `content_type` are known,
    and `size` (width, height in pixels) unless the file says that it is to be turned; for an address none of
    them are known, and they are None. `length_ms` is a video's or a sound's length in milliseconds, None
    where it is not known. `etag` is what the server of an address said of the image when the job was opened,
    None where it said nothing; it is no part of the identity.
    """

    kind: Literal["url", "file", "data"]
    value: str
    sha256: str | None = None
    content_type: str | None = None
    size: tuple[int, int] | None = None
    media: Media = "image"
    length_ms: int | None = None
    etag: str | None = None

    @property
    def identity(self) -> str:
        """What makes two files the same one: the content where it is known, else the unsigned address."""
        own = f"sha256:{self.sha256}" if self.sha256 else unsigned(self.value)
        return own if self.media == "image" else f"{self.media}:{own}"


def label(custom_id: str, row: int) -> str:
    """Name a job for a message: its name, and the manifest's row that it comes from."""
    return f"{custom_id} (row {row})"


@dataclass(frozen=True, slots=True)
class Job:
    """One video to make.

    `row` is the manifest's row as errors count it (see `callsheet.errors.Problem`), `take` starts at 1.
    One of `duration_s` (whole seconds) and `num_frames` is set, or neither where the model chooses the
    length. `camera_fixed`, `seed` and `enable_safety_checker` are None where the row left them empty, and are
    then not sent; `generate_audio` is None on endpoints that make no sound. `extra` holds every other column
    as text, untouched.

    `draft` orders a draft. Where `draft_id` is given, the job finishes that draft on another endpoint, which
    fal allows until `finish_until_ms` (Unix milliseconds); all else is what the draft was ordered with.
    """

    row: int
    custom_id: str
    endpoint: Endpoint
    prompt: str
    resolution: str
    aspect_ratio: str
    duration_s: int | None = None
    num_frames: int | None = None
    camera_fixed: bool | None = None
    seed: int | None = None
    enable_safety_checker: bool | None = None
    generate_audio: bool | None = None
    image: Image | None = None
    end_image: Image | None = None
    references: tuple[Image, ...] = ()
    draft: bool | None = None
    task: str | None = None
    codec: str | None = None
    bitrate_mode: str | None = None
    draft_id: str = ""
    finish_until_ms: int = 0
    take: int = 1
    priority: int = 0
    client: str = ""
    output_name: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The job's name with its row of the manifest, for messages."""
        return label(self.custom_id, self.row)

    @property
    def shot(self) -> Shot:
        """What decides the price."""
        size = self.image.size if self.image else None
        shot = shot_of(self.endpoint, self.options, size, input_ms(self.endpoint, self.references))
        return replace(shot, resolution=self.endpoint.default_resolution) if self.draft_id else shot

    @property
    def images(self) -> tuple[Image, ...]:
        """Every picture that must have an address before the job can be submitted."""
        if self.draft_id:  # fal has them with the draft
            return ()
        return tuple(image for image in (self.image, self.end_image, *self.references) if image is not None)

    def arguments(self, addresses: Mapping[str, str], *, seed: int | None = None) -> dict[str, Any]:
        """Return the model input that is sent to fal.

        `addresses` maps each picture's `identity` to the URL that fal shall fetch. `seed` is the attempt's
        own number, by which fal's history knows it again: it is sent as the seed where the row gave none, and
        as `end_user_id` where the endpoint takes that. What decides the price is always spelled out, also
        where it equals fal's default.
        """
        if self.draft_id:
            return {"draft_id": self.draft_id} | ({"codec": self.codec} if self.codec else {})
        chosen = self.seed if self.seed is not None else seed
        takes = self.endpoint
        images = "image_urls" if takes.reference_videos else "reference_image_urls"
        duration = AUTO if self.duration_s is None else str(self.duration_s)
        arguments: dict[str, Any] = {
            "prompt": self.prompt or None,
            "aspect_ratio": self.aspect_ratio,
            "resolution": self.resolution,
            "duration": duration if self.num_frames is None else None,
            "num_frames": self.num_frames,
            "camera_fixed": self.camera_fixed,
            "seed": chosen if takes.seed else None,
            "end_user_id": f"callsheet-{seed}" if takes.end_user_id and seed is not None else None,
            "enable_safety_checker": self.enable_safety_checker,
            "generate_audio": self.generate_audio,
            "image_url": addresses[self.image.identity] if self.image else None,
            "end_image_url": addresses[self.end_image.identity] if self.end_image else None,
            "draft": self.draft,
            "task": self.task,
            "codec": self.codec,
            "bitrate_mode": self.bitrate_mode,
        }
        for name, media in ((images, "image"), ("video_urls", "video"), ("audio_urls", "audio")):
            urls = [addresses[each.identity] for each in self.references if each.media == media]
            arguments[name] = urls or None
        unsent = (name for name, value in arguments.items() if value is None)
        for name in {*unsent, *takes.not_sent}:
            del arguments[name]
        return arguments

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything that makes the video: equal fingerprints are the same purchase.

        Names, priorities and other columns are not part of it; the take is.
        """
        return fingerprint_of(
            options_text(self.endpoint.id, self.options),
            prompt=self.prompt,
            seed=self.seed,
            take=self.take,
            image=self.image.identity if self.image else "",
            end_image=self.end_image.identity if self.end_image else "",
            references=(image.identity for image in self.references),
        )

    @property
    def options(self) -> dict[str, Any]:
        """What is chosen of the endpoint's options, by the manifest's names; None is left to fal."""
        names = (*OPTIONS, *LATER_OPTIONS)
        return {name: self.duration_s if name == "duration" else getattr(self, name) for name in names}


OPTIONS = (
    "resolution",
    "aspect_ratio",
    "duration",
    "num_frames",
    "camera_fixed",
    "enable_safety_checker",
    "generate_audio",
)
"""The columns that choose an option of the endpoint."""

LATER_OPTIONS = {"draft": False, "task": "reference", "codec": "auto", "bitrate_mode": "standard"}
"""Options that came later, with what they mean at fal where they are left out (its OpenAPI, 2026-10). They
are part of a hash only where a row chooses something else, so that older hashes stay what they were."""

DRAFT_RESOLUTION = "480p"
"""What a draft is rendered at, whatever the row's resolution says (fal's OpenAPI of 2.5, 2026-10)."""


def later_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the later options that are not what fal does anyway."""
    return {
        name: options[name]
        for name, default in LATER_OPTIONS.items()
        if options.get(name) not in (None, default)
    }


def shot_of(
    endpoint: Endpoint, options: Mapping[str, Any], image_size: tuple[int, int] | None, input_ms: int
) -> Shot:
    """Return what decides the price of a job with these options (`Job.options`).

    Of all pictures only a first frame decides what `auto` becomes (Volcengine 82379/1520757).
    """
    return Shot(
        endpoint=endpoint,
        resolution=DRAFT_RESOLUTION if options["draft"] else options["resolution"],
        aspect_ratio=options["aspect_ratio"],
        duration_s=options["duration"],
        num_frames=options["num_frames"],
        audio=bool(options["generate_audio"]),
        image_size=image_size,
        input_ms=input_ms,
    )


def input_ms(endpoint: Endpoint, references: Iterable[Image]) -> int:
    """Return how much video comes in, in milliseconds: the most allowed where a length is not known."""
    lengths = [each.length_ms for each in references if each.media == "video"]
    known = [length for length in lengths if length is not None]
    return sum(known) if len(known) == len(lengths) else endpoint.input_video_ms


FINGERPRINT_VERSION = "callsheet-job-1"
"""Stands in every fingerprint: a change of what fingerprints mean needs another one (docs/decisions/0022)."""

FAL_DEFAULTS = {"camera_fixed": False, "enable_safety_checker": True}
"""What an option that is left out means at fal, on every Seedance endpoint (their OpenAPI, read 2026-11).
All other options are resolved to the endpoint's default when a row is read."""


def options_text(endpoint_id: str, options: Mapping[str, Any]) -> str:
    """Write what jobs of the same endpoint and options share of a fingerprint.

    An option that equals fal's default is the same video as one that is left out.
    """
    resolved = {
        name: FAL_DEFAULTS.get(name) if value is None else value
        for name, value in options.items()
        if name not in LATER_OPTIONS and (name != "duration" or options["num_frames"] is None)
    }
    return canonical_json({"endpoint": endpoint_id, **resolved, **later_options(options)})


def fingerprint_of(
    options: str,
    *,
    prompt: str,
    seed: int | None,
    take: int,
    image: str,
    end_image: str,
    references: Iterable[str],
) -> str:
    """Return the fingerprint of a job; pictures are given by their identities, "" for none.

    No identity has white space in it, so the parts cannot be taken for one another.
    """
    own = f"{take}\n{'' if seed is None else seed}\n{image}\n{end_image}\n{' '.join(references)}\n{prompt}"
    return hashlib.sha256(f"{FINGERPRINT_VERSION}\n{options}\n{own}".encode()).hexdigest()


def plain_prompt(text: str) -> str:
    """Return a prompt as it is sent and known: composed (NFC), each line break a line feed.

    One that shows nothing is empty.
    """
    if is_blank(text):
        return ""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


def canonical_json(value: Any) -> str:
    """Write JSON in the one form that hashes are taken over: sorted keys, no spaces, UTF-8 kept."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def encode_job(job: Job) -> str:
    """Write a job as compact JSON; fields that hold their default are left out."""
    data = _chosen(job) | {"endpoint": job.endpoint.id}
    for name in ("image", "end_image"):
        if name in data:
            data[name] = _chosen(data[name])
    if job.references:
        data["references"] = [_chosen(image) for image in job.references]
    if not job.extra:
        del data["extra"]
    return canonical_json(data)


def _chosen(record: Job | Image) -> dict[str, Any]:
    """Return the fields that do not hold their default."""
    values = {each.name: (getattr(record, each.name), each.default) for each in fields(record)}
    return {name: value for name, (value, default) in values.items() if value != default}


def decode_job(text: str, catalog: Catalog) -> Job:
    """Read a job back. Raises UsageError where the catalog no longer has its endpoint."""
    data = json.loads(text)
    endpoint = catalog.endpoints.get(data["endpoint"])
    if endpoint is None:
        raise UsageError(f"the catalog has no endpoint {data['endpoint']}; it had when this job was planned")
    data["endpoint"] = endpoint
    for name in ("image", "end_image"):
        if name in data:
            data[name] = _image(data[name])
    data["references"] = tuple(_image(each) for each in data.get("references", ()))
    return Job(**data)


def _image(data: dict[str, Any]) -> Image:
    size = data.get("size")
    return Image(**{**data, "size": (size[0], size[1]) if size else None})
