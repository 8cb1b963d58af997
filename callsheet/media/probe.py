"""Decode every frame of a video file, say what it holds, and keep some of its pictures as JPEG.

A header is only a claim. Measured over 60 damaged copies of one clip: with errors fatal and a single thread a
zeroed block was found every time; with slice threads libavcodec hides it (55 of 60 went unnoticed), and with
frame threads the last frame can go missing without an error. So each file is decoded by one thread, and
several files at a time.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av import AudioFrame, Packet, VideoFrame, VideoStream
from av.container import InputContainer
from av.stream import Stream
from PIL import Image

from callsheet.media.codes import MediaErrorCode, media_error
from callsheet.media.expect import Decoded, LookOrder, MediaFacts
from callsheet.media.look import Look

STRIP_FRAMES = 6
TILE_WIDTH_PX, TILE_HEIGHT_PX = 240, 135
"""Every tile is 16:9; other pictures stand in it on black."""

THUMBNAIL_WIDTH_PX = 480
_THUMBNAIL_QUALITY, _STRIP_QUALITY = 72, 60
_SHOWN_AT = (1, 3)
"""A third into the clip: past a fade-in."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a file may ask of this machine. Seedance's largest clip is 2206 x 946 x 289 frames.

    `max_side_px` and `max_pixels` bound one picture, `max_frames` the video, `max_audio_samples` the sound
    (per channel).
    """

    max_side_px: int = 4096
    max_pixels: int = 4096 * 2304
    max_frames: int = 2_000
    max_audio_samples: int = 120 * 96_000


class Thumbnail:
    """Keeps the first frame at or after a third of the clip, by the length it claims; else the last one.

    `strip` keeps several more, spread over the clip.
    """

    def __init__(self, stream: VideoStream) -> None:
        length = (stream.duration or 0) * _SHOWN_AT[0] // _SHOWN_AT[1]
        self._wanted_pts = length + (stream.start_time or 0)
        self._kept_pts: int | None = None
        self.kept: VideoFrame | None = None
        self.strip = Strip(stream)

    def offer(self, frame: VideoFrame, pts: int) -> None:
        """Take the next frame of the clip where it suits better than the one that is kept."""
        self.strip.offer(frame, pts)
        if self._kept_pts is None or self._kept_pts < self._wanted_pts:
            self.kept, self._kept_pts = frame, pts

    def jpeg(self) -> bytes:
        """Return the frame as JPEG of at most 480 pixels in width, b"" where none can be made."""
        try:
            return b"" if self.kept is None else _jpeg(self.kept)
        except Exception:  # noqa: BLE001 -- a missing thumbnail never fails a paid job
            return b""


def _jpeg(frame: VideoFrame) -> bytes:
    width_px = min(frame.width, THUMBNAIL_WIDTH_PX)
    height_px = max(1, round(frame.height * width_px / frame.width))
    picture = io.BytesIO()
    _resized(frame, width_px, height_px).save(picture, "JPEG", quality=_THUMBNAIL_QUALITY)
    return picture.getvalue()


class Strip:
    """Keeps `STRIP_FRAMES` pictures, spread evenly over the length that the clip claims."""

    def __init__(self, stream: VideoStream) -> None:
        length, start = stream.duration or 0, stream.start_time or 0
        self._length = length
        self._wanted_pts = [start + length * (2 * at + 1) // (2 * STRIP_FRAMES) for at in range(STRIP_FRAMES)]
        self._tiles: list[Image.Image] = []

    def offer(self, frame: VideoFrame, pts: int) -> None:
        """Take the next frame of the clip where one is due. A frame that cannot be shown is passed over."""
        while self._length and len(self._tiles) < STRIP_FRAMES and pts >= self._wanted_pts[len(self._tiles)]:
            self._tiles.append(_tile(frame))

    def jpeg(self) -> bytes:
        """Return the strip as JPEG, b"" where the clip is too short for one or none can be made."""
        if len(self._tiles) < STRIP_FRAMES:
            return b""
        strip = Image.new("RGB", (TILE_WIDTH_PX * STRIP_FRAMES, TILE_HEIGHT_PX))
        for at, tile in enumerate(self._tiles):
            left = at * TILE_WIDTH_PX + (TILE_WIDTH_PX - tile.width) // 2
            strip.paste(tile, (left, (TILE_HEIGHT_PX - tile.height) // 2))
        written = io.BytesIO()
        strip.save(written, "JPEG", quality=_STRIP_QUALITY)
        return written.getvalue()


def _tile(frame: VideoFrame) -> Image.Image:
    scale = min(TILE_WIDTH_PX / frame.width, TILE_HEIGHT_PX / frame.height)
    width_px, height_px = (max(1, round(side * scale)) for side in (frame.width, frame.height))
    try:
        return _resized(frame, width_px, height_px)
    except Exception:  # noqa: BLE001 -- a missing picture never fails a paid job
        return Image.new("RGB", (width_px, height_px))


def _resized(frame: VideoFrame, width_px: int, height_px: int) -> Image.Image:
    picture: Image.Image = frame.reformat(width=width_px, height=height_px, format="rgb24").to_image()  # type: ignore[no-untyped-call]
    return picture


def probe(path: Path, bounds: Bounds = Bounds(), look: LookOrder | None = None) -> Decoded:
    """Decode the whole file, and look at it where `look` says for what.

    Blocks; libavcodec releases the interpreter lock while it works. Raises MediaError: undecodable, no_video
    or oversized.
    """
    try:
        # The demuxer is named so that no playlist or script format can be smuggled in; `file:` so that a
        # colon in a name is never read as a protocol.
        with av.open(
            f"file:{path}", format="mp4", options={"err_detect": "explode", "protocol_whitelist": "file"}
        ) as container:
            return _decoded(container, bounds, Look(look) if look else None)
    except av.FFmpegError as error:
        raise media_error(
            MediaErrorCode.UNDECODABLE, f"the video does not decode: {error.strerror}"
        ) from error


@dataclass(slots=True)
class _Count:
    """What has been decoded so far. Times are in seconds from the track's own zero."""

    thumbnail: Thumbnail
    look: Look | None
    frames: int = 0
    samples: int = 0
    audio_s: Fraction = Fraction(0)
    first_s: Fraction | None = None
    end_s: Fraction = Fraction(0)


