"""What can be wrong with a downloaded file, as short stable words (`MediaError.reason`).

Two families. A fault of the delivery (cut short, not a video, too slow) may well be gone when the same
address is read again, and reading is free. A fault of the content is what fal made and charged for: reading
it again brings the same bytes.
"""

from __future__ import annotations

from enum import StrEnum

from callsheet.errors import MediaError


class Fault(StrEnum):
    """Why a file is not the video that was asked for."""

    # Seen in the reply, before or while its body is read.
    ENCODED = "encoded"
    NOT_VIDEO = "not_video"
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    EMPTY = "empty"
    WRONG_LENGTH = "wrong_length"
    # Seen in the file's boxes.
    NOT_MP4 = "not_mp4"
    TRUNCATED = "truncated"
    BAD_BOX = "bad_box"
    NO_INDEX = "no_index"
    NO_MEDIA = "no_media"
    # Seen by decoding every frame.
    UNDECODABLE = "undecodable"
    NO_VIDEO = "no_video"
    OVERSIZED = "oversized"
    # Whole and playable, but not what was asked for.
    WRONG_SIZE = "wrong_size"
    WRONG_FRAME_RATE = "wrong_frame_rate"
    WRONG_FRAME_COUNT = "wrong_frame_count"
    WRONG_DURATION = "wrong_duration"
    MISSING_AUDIO = "missing_audio"
    # The verified file did not arrive in the object store.
    NOT_STORED = "not_stored"


_OF_THE_CONTENT = frozenset(
    {
        Fault.WRONG_SIZE,
        Fault.WRONG_FRAME_RATE,
        Fault.WRONG_FRAME_COUNT,
        Fault.WRONG_DURATION,
        Fault.MISSING_AUDIO,
    }
)


def fault(reason: Fault, message: str) -> MediaError:
    """Return the error for one fault; `reason` becomes a plain word."""
    return MediaError(message, reason=reason.value)


def worth_another_read(error: MediaError) -> bool:
    """Say whether reading the same address again, which is free, may bring a good file."""
    return error.reason not in _OF_THE_CONTENT
