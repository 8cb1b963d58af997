"""What a row must satisfy, declared once, as data.

A column says which values it takes (`kind`) and which field of the endpoint it depends on. Nothing here reads
a cell: the single-row check (`manifests.validate`), the documentation, and the check that works column by
column read this same declaration.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Literal

Media = Literal["image", "video", "audio"]

REFERENCE_FORMATS = {
    "video": {".mp4": "video/mp4", ".mov": "video/quicktime"},
    "audio": {".mp3": "audio/mpeg", ".wav": "audio/wav"},
}
"""fal's own schemas (captured 2026-10): MP4 and MOV videos, MP3 and WAV sounds."""

MEDIA_WORDS = {"image": "picture", "video": "video", "audio": "sound"}
"""What a kind of file is called in messages."""

REFERENCE_MAX_BYTES = {"video": 200_000_000, "audio": 15_000_000}
"""Of one file, the same schemas: 200 MB a video of 2.5 (2.0: 50 MB together), 15 MB a sound."""


SEED_MAX = 2**31 - 1
"""Volcengine 82379/1520757: seed from -1 to 2^31-1; -1 is random."""

PROMPT_MAX_CHARS = 5_000
"""fal publishes no limit. The longest prompt in its examples has 300 characters; ten times what is
written by hand still fits, and a document pasted into the wrong column does not become a paid video."""

NAME_MAX_CHARS = 120
PRIORITY_BOUND = 1_000
TAKES_MAX = 1_000
"""Takes that one line of a campaign file may ask for."""

TAKE_MAX = 1_000_000
"""The highest number of a take: as many as a plan can have jobs, if every row is the same."""


@dataclass(frozen=True, slots=True)
class Text:
    """Text of at most `max_chars` characters; on one line and printable unless `lines`."""

    max_chars: int
    lines: bool = False


@dataclass(frozen=True, slots=True)
class FileName:
    """A name that is safe on every file system: see `manifests.names`."""


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model's alias or an endpoint's id, of those in the catalog."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the values that the endpoint lists in `allowed`; `default` names the field of its default.

    Without one an empty cell leaves it to fal, and an endpoint may have no such input.
    """

    allowed: str
    default: str = ""


@dataclass(frozen=True, slots=True)
class Seconds:
    """Whole seconds, of those that the endpoint lists; `auto` where it lets the model choose."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from `low` to `high`, both included. `same_as_empty` is a number that says nothing.

    `where` names the endpoint's field that says whether it has the input.
    """

    low: int
    high: int
    default: int | None = None
    same_as_empty: int | None = None
    where: str = ""


@dataclass(frozen=True, slots=True)
class Frames:
    """A whole number within the endpoint's bounds, where it has any; off the grid it earns a warning."""


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false.

    `where` names the endpoint's field that says whether it has the option; elsewhere only `elsewhere` is
    accepted, and left out. `default` is spelled out where the row is empty; None leaves it to fal.
    """

    where: str
    default: bool | None = None
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Pictures:
    """One picture, or as many as the endpoint's field `bounds` says; or videos or sounds, as `media` says.

    `where` names the endpoint's field that says whether it takes one here.
    """

    where: str = ""
    bounds: str = ""
    media: Media = "image"


Kind = Text | FileName | ModelName | Choice | Seconds | Whole | Frames | Flag | Pictures


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the manifest.

    `also` lists other names of it. `mistaken` lists names that people write for it; such a column is carried,
    with a warning.
    """

    name: str
    kind: Kind
    about: str
    required: bool = False
    mistaken: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


