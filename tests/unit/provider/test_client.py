"""Watching, uploads and downloads, where the wire does not matter: the other end is a function."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from callsheet.errors import AccountError, Refused, Unavailable, UntrustedHost, UsageError
from callsheet.provider.client import FalQueue
from callsheet.provider.media import MAX_UPLOAD_BYTES
from callsheet.provider.messages import Completed, InProgress, InQueue, Status
from callsheet.provider.polling import PollSchedule
from callsheet.settings import ApiKey, Settings
from pricing.render_times import Estimate

ID = "764cabcf-b745-4b3e-ae38-1200304cf45b"
ENDPOINT = "fal-ai/bytedance/seedance/v1/pro/text-to-video"
KEY = "key-id:canary-5ecret"
SETTINGS = Settings(data_dir=Path("unused"), key=ApiKey(KEY))
FILE = "https://v3.fal.media/files/a.mp4"
TOKEN = {"token": "cdn-token", "token_type": "Bearer", "base_url": "https://v3b.fal.media"}


class Clock:
    """A clock that moves only in a sleep."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept_s: list[float] = []

    def now(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds


class Body(httpx.AsyncByteStream):
    """A body that arrives in two pieces, as bodies do."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        middle = len(self.content) // 2
        yield self.content[:middle]
        yield self.content[middle:]


Handler = Callable[[httpx.Request], httpx.Response]


def run(scene: Callable[[FalQueue], Any], handler: Handler, clock: Clock | None = None) -> Any:
    """Run a scene with a client whose other end is `handler`."""
    clock = clock or Clock()

    def streamed(request: httpx.Request) -> httpx.Response:
        found = handler(request)
        if not found.is_closed:
            return found
        # httpx's own bodies count as read already; what is read here must still be on its way.
        return httpx.Response(found.status_code, headers=found.headers, stream=Body(found.content))

    async def whole() -> Any:
        transport = httpx.MockTransport(streamed)
        async with FalQueue(
            SETTINGS, transport=transport, now=clock.now, sleep=clock.sleep, jitter=lambda: 0.5
        ) as queue:
            return await scene(queue)

    return asyncio.run(whole())


def replies(*found: httpx.Response | Exception) -> Handler:
    """Answer with these in turn; an exception is raised."""
    left: Iterator[httpx.Response | Exception] = iter(found)

    def handle(_request: httpx.Request) -> httpx.Response:
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handle


def status(word: str, code: int = 202) -> httpx.Response:
    """Return a status reply."""
    return httpx.Response(code, json={"status": word, "request_id": ID, "queue_position": 0})


def watching(handler: Handler, clock: Clock, run_timeout_s: float = 1e6) -> list[Status]:
    """Watch a job of about 10 s to its end and return every status seen."""
    schedule = PollSchedule(Estimate(10.0, 7.0, 14.0), 0.0, run_timeout_s, 1e6, jitter=lambda: 0.5)

    async def scene(queue: FalQueue) -> list[Status]:
        return [seen async for seen in queue.watch(queue.ticket(ENDPOINT, ID), schedule)]

    found: list[Status] = run(scene, handler, clock)
    return found


def test_watching_yields_every_status_and_waits_errors_out() -> None:
    """Outages, 5xx and unknown words in between change nothing: the end is seen when it is there."""
    handler = replies(
        status("IN_QUEUE"),
        httpx.ConnectError("down"),
        httpx.Response(502, text="<html>nginx</html>"),
        httpx.Response(429, headers={"retry-after": "9"}),
        status("IN_PROGRESS"),
        status("REBOOTING"),
        httpx.Response(404, json={"status": "NOT_FOUND"}),
        status("IN_PROGRESS"),
        status("COMPLETED", 200),
    )
    clock = Clock()
    assert watching(handler, clock) == [InQueue(0), InProgress(), InProgress(), Completed()]
    assert 9.0 in clock.slept_s


def test_watching_ends_when_the_queue_no_longer_holds_the_request() -> None:
    """Three times not found is an answer that waiting does not change."""
    with pytest.raises(Unavailable) as caught:
        watching(replies(*[httpx.Response(404, json={"status": "NOT_FOUND"})] * 3), Clock())
    assert caught.value.gone


def test_watching_outlasts_every_timeout() -> None:
    """A render that takes ten times its timeout is seen to its end: the job holds a slot until then."""
    clock = Clock()

    def handler(_request: httpx.Request) -> httpx.Response:
        return status("IN_PROGRESS") if clock.now_s < 600.0 else status("COMPLETED", 200)

    assert watching(handler, clock, run_timeout_s=60.0)[-1] == Completed()
    assert 600.0 <= clock.now_s < 660.0


REFUSED = [httpx.Response(code, json={"detail": "no"}) for code in (401, 403, 402)]


def test_watching_stops_when_the_account_is_refused_three_times_in_a_row() -> None:
    """A refused key is not waited out for ever."""
    clock = Clock()
    with pytest.raises(AccountError):
        watching(replies(*REFUSED), clock)
    assert len(clock.slept_s) == 3


def test_one_refusal_is_not_the_end_of_what_renders() -> None:
    """Two in a row, an answer, two more: what renders is followed to its end."""
    handler = replies(
        *REFUSED[:2], status("IN_PROGRESS"), REFUSED[0], httpx.ConnectError("down"), status("COMPLETED", 200)
    )
    assert watching(handler, Clock()) == [InProgress(), Completed()]


def uploading(handler: Handler, content: bytes | Path = b"picture", clock: Clock | None = None) -> str:
    """Upload a picture and return its address."""

    async def scene(queue: FalQueue) -> str:
        return await queue.upload(content, content_type="image/png", file_name="shot.png")

    found: str = run(scene, handler, clock)
    return found


def test_an_upload_asks_for_a_token_and_sends_the_bytes(tmp_path: Path) -> None:
    """The key goes to the REST host, the token and the bytes to the CDN, as fal's own client does it."""
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        is_token = request.url.host == "rest.fal.ai"
        return httpx.Response(200, json=TOKEN if is_token else {"access_url": FILE})

    path = tmp_path / "shot.png"
    path.write_bytes(b"from a file")
    assert uploading(handle, path) == FILE
    ask, put = seen
    assert str(ask.url) == "https://rest.fal.ai/storage/auth/token?storage_type=fal-cdn-v3"
    assert ask.headers["authorization"] == f"Key {KEY}"
    assert str(put.url) == "https://v3.fal.media/files/upload"
    assert put.headers["authorization"] == "Bearer cdn-token"
    assert (put.headers["content-type"], put.headers["x-fal-file-name"]) == ("image/png", "shot.png")
    assert put.content == b"from a file"


def test_an_upload_is_tried_three_times() -> None:
    """Uploads are free: two failures are waited out, the third is told."""
    token, down = httpx.Response(200, json=TOKEN), httpx.Response(503, headers={"retry-after": "4"})
    taken = httpx.Response(200, json={"access_url": FILE})
    clock = Clock()
    assert uploading(replies(down, token, httpx.ReadTimeout("slow"), token, taken), clock=clock) == FILE
    assert clock.slept_s[0] == 4.0
    with pytest.raises(Unavailable):
        uploading(replies(down, down, down))


@pytest.mark.parametrize(
    ("found", "error"),
    [
        ([httpx.Response(401, json={"detail": "no"})], AccountError),
        ([httpx.Response(200, json=TOKEN), httpx.Response(413, json={"detail": "large"})], Refused),
        ([httpx.Response(200, json={**TOKEN, "base_url": "https://evil.com"})], UntrustedHost),
        (
            [httpx.Response(200, json=TOKEN), httpx.Response(200, json={"access_url": "https://evil.com/a"})],
            UntrustedHost,
        ),
    ],
)
def test_an_upload_that_cannot_succeed_is_not_repeated(
    found: list[httpx.Response], error: type[Exception]
) -> None:
    """A refused key, a refused file and a foreign host are told at once, and nothing goes to the host."""
    with pytest.raises(error):
        uploading(replies(*found))


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """The size is known before the bytes are: a sparse file of over 100 MiB never gets into memory."""
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(MAX_UPLOAD_BYTES + 1)
    with pytest.raises(UsageError, match="104,857,601"):
        uploading(replies(), path)


def downloading(handler: Handler, url: str = FILE) -> tuple[dict[str, str], bytes]:
    """Download a file and return headers and bytes."""

    async def scene(queue: FalQueue) -> tuple[dict[str, str], bytes]:
        async with queue.open_download(url) as (headers, chunks):
            return dict(headers), b"".join([chunk async for chunk in chunks])

    found: tuple[dict[str, str], bytes] = run(scene, handler)
    return found


def test_a_download_has_no_key_and_asks_for_plain_bytes() -> None:
    """What is public is fetched like a stranger would, uncompressed."""
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"mp4 bytes", headers={"X-Test": "1"})

    headers, content = downloading(handle)
    assert (headers["x-test"], content) == ("1", b"mp4 bytes")
    assert "authorization" not in seen[0].headers
    assert seen[0].headers["accept-encoding"] == "identity"
    assert KEY not in str(seen[0].headers.raw)


