"""The images a request names: found, fetched or refused, as fal's models answer."""

from __future__ import annotations

import base64
import binascii
import io
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
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
        item = {"loc": ["body", *self.loc], "msg": str(self), "type": self.type, "input": found}
        item["url"] = f"https://docs.fal.ai/errors#{self.type}"
        if self.context:
            item["ctx"] = self.context
        return {"detail": [item]}


class Files(Protocol):
    """Where this server's own files are read from."""

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file by its path below /files/, or None."""


@dataclass(frozen=True, slots=True)
class ImageLoader:
    """Turns the URL of an argument into a picture. Other hosts are asked only where `allow_fetch` is set."""

    files: Files
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
        parts = urlsplit(url)
        body: bytes | None = None
        if parts.scheme == "data":
            body = _data_bytes(url)
        elif parts.scheme in ("http", "https") and parts.path.startswith("/files/"):
            own = parts.hostname in _OWN_HOSTS
            body = self.files.read(parts.path.removeprefix("/files/")) if own else None
        if body is None and self.allow_fetch and parts.scheme in ("http", "https"):
            body = _fetched(url)
        if body is None:
            raise BadInput(
                "Failed to download the file. The sandbox reads data: URIs, files uploaded to it and, with "
                "--allow-fetch, other hosts.",
                type_="file_download_error",
                loc=loc,
            )
        return body


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
    from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415 - loaded with the first render

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
