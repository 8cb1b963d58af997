"""Downloads that are not the video that was ordered: none of them may stand under a final name."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np

from callsheet.errors import MediaError
from callsheet.media.download import collect
from callsheet.media.expect import Expectation
from tests.rig.figures import Figure, at_least, none_of
from tests.rig.kills import memory_folder

WIDTH, HEIGHT, FRAMES = 128, 72, 13
EXPECTED = Expectation(sizes=((WIDTH, HEIGHT),), fps=24, frames_min=FRAMES - 1, frames_max=FRAMES + 1)


@dataclass(frozen=True, slots=True)
class Body:
    """What a download brings. `announced` is its Content-Length, None where it has none."""

    content: bytes
    announced: int | None
    headers: Mapping[str, str]


Damage = Callable[[bytes, random.Random], Body]


def honest(content: bytes, **headers: str) -> Body:
    """A body with its own length."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Body(content, len(content), {"content-type": "video/mp4", **named})


def cut(content: bytes, rng: random.Random) -> bytes:
    """Cut anywhere, as often as not within the last 4 KiB."""
    first = 0 if rng.random() < 0.5 else max(0, len(content) - 4096)
    return content[: rng.randrange(first, len(content))]


def zeroed(content: bytes, rng: random.Random) -> bytes:
    """Lose an eighth of the picture."""
    size = len(content) // 8
    first = rng.randrange(4096, len(content) - size)
    return content[:first] + bytes(size) + content[first + size :]


def _index_lost(content: bytes, rng: random.Random) -> bytes:
    return content.replace(b"moov", rng.choice((b"free", b"skip", b"mooo")), 1)


def _of_another_kind(rng: random.Random) -> bytes:
    pages = (b"<html><body>Sorry</body></html>", b'{"detail": "expired"}', b"\x1f\x8b\x08\x00", b"ftyp")
    return rng.choice(pages) * rng.randint(1, 300)


KINDS: dict[str, Damage] = {
    "cut, and its length says so": lambda clip, rng: honest(cut(clip, rng)),
    "cut short of its length": lambda clip, rng: Body(cut(clip, rng), len(clip), {}),
    "cut, without a length": lambda clip, rng: Body(cut(clip, rng), None, {}),
    "zeros in the middle": lambda clip, rng: honest(zeroed(clip, rng)),
    "longer than its length": lambda clip, rng: Body(clip + rng.randbytes(9), len(clip), {}),
    "junk behind the end": lambda clip, rng: honest(clip + rng.randbytes(rng.randint(9, 999))),
    "without its index": lambda clip, rng: honest(_index_lost(clip, rng)),
    "empty": lambda _, rng: honest(b""),
    "a page": lambda _, rng: honest(_of_another_kind(rng), content_type="text/html"),
    "a page that says it is a video": lambda _, rng: honest(_of_another_kind(rng)),
    "encoded": lambda clip, rng: honest(clip, content_encoding=rng.choice(("gzip", "br", "deflate"))),
    "noise": lambda clip, rng: honest(rng.randbytes(len(clip))),
    "the halves exchanged": lambda clip, _: honest(clip[len(clip) // 2 :] + clip[: len(clip) // 2]),
    "other pixels": lambda _, rng: honest(clip_of(*rng.choice(((96, 72), (128, 96), (72, 128))), FRAMES)),
    "other length": lambda _, rng: honest(clip_of(WIDTH, HEIGHT, rng.choice((1, 5, 9, 18, 24)))),
}


def body_figures(*, bodies: int, seed: int) -> list[Figure]:
    """Return the figures of so many faulty downloads, and of a sound one among them now and then."""
    part = "faulty files"
    counts = asyncio.run(_collect_all(bodies, seed))
    return [
        at_least(part, f"faulty bodies of {len(KINDS)} kinds", counts["faulty"], bodies),
        at_least(part, "sound ones between them, all taken", counts["sound"], bodies // 50),
        none_of(part, "recorded as done", counts["taken"]),
        none_of(part, "sound ones refused", counts["refused"]),
        none_of(part, "part files left", counts["parts"]),
    ]


async def _collect_all(bodies: int, seed: int) -> Counter[str]:
    rng, counts = random.Random(seed), Counter[str]()
    clip = clip_of(WIDTH, HEIGHT, FRAMES)
    with memory_folder() as folder:
        for number in range(bodies):
            kind = list(KINDS)[number % len(KINDS)]
            taken = await _taken(KINDS[kind](clip, rng), folder / f"{number}.mp4")
            counts.update({"faulty": 1, "taken": int(taken), kind: int(taken)})
            if number % 50 == 0:
                sound = await _taken(honest(clip), folder / f"{number}-sound.mp4")
                counts["sound" if sound else "refused"] += 1
        counts["parts"] = len(list(folder.rglob(".*.part")))
    return counts


async def _taken(body: Body, destination: Path) -> bool:
    """Collect as the engine does; say whether anything stands under the final name."""
    length = {} if body.announced is None else {"content-length": str(body.announced)}

    @asynccontextmanager
    async def source() -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(body.content), 4096):
                yield body.content[start : start + 4096]

        yield {**body.headers, **length}, pieces()

    try:
        await collect(source, destination, EXPECTED, rejected=destination.parent / "rejected")
    except MediaError:
        return destination.exists()  # noqa: ASYNC240 - a look
    return True


@lru_cache(maxsize=32)
def clip_of(width: int, height: int, frames: int) -> bytes:
    """Make a clip of noise, so that every stretch of the file is picture."""
    noise = np.random.default_rng(7).integers(0, 255, (height + frames, width, 3), dtype=np.uint8)
    with TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")
        with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
            video = container.add_stream("libx264", rate=24)
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            video.options = {"preset": "ultrafast", "crf": "18"}
            for index in range(frames):
                picture = np.ascontiguousarray(noise[index : index + height])
                container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(video.encode(None))
        return path.read_bytes()
