"""What reference files there are: kinds, formats, sizes."""

from __future__ import annotations

from typing import Literal

Media = Literal["image", "video", "audio"]

FORMATS = {
    "video": {".mp4": "video/mp4", ".mov": "video/quicktime"},
    "audio": {".mp3": "audio/mpeg", ".wav": "audio/wav"},
}
"""fal's own schemas (captured 2026-10): MP4 and MOV videos, MP3 and WAV sounds."""

WORDS = {"image": "picture", "video": "video", "audio": "sound"}
"""What a kind of file is called in messages."""

MAX_BYTES = {"video": 200_000_000, "audio": 15_000_000}
"""Of one file, the same schemas: 200 MB a video of 2.5 (2.0: 50 MB together), 15 MB a sound."""
