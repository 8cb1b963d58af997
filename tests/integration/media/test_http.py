import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from callsheet.errors import CallsheetError
from callsheet.media.download import Collected, Limits, collect
from callsheet.media.expect import Expectation
from callsheet.provider.client import FalQueue
from callsheet.settings import Settings

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[str]:
    """Serve every request on a real socket with the same raw answer, then close the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


def says(head: str, body: bytes) -> Answer:
    """Answer with these words, whatever is asked."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {head}\r\n\r\n".encode() + body)
        await writer.drain()

    return answer


def fetched(answer: Answer, path: Path, expected: Expectation) -> Collected:
    """Collect from a server that answers so, through our own client."""

    async def run() -> Collected:
        async with server(answer) as origin:
            settings = Settings(data_dir=path.parent, cdn_url=origin)
            async with FalQueue(settings) as queue:
                return await collect(
                    lambda: queue.open_download(f"{origin}/files/a.mp4"),
                    path,
                    expected,
                    rejected=path.parent / "rejected",
                    limits=Limits(grace_s=0.3, total_s=20.0),
                )

    return asyncio.run(run())


def test_a_clip_comes_over_the_wire(tmp_path: Path, clip: bytes, expected: Expectation) -> None:
    """Through a real socket and our own client, a clip arrives whole and verified."""
    answer = says(f"200 OK\r\ncontent-type: video/mp4\r\ncontent-length: {len(clip)}", clip)
    assert fetched(answer, tmp_path / "a.mp4", expected).bytes == len(clip)
    assert (tmp_path / "a.mp4").read_bytes() == clip


def test_a_chunked_clip_comes_over_the_wire(tmp_path: Path, clip: bytes, expected: Expectation) -> None:
    """A chunked body without a length is as good."""
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(clip), clip)
    fetched(says("200 OK\r\ntransfer-encoding: chunked", chunks), tmp_path / "a.mp4", expected)
    assert (tmp_path / "a.mp4").read_bytes() == clip


async def dribble(writer: asyncio.StreamWriter) -> None:
    """Send a byte now and then, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


FAULTY: dict[str, Callable[[bytes], Answer]] = {
    "closed early": lambda clip: says(f"200 OK\r\ncontent-length: {len(clip)}", clip[:-100]),
    "closed early, no length": lambda clip: says("200 OK", clip[:-100]),
    "chunks cut": lambda clip: says(
        "200 OK\r\ntransfer-encoding: chunked", b"%x\r\n%s" % (len(clip), clip[:9000])
    ),
    "encoded": lambda clip: says("200 OK\r\ncontent-encoding: gzip", gzip.compress(clip)),
    "error page": lambda _: says("200 OK\r\ncontent-type: text/html", b"<h1>Sorry</h1>"),
    "gone": lambda _: says("404 Not Found\r\ncontent-length: 0", b""),
    "moved": lambda _: says("302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0", b""),
    "nothing at all": lambda _: says("200 OK\r\ncontent-length: 0", b""),
    "dribble": lambda _: dribble,
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_server_leaves_nothing(
    tmp_path: Path, clip: bytes, expected: Expectation, name: str
) -> None:
    """Whatever a server does on the wire, it is one of our errors and no finished file."""
    with pytest.raises(CallsheetError):
        fetched(FAULTY[name](clip), tmp_path / "a.mp4", expected)
    assert not (tmp_path / "a.mp4").exists()
    assert {path.name for path in tmp_path.iterdir()} <= {"rejected"}