def _decoded(container: InputContainer, bounds: Bounds, look: Look | None) -> Decoded:
    if not container.streams.video:
        raise media_error(MediaErrorCode.NO_VIDEO, "the file has no video track")
    video = container.streams.video[0]
    audio = container.streams.audio[0] if container.streams.audio else None
    _refuse_oversized(video.width, video.height, bounds)
    for stream in (video, audio):
        if stream is not None:
            stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(bounds.max_pixels)}
            stream.codec_context.thread_type = "NONE"
    count = _Count(Thumbnail(video), look)
    for packet in container.demux([stream for stream in (video, audio) if stream is not None]):
        _take(packet, count, video, bounds)
    facts = _facts(video, count)
    flags = look.flags(facts.duration_s) if look else ()
    return Decoded(facts, count.thumbnail.jpeg(), count.thumbnail.strip.jpeg(), flags)


def _take(packet: Packet[Stream], count: _Count, video: VideoStream, bounds: Bounds) -> None:
    if packet.is_corrupt:
        raise media_error(MediaErrorCode.UNDECODABLE, f"a packet is damaged after frame {count.frames}")
    for frame in packet.decode():
        if isinstance(frame, VideoFrame | AudioFrame) and frame.is_corrupt:
            raise media_error(
                MediaErrorCode.UNDECODABLE, f"the picture is damaged at frame {count.frames + 1}"
            )
        if isinstance(frame, VideoFrame):
            _take_picture(frame, count, video, bounds)
        elif isinstance(frame, AudioFrame):
            count.samples += frame.samples
            count.audio_s += Fraction(frame.samples, frame.sample_rate or 1)
            if count.samples > bounds.max_audio_samples:
                raise media_error(
                    MediaErrorCode.OVERSIZED, f"the sound has more than {bounds.max_audio_samples:,} samples"
                )
            if count.look is not None:
                count.look.offer_sound(frame)


def _take_picture(frame: VideoFrame, count: _Count, video: VideoStream, bounds: Bounds) -> None:
    count.frames += 1
    if count.frames > bounds.max_frames:
        raise media_error(MediaErrorCode.OVERSIZED, f"the video has more than {bounds.max_frames:,} frames")
    if (frame.width, frame.height) != (video.width, video.height):
        raise media_error(MediaErrorCode.UNDECODABLE, f"the picture changes its size at frame {count.frames}")
    if frame.pts is None or frame.time_base is None:
        raise media_error(MediaErrorCode.UNDECODABLE, f"frame {count.frames} carries no time")
    count.thumbnail.offer(frame, frame.pts)
    if count.look is not None:
        count.look.offer_picture(frame)
    at_s = frame.pts * frame.time_base
    count.first_s = at_s if count.first_s is None else min(count.first_s, at_s)
    count.end_s = max(count.end_s, at_s + (frame.duration or 0) * frame.time_base)


def _facts(video: VideoStream, count: _Count) -> MediaFacts:
    if count.first_s is None or not video.average_rate:
        raise media_error(MediaErrorCode.NO_VIDEO, "the video track holds no pictures")
    return MediaFacts(
        width_px=video.width,
        height_px=video.height,
        fps=float(video.average_rate),
        frames=count.frames,
        duration_s=float(count.end_s - count.first_s),
        audio_s=float(count.audio_s),
    )


def _refuse_oversized(width_px: int, height_px: int, bounds: Bounds) -> None:
    sides_fit = 0 < width_px <= bounds.max_side_px and 0 < height_px <= bounds.max_side_px
    if not sides_fit or width_px * height_px > bounds.max_pixels:
        raise media_error(
            MediaErrorCode.OVERSIZED,
            f"the picture is {width_px} x {height_px} pixels; at most {bounds.max_pixels:,} are decoded",
        )
