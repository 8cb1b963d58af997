"""One fal model id and what it accepts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Task = Literal["text-to-video", "image-to-video", "reference-to-video", "draft-to-video"]
TASKS: tuple[Task, ...] = ("text-to-video", "image-to-video", "reference-to-video", "draft-to-video")

Bounds = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One fal model id and what it accepts.

    `durations_s` are whole seconds, `default_duration_s` is None where the model chooses (`auto`). Bounds are
    inclusive, None where the endpoint has no such input. `audio` says whether it takes `generate_audio`
    (whose default is true); `seed`, `camera_fixed`, `safety_checker`, `draft` and `end_user_id` say the same
    of those inputs, `num_frames_doubted` that some of fal's documents do not list `num_frames`,
    `returns_seed` that the reply names the seed. `tasks` are what it can do with reference files, and
    `prompt_optional` says that files alone are enough. `not_sent` are options that have one value and no
    input. `pixels` names the table of its sizes. `input_video_ms` is the most video that may come in, in
    milliseconds. `aliases` are other ids under which fal may list it. `deprecated` names the model to take
    instead, "" where it is current. Where `history_confirmed` is False, no real account has shown yet how
    fal's history lists its requests.
    """

    id: str
    model: str
    task: Task
    pixels: str
    aspect_ratios: tuple[str, ...]
    default_aspect_ratio: str
    resolutions: tuple[str, ...]
    default_resolution: str
    durations_s: tuple[int, ...]
    default_duration_s: int | None
    source: str
    num_frames: Bounds | None = None
    num_frames_doubted: bool = False
    reference_images: Bounds | None = None
    reference_videos: Bounds | None = None
    reference_audios: Bounds | None = None
    reference_files: int = 0
    input_video_ms: int = 0
    end_image: bool = False
    audio: bool = False
    seed: bool = False
    returns_seed: bool = False
    camera_fixed: bool = False
    safety_checker: bool = False
    end_user_id: bool = False
    draft: bool = False
    codecs: tuple[str, ...] = ()
    bitrate_modes: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    prompt_optional: bool = False
    not_sent: tuple[str, ...] = ()
    fps: int = 0
    aliases: tuple[str, ...] = ()
    deprecated: str = ""
    history_confirmed: bool = True

    def made_ratios(self, table: Iterable[str]) -> list[str]:
        """Return the ratios it can make: those it takes by name, or all of the table if it takes none."""
        named = [ratio for ratio in self.aspect_ratios if ratio != "auto"]
        return named or list(table)

    @property
    def auto_duration(self) -> bool:
        """Whether the model may choose the length."""
        return self.default_duration_s is None

    @property
    def names(self) -> tuple[str, ...]:
        """Its id and all other ids of it."""
        return (self.id, *self.aliases)
