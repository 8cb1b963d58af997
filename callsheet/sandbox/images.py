"""The images that a request names: read, fetched, or refused with fal's own errors."""

from __future__ import annotations

import base64
import binascii
import io
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

from callsheet.errors import CallsheetError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 30_000_000
MIN_SIDE_PX, MAX_SIDE_PX = 300, 6000
"""ByteDance's limits for input images: below 30 MB, sides from 300 to 6000 px."""

FETCH_TIMEOUT_S = 20.0
_OWN_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


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
    """Return the body of a model's error as fal documents it: a list with one item."""
    item = {"loc": loc, "msg": message, "type": type_, "input": found}
    item["url"] = f"https://docs.fal.ai/errors#{type_}"
    return {"detail": [{**item, "ctx": context} if context else item]}


@dataclass(frozen=True, slots=True)
class ImageLoader:
    """Turns the URL of an argument into a picture. Other hosts are asked only where `allow_fetch` is set.

    `read_own` returns the bytes of one of this server's files by its path below /files/, or None.
    """

    read_own: Callable[[str], bytes | None]
    allow_fetch: bool = False

    def load(self, url: str, loc: tuple[str | int, ...]) -> Image:
        """Return the picture in RGB. Raises BadInput naming the argument `loc`."""
        body = self._bytes(url, loc)
        if len(body) > MAX_BYTES:
            raise BadInput(
                f"File is too large: {len(body)} bytes", type_="file_too_large", loc=loc, max_size=MAX_BYTES
            )
        return _decoded(body, loc)

    def _bytes(self, url: str, loc: tuple[str | int, ...]) -> bytes:
        try:
            body = self._read(url)
        except ValueError:  # no URL: brackets without an end, a port that is no number
            body = None
        if body is None:
            raise BadInput(
                "Failed to download the file. The sandbox reads data: URIs, files uploaded to it and, with "
                "--allow-fetch, other hosts.",
                type_="file_download_error",
                loc=loc,
            )
        return body

    def _read(self, url: str) -> bytes | None:
        parts = urlsplit(url)
        if parts.scheme == "data":
            return _data_bytes(url)
        if parts.scheme not in ("http", "https"):
            return None
        if parts.path.startswith("/files/") and parts.hostname in _OWN_HOSTS:
            body = self.read_own(parts.path.removeprefix("/files/"))
            if body is not None:
                return body
        return _fetched(url) if self.allow_fetch else None


def _data_bytes(url: str) -> bytes | None:
    head, comma, text = url.partition(",")
    if not comma:
        return None
    if not head.endswith(";base64"):
        return unquote_to_bytes(text)
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


def _fetched(url: str) -> bytes | None:
    try:
        # The scheme was checked by the caller, and --allow-fetch is the person's own choice.
        with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as reply:  # noqa: S310
            body: bytes = reply.read(MAX_BYTES + 1)
            return body
    except (OSError, ValueError):
        return None


def _decoded(body: bytes, loc: tuple[str | int, ...]) -> Image:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(body)) as picture:
            _check_sides(*picture.size, loc)
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise BadInput("Failed to load the image", type_="image_load_error", loc=loc) from error


def _check_sides(width_px: int, height_px: int, loc: tuple[str | int, ...]) -> None:
    if min(width_px, height_px) < MIN_SIDE_PX:
        raise BadInput(
            f"Image is too small: {width_px}x{height_px}, each side must have {MIN_SIDE_PX} pixels or more",
            type_="image_too_small",
            loc=loc,
            min_width=MIN_SIDE_PX,
            min_height=MIN_SIDE_PX,
        )
    if max(width_px, height_px) > MAX_SIDE_PX:
        raise BadInput(
            f"Image is too large: {width_px}x{height_px}, each side may have {MAX_SIDE_PX} pixels at most",
            type_="image_too_large",
            loc=loc,
            max_width=MAX_SIDE_PX,
            max_height=MAX_SIDE_PX,
        )
