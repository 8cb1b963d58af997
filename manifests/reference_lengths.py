"""Reference videos and sounds on this disk: what they are, and how long."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from callsheet.files import file_sha256
from manifests.reference_files import FORMATS, MAX_BYTES, WORDS, Media


class BadReference(ValueError):
    """The file cannot be used; the message says what is allowed."""


def read_reference(path: Path, media: Media) -> tuple[str, str, int]:
    """Return SHA-256 (hex), content type and length in milliseconds, rounded up. Raises BadReference."""
    kinds = FORMATS[media]
    content_type = kinds.get(path.suffix.lower())
    if content_type is None:
        raise BadReference(f"this is not a {WORDS[media]} file; allowed are {', '.join(kinds)}")
    try:
        if not path.is_file():
            raise BadReference(f"{path} is not a file")
        if path.stat().st_size > MAX_BYTES[media]:
            raise BadReference(f"the {WORDS[media]} is larger than {MAX_BYTES[media] // 1_000_000} MB")
        length_ms = _length_ms(path, media)
        return file_sha256(path), content_type, length_ms
    except OSError as error:
        raise BadReference(f"cannot read {path}: {error.strerror}") from None


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
        raise BadReference(
            f"this is not a {WORDS[media]} that can be read ({type(error).__name__})"
        ) from None
    if not lengths or max(lengths) <= 0:
        raise BadReference(f"this file has no {WORDS[media]}, or does not say how long it is")
    return -int(-max(lengths) * 1000 // 1)