COLUMNS = (
    Column("custom_id", Text(NAME_MAX_CHARS), "unique; made from the row's content when empty"),
    Column(
        "prompt",
        Text(PROMPT_MAX_CHARS, lines=True),
        "what the video shows; may be empty where files are enough for the model",
        required=True,
        mistaken=("text", "description"),
    ),
    Column(
        "model", ModelName(), "a model's alias or an endpoint's id", required=True, mistaken=("endpoint",)
    ),
    Column(
        "image_url",
        Pictures(),
        "the first frame: https URL, data: URI or a file beside the manifest",
        mistaken=("image", "image_path", "picture", "start_image", "first_frame"),
    ),
    Column(
        "end_image_url",
        Pictures(where="end_image"),
        "the last frame, same forms",
        mistaken=("end_image", "last_frame"),
    ),
    Column(
        "reference_image_urls",
        Pictures(bounds="reference_images"),
        "pictures to take subjects from, separated by ';' or ' | ', one a line, or a JSON list",
        mistaken=("references",),
        also=("reference_images",),
    ),
    Column(
        "reference_videos",
        Pictures(where="reference_videos", bounds="reference_videos", media="video"),
        "videos to take motion or style from, same forms; their seconds are billed too",
        mistaken=("reference_video", "video_urls"),
    ),
    Column(
        "reference_audios",
        Pictures(where="reference_audios", bounds="reference_audios", media="audio"),
        "sounds to take voices or music from, same forms; they need a picture or a video",
        mistaken=("reference_audio", "audio_urls"),
    ),
    Column(
        "aspect_ratio",
        Choice("aspect_ratios", "default_aspect_ratio"),
        "width to height",
        mistaken=("ratio", "aspect"),
    ),
    Column("resolution", Choice("resolutions", "default_resolution"), "lines of the picture"),
    Column(
        "duration",
        Seconds(),
        "seconds, or auto where the model may choose",
        mistaken=("seconds", "length"),
    ),
    Column(
        "num_frames",
        Frames(),
        "frames at 24 a second; wins over duration",
        mistaken=("frames",),
    ),
    Column("camera_fixed", Flag("camera_fixed"), "keep the camera still", mistaken=("fixed_camera",)),
    Column("seed", Whole(-1, SEED_MAX, same_as_empty=-1, where="seed"), "-1 or empty is random"),
    Column(
        "enable_safety_checker",
        Flag("safety_checker", elsewhere=True),
        "fal's own filter",
        mistaken=("safety_checker",),
    ),
    Column(
        "generate_audio",
        Flag(where="audio", default=True),
        "sound, where the model makes any",
        mistaken=("audio", "sound"),
    ),
    Column("draft", Flag("draft"), "a 480p preview that can be finished at 1080p within seven days"),
    Column(
        "task",
        Choice("tasks"),
        "what reference files are for: reference, editing or extension of a video",
    ),
    Column("codec", Choice("codecs"), "of the file: auto, H264 or H265"),
    Column("bitrate_mode", Choice("bitrate_modes"), "of the file: standard or high", mistaken=("bitrate",)),
    Column("priority", Whole(-PRIORITY_BOUND, PRIORITY_BOUND, default=0), "higher first"),
    Column(
        "take",
        Whole(1, TAKE_MAX, default=1),
        "which variant of the same row this is",
        mistaken=("takes", "variant"),
    ),
    Column("client", Text(NAME_MAX_CHARS), "whose money it is", mistaken=("customer",)),
    Column("output_name", FileName(), "the file's name, without .mp4", mistaken=("filename", "file_name")),
)

COLUMN = {column.name: column for column in COLUMNS}
"""The same columns, by name."""

MEDIA_OF = {column.name: column.kind.media for column in COLUMNS if isinstance(column.kind, Pictures)}
"""What the files of each column of pictures, videos and sounds are, in the order in which a job has them."""

PICTURE_COLUMNS = tuple(MEDIA_OF)
REFERENCES = tuple(
    column.name for column in COLUMNS if isinstance(column.kind, Pictures) and column.kind.bounds
)
"""Those of reference files: a cell may name several."""

FLAG_COLUMNS = tuple(column.name for column in COLUMNS if isinstance(column.kind, Flag))
CHOICE_COLUMNS = tuple(
    column.name for column in COLUMNS if isinstance(column.kind, Choice) and not column.kind.default
)
"""Those of a choice that is left to fal where the cell is empty."""

_BETWEEN_WORDS = re.compile("[\\s_\\-\u00ad\u200b-\u200d\u2060\ufeff]+")
"""What headers may differ in beside case: white space, `_`, `-`, and characters of no width."""

_NEAR = 0.78
"""How alike two names must be (difflib's ratio) for one to be taken for a misspelling of the other."""


def canonical(header: str) -> str:
    """Return our name for a header that differs only in case, spaces, `-` or `_`; else the header."""
    return _BY_WORDS.get(_words(header)) or header.strip()


def _words(name: str) -> str:
    return _BETWEEN_WORDS.sub("", name).casefold()


