"""What can be wrong with a downloaded file, as short stable words (`MediaError.reason`)."""

from __future__ import annotations

from enum import StrEnum

from callsheet.errors import MediaError


class MediaErrorCode(StrEnum):
    """Why a file is not the video that was ordered."""

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
    # The file is whole and plays, but it is not what was ordered.
    WRONG_SIZE = "wrong_size"
    WRONG_FRAME_RATE = "wrong_frame_rate"
    WRONG_FRAME_COUNT = "wrong_frame_count"
    WRONG_DURATION = "wrong_duration"
    MISSING_AUDIO = "missing_audio"
    SHORT_AUDIO = "short_audio"
    # The verified file did not arrive in the object store.
    NOT_STORED = "not_stored"


_OF_THE_CONTENT = frozenset(
    {
        MediaErrorCode.WRONG_SIZE,
        MediaErrorCode.WRONG_FRAME_RATE,
        MediaErrorCode.WRONG_FRAME_COUNT,
        MediaErrorCode.WRONG_DURATION,
        MediaErrorCode.MISSING_AUDIO,
        MediaErrorCode.SHORT_AUDIO,
    }
)


_OF_THE_WAY = frozenset({MediaErrorCode.TOO_SLOW, MediaErrorCode.NOT_STORED})

NO_VIDEO_CAME = (
    frozenset(code.value for code in MediaErrorCode if code not in _OF_THE_CONTENT | _OF_THE_WAY)
) | {"result_without_video"}
"""What is wrong where fal's answer, or its file, is no video that plays. The next read may bring one."""


def media_error(code: MediaErrorCode, message: str) -> MediaError:
    """Return the error for one code; its `reason` is the code as a plain word."""
    return MediaError(message, reason=code.value)


def worth_another_read(reason: str) -> bool:
    """Say whether downloading the same address again, which is free, may bring a good file.

    `reason` is the word in `MediaError.reason`. False where the file was whole and played but is not what
    was ordered: fal made it so, and the same bytes would come again. Everything else, an unknown word
    included, may be a fault of the delivery (a proxy's page, a cut body, a damaged copy).
    """
    return reason not in _OF_THE_CONTENT
