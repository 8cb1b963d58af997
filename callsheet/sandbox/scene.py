"""What one video shows and sounds like: an order with its inputs loaded and its size chosen."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

from callsheet.sandbox.pixels import FPS, nearest_ratio
from callsheet.sandbox.served_endpoints import BadInput, ClipOrder, Source

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_BYTES = {"image": 30_000_000, "video": 200_000_000, "audio": 15_000_000}
MIN_SIDE_PX, MAX_SIDE_PX = 300, 6000
"""ByteDance's limits for input images: below 30 MB, sides from 300 to 6000 px."""

FETCH_TIMEOUT_S = 20.0

_PRINTED = {
    "https://fal.media/files/koala/f_xmiodPjhiKjdBkFmTu1.png": (1280, 720),
    "https://storage.googleapis.com/falserverless/example_inputs/seedance_fast_i2v_input.png": (1280, 720),
    "https://v3b.fal.media/files/b/0a8773cd/REzCWn1BKUVuMFTxR-R3W_image_317.png": (1280, 720),
}
"""Input pictures of the examples on fal's model pages, and the size of the drawing that stands in."""


@dataclass(frozen=True, slots=True)
class InputLoader:
    """Turns the URLs of arguments into pictures. Other hosts are asked only where `allow_fetch` is set.

    `read_own` returns the bytes of one of this server's files by its path below /files/, or None. `owns` says
    whether a host name is this server's.
    """

    read_own: Callable[[str], bytes | None]
    owns: Callable[[str], bool]
    allow_fetch: bool = False

    def picture(self, source: Source) -> tuple[Image | None, int]:
        """Return a source's picture in RGB (a video's first), and a video's frames at 24 a second.

        Sound has no picture. Raises BadInput naming the argument.
        """
        if source.url in _PRINTED and not self.allow_fetch:
            return _stand_in(_PRINTED[source.url]), 0
        body = self._bytes(source.url, source.loc)
        most = MOST_BYTES[source.kind]
        if len(body) > most:
            message = f"File is too large: {len(body)} bytes"
            raise BadInput(message, type_="file_too_large", loc=source.loc, max_size=most)
        if source.kind == "image":
            return _decoded(body, source.loc), 0
        return _first_frame(body, source)

    def _bytes(self, url: str, loc: tuple[str | int, ...]) -> bytes:
        try:
            body = self._read(url)
        except (OSError, ValueError):  # also what is no URL or no base64
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
        if parts.path.startswith("/files/") and self.owns(parts.hostname or ""):
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
    return base64.b64decode(text, validate=True)


def _fetched(url: str) -> bytes:
    # The scheme was checked by the caller, and --allow-fetch is the person's own choice.
    with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as reply:  # noqa: S310
        body: bytes = reply.read(max(MOST_BYTES.values()) + 1)
    return body


def _stand_in(size: tuple[int, int]) -> Image:
    from PIL import Image

    return Image.linear_gradient("L").resize(size).convert("RGB")


def _decoded(body: bytes, loc: tuple[str | int, ...]) -> Image:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(body)) as picture:
            _check_sides(*picture.size, loc)
            return ImageOps.exif_transpose(picture).convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise BadInput("Failed to load the image", type_="image_load_error", loc=loc) from error


def _first_frame(body: bytes, source: Source) -> tuple[Image | None, int]:
    """Return the first picture of a video and its length in frames; of sound, that it can be read."""
    import av
    from PIL import Image

    try:
        with av.open(io.BytesIO(body), "r") as container:
            if source.kind == "audio":
                next(container.decode(audio=0))
                return None, 0
            picture = Image.fromarray(next(container.decode(video=0)).to_ndarray(format="rgb24"))
            return picture, round((container.duration or 0) * FPS / av.time_base)
    except (av.FFmpegError, StopIteration, IndexError, ValueError) as error:
        type_ = f"unsupported_{source.kind}_format"
        raise BadInput(f"Failed to read the {source.kind}", type_=type_, loc=source.loc) from error


def _check_sides(width_px: int, height_px: int, loc: tuple[str | int, ...]) -> None:
    size = f"{width_px}x{height_px}"
    if min(width_px, height_px) < MIN_SIDE_PX:
        raise BadInput(
            f"Image is too small: {size}, each side must have {MIN_SIDE_PX} pixels or more",
            type_="image_too_small",
            loc=loc,
            min_width=MIN_SIDE_PX,
            min_height=MIN_SIDE_PX,
        )
    if max(width_px, height_px) > MAX_SIDE_PX:
        raise BadInput(
            f"Image is too large: {size}, each side may have {MAX_SIDE_PX} pixels at most",
            type_="image_too_large",
            loc=loc,
            max_width=MAX_SIDE_PX,
            max_height=MAX_SIDE_PX,
        )


_DRAWING = "6"
"""Part of the cache's key: change it with the drawing."""


@dataclass(frozen=True, slots=True)
class Scene:
    """An order with its pictures loaded and its size chosen; without `draw_seed` takes look alike."""

    order: ClipOrder
    width_px: int
    height_px: int
    pictures: tuple[Image, ...] = ()
    end_picture: Image | None = None
    video_frames: int = 0
    draw_seed: bool = True

    @property
    def seed_text(self) -> str:
        """The seed as it is drawn."""
        return str(self.order.seed) if self.draw_seed else ""

    @property
    def unit_px(self) -> float:
        """A hundredth of the shorter side: what is drawn is measured in it."""
        return min(self.width_px, self.height_px) / 100

    @property
    def key(self) -> str:
        """A hash of all that can be seen or heard: scenes with one key are one file."""
        order = self.order
        drawn = (_DRAWING, order.endpoint.short_name, order.prompt, self.seed_text, order.camera_fixed)
        coded = (self.width_px, self.height_px, order.frames, order.endpoint.fps, order.audio)
        digest = hashlib.sha256(json.dumps((*drawn, *coded, order.codec, order.high_bitrate)).encode())
        for picture in (*self.pictures, self.end_picture):
            digest.update(b"|" if picture is None else repr(picture.size).encode() + picture.tobytes())
        return digest.hexdigest()


def scene_of(order: ClipOrder, loader: InputLoader, *, draw_seed: bool) -> Scene:
    """Load an order's pictures and choose its size; `auto` follows the first picture. Raises BadInput."""
    loaded = [loader.picture(source) for source in order.sources]
    pictures = tuple(picture for picture, _ in loaded if picture is not None)
    end = order.end_image and loader.picture(Source("image", ("end_image_url",), order.end_image))[0]
    ratio = order.ratio
    if ratio == "auto":
        ratio = nearest_ratio(*pictures[0].size) if pictures else "16:9"
    size = order.endpoint.sizes[order.resolution][ratio]
    return Scene(order, *size, pictures, end or None, sum(frames for _, frames in loaded), draw_seed)