class BreaksOff(httpx.AsyncByteStream):
    """A body that ends in the middle."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"half"
        raise httpx.RemoteProtocolError("peer closed connection")


@pytest.mark.parametrize(
    ("found", "is_gone"),
    [
        (httpx.Response(404), True),
        (httpx.Response(410), True),
        (httpx.Response(403), False),
        (httpx.Response(206, content=b"part"), False),
        (httpx.Response(302, headers={"location": "https://evil.com"}), False),
        (httpx.Response(503), False),
        (httpx.Response(200, stream=Body(b"x"), headers={"content-encoding": "gzip"}), False),
        (httpx.Response(200, stream=BreaksOff()), False),
        (httpx.ConnectTimeout("slow"), False),
    ],
)
def test_a_file_that_does_not_come_may_be_fetched_again(
    found: httpx.Response | Exception, is_gone: bool
) -> None:
    """Whatever keeps a file from coming whole is told as one error; only 404 and 410 are final."""
    with pytest.raises(Unavailable) as caught:
        downloading(replies(found))
    assert caught.value.gone == is_gone


@pytest.mark.parametrize("url", ["https://evil.com/a.mp4", "http://v3.fal.media/a.mp4", "file:///etc/passwd"])
def test_a_file_elsewhere_is_not_fetched(url: str) -> None:
    """An address off fal's media hosts is refused before anything is sent."""
    with pytest.raises(UntrustedHost):
        downloading(replies(), url)


