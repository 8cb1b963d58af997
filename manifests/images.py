"""Pictures and reference files of a manifest, checked before anything is spent.

Web addresses are passed on and never fetched from here. Local files, objects of a store (`s3://bucket/a.png`)
and `data:` URIs are read once, by this process and its credentials, and uploaded to fal: it never sees `s3://`.
fal may charge for a picture that it cannot use.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
import unicodedata
import warnings
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Literal
from urllib.parse import urlsplit

from callsheet.errors import UsageError
from callsheet.files import file_sha256, write_atomically
from manifests.addresses import doubt
from manifests.columns import MEDIA_WORDS, REFERENCE_FORMATS, REFERENCE_MAX_BYTES, Media
from manifests.job import Image, Job
from manifests.readers.remote import STORES, is_in_store, read_object, save_object


class BadPicture(ValueError):
    """The picture, video or sound cannot be used; the message says what is allowed."""


def read_reference(path: Path, media: Media) -> tuple[str, str, int]:
    """Return SHA-256 (hex), content type and length in milliseconds, rounded up. Raises BadPicture."""
    kinds = REFERENCE_FORMATS[media]
    content_type = kinds.get(path.suffix.lower())
    if content_type is None:
        raise BadPicture(f"this is not a {MEDIA_WORDS[media]} file; allowed are {', '.join(kinds)}")
    try:
        if not path.is_file():
            raise BadPicture(f"{path} is not a file")
        if path.stat().st_size > REFERENCE_MAX_BYTES[media]:
            raise BadPicture(
                f"the {MEDIA_WORDS[media]} is larger than {REFERENCE_MAX_BYTES[media] // 1_000_000} MB"
            )
        length_ms = _length_ms(path, media)
        return file_sha256(path), content_type, length_ms
    except OSError as error:
        raise BadPicture(f"cannot read {path}: {error.strerror}") from None


def _length_ms(path: Path, media: Media) -> int:
    """Return the length of the longest stream of that kind, by the container's own account."""
    import av

    try:
        with av.open(str(path)) as container:
            streams = container.streams.video if media == "video" else container.streams.audio
            lengths = [
                stream.duration * stream.time_base
                for stream in streams
                if stream.duration is not None and stream.time_base is not None
            ]
            if streams and not lengths and container.duration:
                lengths = [Fraction(container.duration, av.time_base)]
    except (av.FFmpegError, ValueError) as error:
        raise BadPicture(
            f"this is not a {MEDIA_WORDS[media]} that can be read ({type(error).__name__})"
        ) from None
    if not lengths or max(lengths) <= 0:
        raise BadPicture(f"this file has no {MEDIA_WORDS[media]}, or does not say how long it is")
    return -int(-max(lengths) * 1000 // 1)


MAX_BYTES = 30_000_000
MIN_SIDE_PX, MAX_SIDE_PX = 300, 6000
MIN_RATIO, MAX_RATIO = 0.4, 2.5
"""Upstream's rules: under 30 MB, sides of 300-6000 px, width/height of 0.4-2.5
(docs.modelhunter.ai seedance/image-to-video, read 2026-11; not confirmed on fal's own pages)."""

_TOO_LARGE = f"the picture is larger than {MAX_BYTES // 1_000_000} MB"

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "AVIF")
"""fal.ai/models/fal-ai/bytedance/seedance/v1/lite/image-to-video: jpg, jpeg, png, webp, gif, avif."""

