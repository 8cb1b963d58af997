"""The contact sheet: twelve clips on a page of A4, as PNG files and one PDF; pictures of videos."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from tempfile import NamedTemporaryFile

import av
from av import VideoFrame, VideoStream
from av.container import InputContainer
from PIL import Image, ImageDraw

from callsheet.files import temporary_folder
from callsheet.report.safe_text import clean_line
from callsheet.sandbox.text import LINE_HEIGHT, Block, fitted

DPI = 150
PAGE_PX = (1754, 1240)
"""A4, landscape, at 150 dots per inch."""

COLUMNS, ROWS = 4, 3
PER_PAGE = COLUMNS * ROWS
_MARGIN_PX, _GAP_PX, _HEAD_PX = 60, 28, 70
BOX_PX = ((PAGE_PX[0] - 2 * _MARGIN_PX - (COLUMNS - 1) * _GAP_PX) // COLUMNS, 216)
"""The box that a picture stands in: 16:9."""

_CELL_HEIGHT_PX = (PAGE_PX[1] - 2 * _MARGIN_PX - _HEAD_PX - (ROWS - 1) * _GAP_PX) // ROWS
_PAPER, _INK, _QUIET, _BLANK = (255, 255, 255), (28, 27, 25), (107, 104, 98), (235, 232, 225)
_PAGES_AT_ONCE = 10
_SHOWN_AT = Fraction(1, 3)
"""A third into the clip: past a fade-in, as the thumbnails of a run."""

_SHOWN_CHARS = 300
"""More than the two lines of a prompt hold."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One clip on the sheet: its name, prompt and facts, and what draws its picture within `BOX_PX`."""

    name: str
    prompt: str
    facts: str
    picture: Callable[[], Image.Image]


def pages(title: str, note: str, cells: Sequence[Cell]) -> Iterator[Image.Image]:
    """Yield the pages, one at a time."""
    count = -(-len(cells) // PER_PAGE)
    for number in range(count):
        page = Image.new("RGB", PAGE_PX, _PAPER)
        canvas = ImageDraw.Draw(page)
        _head(canvas, title, f"{note} · page {number + 1} of {count}" if count > 1 else note)
        for at, cell in enumerate(cells[number * PER_PAGE : (number + 1) * PER_PAGE]):
            row, column = divmod(at, COLUMNS)
            left = _MARGIN_PX + column * (BOX_PX[0] + _GAP_PX)
            top = _MARGIN_PX + _HEAD_PX + row * (_CELL_HEIGHT_PX + _GAP_PX)
            _draw(page, canvas, cell, left, top)
        yield page


def _head(canvas: ImageDraw.ImageDraw, title: str, note: str) -> None:
    width_px = (PAGE_PX[0] - 2 * _MARGIN_PX) // 2
    _write(canvas, fitted(title, width_px, 46, (34, 28, 22)), _MARGIN_PX, _MARGIN_PX - 12, _INK)
    block = fitted(note, width_px - _GAP_PX, 30, (18, 15))
    note_px = max((round(block.face.getlength(line)) for line in block.lines), default=0)
    _write(canvas, block, PAGE_PX[0] - _MARGIN_PX - note_px, _MARGIN_PX + 2, _QUIET)


def _draw(page: Image.Image, canvas: ImageDraw.ImageDraw, cell: Cell, left: int, top: int) -> None:
    width_px, height_px = BOX_PX
    canvas.rectangle((left, top, left + width_px - 1, top + height_px - 1), fill=_BLANK)
    picture = cell.picture()
    page.paste(picture, (left + (width_px - picture.width) // 2, top + (height_px - picture.height) // 2))
    y = top + height_px + 8
    for text, room_px, sizes, fill in (
        (cell.name, 24, (18, 16, 14), _INK),
        (cell.prompt, 40, (15, 14), _QUIET),
        (cell.facts, 20, (14, 12), _QUIET),
    ):
        _write(canvas, fitted(clean_line(text[:_SHOWN_CHARS]), width_px, room_px, sizes), left, y, fill)
        y += room_px


def _write(canvas: ImageDraw.ImageDraw, block: Block, x: int, y: int, fill: tuple[int, int, int]) -> None:
    """Write lines with their top left corner at (x, y)."""
    for number, line in enumerate(block.lines):
        top = y + round(number * block.face.size * LINE_HEIGHT)
        canvas.text((x, top), line, fill=fill, font=block.face)


def png(page: Image.Image) -> bytes:
    """Return a page as PNG."""
    file = io.BytesIO()
    page.save(file, "PNG", dpi=(DPI, DPI))
    return file.getvalue()


@contextmanager
def pdf_book(title: str, *, made_ms: int) -> Iterator[PdfBook]:
    """Give a PDF that takes pages, dated `made_ms` (Unix milliseconds). Its file is a temporary one.

    Raises OSError where there is no room for it.
    """
    with NamedTemporaryFile(suffix=".pdf", dir=temporary_folder()) as file:
        yield PdfBook(Path(file.name), title, time.gmtime(made_ms / 1000))


@dataclass(slots=True)
class PdfBook:
    """Pages that become one PDF. A few of them are in memory at a time."""

    path: Path
    title: str
    made: time.struct_time
    _waiting: list[Image.Image] = field(default_factory=list)
    _has_pages: bool = False

    def add(self, page: Image.Image) -> None:
        """Add a page."""
        self._waiting.append(page)
        if len(self._waiting) == _PAGES_AT_ONCE:
            self._flush()

    def content(self) -> bytes:
        """Return the whole file."""
        self._flush()
        return self.path.read_bytes()

    def _flush(self) -> None:
        if not self._waiting:
            return
        first, *others = self._waiting
        told = (
            {} if self._has_pages else {"title": self.title, "creationDate": self.made, "modDate": self.made}
        )
        first.save(
            self.path,
            "PDF",
            save_all=True,
            append_images=others,
            append=self._has_pages,
            resolution=DPI,
            **told,
        )
        self._waiting, self._has_pages = [], True


def length_of(path: Path) -> tuple[int, Fraction]:
    """Return how many frames a verified video has, and how many are shown in a second. Blocks.

    Raises av.FFmpegError for a file that cannot be read.
    """
    with _opened(path) as (_, stream):
        found = stream.average_rate
        rate = Fraction(found.numerator, found.denominator) if found else Fraction(24)
        # A fragmented file counts no frames in its header.
        return stream.frames or round((stream.duration or 0) * (stream.time_base or 0) * rate), rate


def picture_of(path: Path, width_px: int, height_px: int) -> Image.Image:
    """Return a frame of a verified video, scaled down to fit into a box. Blocks.

    Raises av.FFmpegError for a file that does not decode.
    """
    with _opened(path) as (container, stream):
        wanted = (stream.start_time or 0) + int((stream.duration or 0) * _SHOWN_AT)
        container.seek(wanted, stream=stream)
        found: VideoFrame | None = None
        for found in container.decode(stream):
            if found.pts is not None and found.pts >= wanted:
                break
        return Image.new("RGB", (1, 1)) if found is None else _scaled(found, width_px, height_px)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    with av.open(f"file:{path}", format="mp4", options={"protocol_whitelist": "file"}) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type = "NONE"
        yield container, stream


def _scaled(frame: VideoFrame, width_px: int, height_px: int) -> Image.Image:
    scale = min(width_px / frame.width, height_px / frame.height, 1.0)
    width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
    image: Image.Image = frame.reformat(width=width, height=height, format="rgb24").to_image()  # type: ignore[no-untyped-call]
    return image