def moved(to: str, code: int = 302) -> httpx.Response:
    """A redirect."""
    return httpx.Response(code, headers={"location": to})


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("to", "then"),
    [
        ("https://v3.fal.media/b.mp4", "https://v3.fal.media/b.mp4"),
        ("https://v3b.fal.media/files/a.mp4?x=1", "https://v3b.fal.media/files/a.mp4?x=1"),
        ("/moved/a.mp4", "https://v3.fal.media/moved/a.mp4"),
        ("b.mp4", "https://v3.fal.media/files/b.mp4"),
        ("//fal.media/c.mp4", "https://fal.media/c.mp4"),
    ],
)
def test_a_redirect_to_fals_files_is_followed_without_the_key(code: int, to: str, then: str) -> None:
    """To the same host or another one of fal's, whole or relative address."""
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return moved(to, code) if len(seen) == 1 else httpx.Response(200, content=b"mp4 bytes")

    assert downloading(handle)[1] == b"mp4 bytes"
    assert [str(each.url) for each in seen] == [FILE, then]
    assert not any("authorization" in each.headers for each in seen)


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.com/a.mp4",
        "http://v3.fal.media/a.mp4",
        "https://fal.media.evil.com/a.mp4",
        "https://user@v3.fal.media/a.mp4",
        "https://127.0.0.1/a.mp4",
        "file:///etc/passwd",
    ],
)
def test_a_redirect_elsewhere_is_not_followed(to: str) -> None:
    """Every hop is checked, the last one too: nothing is sent to a host that is not fal's."""
    seen: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.host)
        return moved("https://v3b.fal.media/a.mp4") if len(seen) == 1 else moved(to)

    with pytest.raises(Unavailable, match="not followed"):
        downloading(handle)
    assert seen == ["v3.fal.media", "v3b.fal.media"]


@pytest.mark.parametrize(("hops", "arrives"), [(3, True), (4, False)])
def test_redirects_come_to_an_end(hops: int, arrives: bool) -> None:
    """Three are followed; a fourth is an answer that is not the file, and it is asked for again later."""
    handler = replies(*[moved(FILE)] * hops, httpx.Response(200, content=b"mp4"))
    if arrives:
        assert downloading(handler)[1] == b"mp4"
    else:
        with pytest.raises(Unavailable, match="302"):
            downloading(handler)


def test_the_readers_own_errors_stay_its_own() -> None:
    """A full disk while writing is no failure of the network, and the download is closed behind it."""

    async def scene(queue: FalQueue) -> None:
        async with queue.open_download(FILE) as (_, chunks):
            async for _chunk in chunks:
                raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        run(scene, replies(httpx.Response(200, content=b"bytes")))