URL_MAX_CHARS = 4096
"""Presigned addresses run to some 2,000 characters; servers commonly refuse above 8,000."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_SUFFIXES = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/avif": ".avif",
}
_ENDS = {"PNG": b"IEND", "GIF": b"\x00;"}
_END_WITHIN_BYTES = 1024
_ORIENTATION_TAG = 0x0112
_FIRST_TURNED_ORIENTATION = 5


@dataclass(frozen=True, slots=True)
class PictureFinder:
    """Reads the picture cells of one plan, each file once.

    Local files must lie under the manifest's folder or under `working_dir`; with `input_root` set, under that
    folder, relative paths begin there, and objects of a store are refused. `now` is when signatures must
    still be good.
    """

    working_dir: Path
    input_root: Path | None
    now: datetime
    _seen: dict[str, Image | str]

    @classmethod
    def of(cls, working_dir: Path, input_root: Path | None = None) -> PictureFinder:
        """Make one, with nothing read yet."""
        root = input_root.resolve() if input_root else None
        return cls(working_dir.resolve(), root, datetime.now(UTC), {})

    def doubt(self, image: Image) -> str:
        """Say why fal cannot fetch a picture from its address; "" where nothing is known against it."""
        return doubt(image.value, self.now) if image.kind == "url" else ""

    def find(self, cell: str, folder: Path, media: Media = "image") -> Image:
        """Read a picture, a video or a sound of a manifest that lies in `folder`. Raises BadPicture."""
        scheme = _SCHEME.match(cell)
        word = scheme[1].lower() if scheme else ""
        if word in ("http", "https"):
            return _address(cell, media)
        if word in STORES and self.input_root:
            raise BadPicture(f"{word}:// is not read while an input root is set; use a path in it")
        if word and word not in STORES and (word != "data" or media != "image"):
            raise BadPicture(f"{word}: URLs are not supported; use a path, https://, s3:// or data:")
        path = cell if word else str((self.input_root or folder) / cell)
        key = f"{media}:{path}"
        found = self._seen.get(key)
        if found is None:
            kind = "data" if word == "data" else media
            found = self._seen[key] = self._read(cell, path, folder, kind)
        if isinstance(found, str):
            raise BadPicture(found)
        return found

    def _read(self, cell: str, path: str, folder: Path, kind: Media | Literal["data"]) -> Image | str:
        try:
            if kind == "data":
                return _from_data(cell)
            return _from_store(cell, kind) if is_in_store(cell) else self._from_file(Path(path), folder, kind)
        except (BadPicture, UsageError) as error:
            return str(error)

    def _from_file(self, path: Path, folder: Path, media: Media) -> Image:
        try:
            real = _as_on_disk(path).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            raise BadPicture(f"there is no file {path}") from None
        roots = (self.input_root,) if self.input_root else (folder, self.working_dir)
        if not any(real.is_relative_to(root) for root in roots):
            where = " or ".join(str(root) for root in dict.fromkeys(roots))
            raise BadPicture(f"{real} lies outside {where}; move it there, or plan in a folder above it")
        if media == "image":
            return _image("file", str(real), _content_of(real))
        sha256, content_type, length_ms = read_reference(real, media)
        return Image("file", str(real), sha256, content_type, media=media, length_ms=length_ms)


def _as_on_disk(path: Path) -> Path:
    """Return the path whose letters are composed as the disk has them: a Mac decomposes umlauts."""
    spellings = (unicodedata.normalize(form, str(path)) for form in ("NFC", "NFD"))
    return next((Path(each) for each in (str(path), *spellings) if Path(each).exists()), path)


def _address(cell: str, media: Media) -> Image:
    try:
        parts = urlsplit(cell)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise BadPicture(f"this is not a web address: {error}") from None
    if not host or " " in cell or not cell.isprintable():
        raise BadPicture("this is not a web address like https://example.com/picture.jpg")
    if parts.username is not None or parts.password is not None:
        raise BadPicture("a name or password in an address would be sent on to fal; use a presigned address")
    if len(cell) > URL_MAX_CHARS:
        raise BadPicture(f"the address is longer than {URL_MAX_CHARS} characters")
    return Image("url", cell, media=media)


def _from_store(cell: str, media: Media) -> Image:
    """Read an object. Raises BadPicture, or UsageError where it cannot be read."""
    if media == "image":
        return _image("file", cell, read_object(cell, MAX_BYTES))
    with TemporaryDirectory(prefix="callsheet-reference-") as folder:
        path = Path(folder, PurePosixPath(cell).name)
        save_object(cell, path, REFERENCE_MAX_BYTES[media])
        sha256, content_type, length_ms = read_reference(path, media)
    return Image("file", cell, sha256, content_type, media=media, length_ms=length_ms)


def _from_data(cell: str) -> Image:
    head, comma, body = cell.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise BadPicture("a data: URI must look like data:image/png;base64,...")
    if len(body) > MAX_BYTES * 4 // 3 + 4:
        raise BadPicture(_TOO_LARGE)
    try:
        content = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise BadPicture("the data: URI holds characters that base64 does not have, or is cut off") from None
    return _image("data", cell, content)


def _content_of(path: Path) -> bytes:
    try:
        if not path.is_file():  # a named pipe or a device would keep the plan waiting for ever
            raise BadPicture(f"{path} is not a file")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadPicture(f"cannot read {path}: {error.strerror}") from None


def _image(kind: str, value: str, content: bytes) -> Image:
    if len(content) > MAX_BYTES:
        raise BadPicture(_TOO_LARGE)
    content_type, size, turned = _look_into(content)
    width, height = size
    if not all(MIN_SIDE_PX <= side <= MAX_SIDE_PX for side in size):
        allowed = f"each side must have {MIN_SIDE_PX} to {MAX_SIDE_PX} pixels"
        raise BadPicture(f"the picture has {width} x {height} pixels; {allowed}")
    if not MIN_RATIO * height <= width <= MAX_RATIO * height:
        ratio = f"width / height is {width / height:.2f}"
        raise BadPicture(
            f"the picture has {width} x {height} pixels, {ratio}; {MIN_RATIO} to {MAX_RATIO} is allowed"
        )
    return Image(
        kind="data" if kind == "data" else "file",
        value=value,
        sha256=hashlib.sha256(content).hexdigest(),
        content_type=content_type,
        # Which way round fal reads a turned photograph is not documented, and `auto` prices by the shape:
        # a size that is not known is priced at the largest.
        size=None if turned else size,
    )


def _look_into(content: bytes) -> tuple[str, tuple[int, int], bool]:
    """Return content type, size and whether it is to be turned when shown; nothing is decoded."""
    import PIL.Image

    try:
        with warnings.catch_warnings():
            # Above the warning's bound the sides are refused anyway, in words of our own.
            warnings.simplefilter("ignore")
            with PIL.Image.open(io.BytesIO(content), formats=FORMATS) as picture:
                # Without this question a PNG would be decoded whole in search of its EXIF.
                exif = picture.getexif() if "exif" in picture.info else {}
                turned = exif.get(_ORIENTATION_TAG, 1) >= _FIRST_TURNED_ORIENTATION
                kind, size = str(picture.format), picture.size
                # A camera's MPO is a JPEG with more pictures behind it, and is read as its first one.
                kind = "JPEG" if kind == "MPO" else kind
    except PIL.Image.DecompressionBombError:
        raise BadPicture(f"the picture is too large; a side has at most {MAX_SIDE_PX} pixels") from None
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, OverflowError, RuntimeError):
        raise BadPicture("this is not a whole JPEG, PNG, WebP, GIF or AVIF picture") from None
    if _is_cut_off(kind, content):
        raise BadPicture(f"this {kind} picture is cut off; copy it again")
    return PIL.Image.MIME[kind], size, turned


def _is_cut_off(kind: str, content: bytes) -> bool:
    """Whether the end is missing, where the format marks its end."""
    if kind == "JPEG":
        return not _jpeg_ends(content)
    if kind in _ENDS:
        # Some programs write a little behind the end; so it is looked for, not expected as the last bytes.
        return _ENDS[kind] not in content[-_END_WITHIN_BYTES:]
    if kind == "WEBP":
        return int.from_bytes(content[4:8], "little") + 8 > len(content)
    return False


def _jpeg_ends(content: bytes) -> bool:
    """Whether the first picture of a JPEG ends. A camera may put more behind it: other views, a film.

    A segment is a marker (0xFF and its kind) with its length; pixels follow the first start of scan and hold
    no 0xFF 0xD9 but the end itself (ITU T.81, annex B).
    """
    at = 2
    while content[at : at + 2] != b"\xff\xda":
        if at + 4 > len(content) or content[at] != 0xFF:
            return False
        # Fill bytes may stand before a marker.
        at += 1 if content[at + 1] == 0xFF else 2 + int.from_bytes(content[at + 2 : at + 4])
    return content.find(b"\xff\xd9", at) != -1


def materialised(job: Job, folder: Path) -> Job:
    """Return the job with every `data:` picture written into `folder`, named by its content.

    The fingerprint stays the same: a picture is known by its content.
    """
    return replace(
        job,
        image=job.image and _materialised(job.image, folder),
        end_image=job.end_image and _materialised(job.end_image, folder),
        references=tuple(_materialised(image, folder) for image in job.references),
    )


def _materialised(image: Image, folder: Path) -> Image:
    if image.kind != "data":
        return image
    path = folder / f"{image.sha256}{_SUFFIXES.get(image.content_type or '', '.bin')}"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, base64.b64decode(image.value.partition(",")[2]))
    return replace(image, kind="file", value=str(path))