_BY_WORDS = {_words(name): column.name for column in COLUMNS for name in (column.name, *column.also)}


def likely_column(name: str, beside: Container[str] = ()) -> str | None:
    """Return the column of ours that a name may be a misspelling of.

    Another word for a column (`text`, `filename`) counts only where that column is not `beside` it.
    """
    plain = name.strip().lower().replace(" ", "_").replace("-", "_")
    for column in COLUMNS:
        if plain == column.name or (plain in column.mistaken and column.name not in beside):
            return column.name
    near = difflib.get_close_matches(plain, [column.name for column in COLUMNS], n=1, cutoff=_NEAR)
    return near[0] if near else None


_WORDS: tuple[tuple[str, str, str], ...] = (
    ("end_image_url", "end last final", "image images picture photo frame keyframe bild"),
    ("reference_image_urls", "reference references ref", "image images picture pictures photo photos"),
    ("reference_videos", "reference references ref", "video videos clip clips"),
    ("reference_audios", "reference references ref", "audio audios sound sounds music voice"),
    ("num_frames", "num number count", "frame frames"),
    ("num_frames", "", "frames"),
    ("image_url", "", "image images picture pictures photo frame keyframe keyframes bild startbild"),
    ("generate_audio", "", "audio sound ton"),
    ("duration", "", "duration seconds secs sec length runtime dauer sekunden laufzeit"),
    ("resolution", "", "resolution auflösung aufloesung"),
    ("aspect_ratio", "", "ratio aspect format seitenverhältnis seitenverhaeltnis"),
    ("take", "", "take takes variant variants quantity qty"),
    ("seed", "", "seed"),
    ("bitrate_mode", "", "bitrate"),
    ("client", "", "client customer"),
    ("model", "", "model endpoint"),
    ("prompt", "", "prompt"),
)
"""Words of headers that may mean a column of ours: one of each group, the first line that fits."""

_ELSEWISE = frozenset(
    {"alt", "approved", "by", "comment", "comments", "credit", "credits", "date", "email", "id", "license"}
    | {"note", "notes", "rate", "release", "rights", "status", "used"}
)
"""Words beside which a word of ours means something else: `Image credit`, `Frame rate`, `Model release`."""

_OF_SHOPS = frozenset(
    {
        "asin",
        "availability",
        "barcode",
        "ean",
        "gtin",
        "inventory",
        "mpn",
        "preis",
        "price",
        "sku",
        "stock",
        "upc",
    }
)
_COUNTED_IN_SHOPS = frozenset({"variant", "variants", "quantity", "qty"})
"""Beside a column of a shop's they are of its articles, and no takes."""

SHAPE = (
    r"(?i)^\s*[0-9]{1,2} ?[:x/×] ?[0-9]{1,2}\s*$|[0-9]:[0-9]|\b[0-9]{3,4} ?[x×] ?[0-9]{3,4}\b"  # noqa: RUF001
    r"|\b[0-9]{3,4}p\b|\b4k\b"
    r"|square|portrait|landscape|vertical|horizontal|quadrat|hochformat|querformat|story|reel"
)
"""What a cell of `Format` holds where it may be a picture's shape: an expression that Python and RE2 read."""

_WORD = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def column_by_words(header: str) -> str | None:
    """Return the column of ours that a header may mean by one of its words: `Video length` is duration."""
    words = _header_words(header)
    if words & _ELSEWISE:
        return None
    for ours, beside, which in _WORDS:
        if words.intersection(which.split()) and (not beside or words.intersection(beside.split())):
            return ours
    return None


def _header_words(header: str) -> set[str]:
    composed = unicodedata.normalize("NFC", header)
    return {word.casefold() for word in _WORD.findall(_CAMEL.sub(" ", composed))}


def shop_columns(header: Iterable[str]) -> set[str]:
    """Return the columns that count a shop's articles, by the columns beside them."""
    words = {name: _header_words(name) for name in header}
    is_of_a_shop = any(each & _OF_SHOPS for each in words.values())
    return {name for name, each in words.items() if each & _COUNTED_IN_SHOPS} if is_of_a_shop else set()


def is_format(name: str) -> bool:
    """Say whether a header is `Format` without a word that says of what: a file, a package, or a picture."""
    words = _header_words(name)
    return "format" in words and not words & {"aspect", "ratio"}
