"""Every way to answer a submit so that nobody can know what became of it: at most one purchase per job."""

import asyncio
import json
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from callsheet.engine.open_run import Selection, open_run
from callsheet.ledger import HOLDS_SLOT, Ledger, State, queries, verify
from callsheet.settings import ApiKey, Settings
from manifests.planner import make_plan
from tests.rig.figures import Figure, at_least, none_of
from tests.rig.kills import memory_folder
from tests.rig.processes import apart, spawn, wait
from tests.rig.provider import silence
from tests.rig.worker import GIVES_UP_S, Life, live

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]

ID = "0b9f3c1e-7a34-4a55-9b1e-1f0a8a1f7c11"
OK = json.dumps({"request_id": ID, "status": "IN_QUEUE"}).encode()
LEAD = f"x-fal-request-id: {ID}"
PAGE = b"<html><center>nginx</center></html>"
SLOW_S = 2 * GIVES_UP_S
AT_ONCE = 44
"""Jobs of one run: few enough for each POST to get its turn on a busy machine."""

LIVES = 2
"""How often the run is taken up: what is unclear must stay bought once, however often somebody resumes."""


def whole(status: str, body: bytes = b"", *headers: str) -> bytes:
    """Return a whole reply."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def say(raw: bytes, writer: asyncio.StreamWriter) -> None:
    """Write, and leave the connection to its fate."""
    writer.write(raw)
    await writer.drain()


async def reset(writer: asyncio.StreamWriter) -> None:
    """Reset the connection."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def hang(writer: asyncio.StreamWriter) -> None:
    """Say nothing until the other side has gone."""
    await asyncio.sleep(SLOW_S)


async def drip(writer: asyncio.StreamWriter) -> None:
    """A byte now and then, so that no single read ever times out."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n")
    for _ in range(int(SLOW_S / 0.05)):
        await say(b" ", writer)
        await asyncio.sleep(0.05)


async def too_late(writer: asyncio.StreamWriter) -> None:
    """The true reply, after everybody has stopped listening."""
    await asyncio.sleep(SLOW_S)
    await say(whole("200 OK", OK), writer)


async def endless(writer: asyncio.StreamWriter) -> None:
    """A body without an end."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(100):
        await say(b" " * 65_536, writer)


KINDS: dict[str, Answer] = {
    "no reply": hang,
    "the reply comes too late": too_late,
    "the reply drips": drip,
    "a body without an end": endless,
    "closed": partial(say, b""),
    "reset": reset,
    "half of the head": partial(say, b"HTTP/1.1 200 OK\r\nContent-Le"),
    "half of the body": partial(say, whole("200 OK", OK)[:-20]),
    "half of the body, with a lead": partial(say, whole("200 OK", OK, LEAD)[:-20]),
    "not HTTP": partial(say, b"SSH-2.0-x\r\n\r\n"),
    "200 without a body": partial(say, whole("200 OK")),
    "200 with broken JSON": partial(say, whole("200 OK", OK[:-9])),
    "200 without an id": partial(say, whole("200 OK", b"{}")),
    "200, encoded": partial(say, whole("200 OK", b"\x1f\x8b\x00", "Content-Encoding: gzip")),
    "a redirect to the same place": partial(say, whole("307 Moved", b"", "Location: /again")),
    "408": partial(say, whole("408 Time-out", b"{}")),
    "409": partial(say, whole("409 Conflict", b"{}")),
    "500 in JSON": partial(say, whole("500 Error", b'{"detail": "x", "error_type": "internal_error"}')),
    "500 with a lead": partial(say, whole("500 Error", b'{"detail": "x"}', LEAD)),
    "502 of a proxy": partial(say, whole("502 Bad Gateway", PAGE)),
    "503 of a proxy": partial(say, whole("503 Unavailable", PAGE)),
    "504 of a proxy": partial(say, whole("504 Time-out", PAGE)),
}


class Taker:
    """A provider that takes every job and then answers as its prompt says; it counts by prompt."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"POST"):
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                prompt = json.loads(await reader.readexactly(length))["prompt"]
                self.taken[prompt] += 1
                await KINDS[prompt.partition(" | ")[0]](writer)
            else:
                await say(whole("404 Not Found", b"{}"), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def reply_figures(*, jobs: int) -> list[Figure]:
    """Return the figures: so many jobs for each kind of reply, at most `AT_ONCE` of them at once."""
    prompts = [f"{kind} | {number}" for number in range(jobs) for kind in KINDS]
    taken: Counter[str] = Counter()
    with memory_folder() as folder:
        for start in range(0, len(prompts), AT_ONCE):
            place = folder / str(start)
            place.mkdir()
            apart(_buy, prompts[start : start + AT_ONCE], place)
            taken.update(json.loads((place / "result.json").read_text()))
    part = "ambiguous replies"
    return [
        at_least(part, "kinds of reply", len(KINDS), 22),
        at_least(part, "purchases made", taken["accepted"], len(KINDS) * jobs * 9 // 10),
        none_of(part, "jobs bought twice", taken["twice"]),
        none_of(part, "jobs left without a named outcome", taken["unnamed"]),
        none_of(part, "jobs whose money was let go", taken["let go"]),
    ]


def _buy(prompts: list[str], folder: Path) -> None:
    """Buy, resume, and write down what the provider saw."""
    reading, writing = socket.socketpair()
    server = spawn(_serve, writing, reading)
    writing.close()
    port = int(reading.recv(10))
    settings = _open(folder, port, prompts)
    run_id = next((folder / "runs").glob("shots-*")).name
    for _ in range(LIVES):
        apart(live, Life(settings, run_id))
    reading.sendall(b"enough")
    taken: Counter[str] = Counter(json.loads(_all_of(reading)))
    wait(server)
    with Ledger.open(settings.ledger) as ledger:
        rows = ledger.do(queries.jobs, run_id)
        broken = ledger.do(verify.verify)
    assert broken == []
    unsure = {State.UNKNOWN, State.IN_QUEUE}
    result = {
        "accepted": taken.total(),
        "twice": sum(count > 1 for count in taken.values()),
        "unnamed": sum(row.state not in unsure and row.state in HOLDS_SLOT for row in rows),
        "let go": sum(row.state not in unsure for row in rows),
    }
    (folder / "result.json").write_text(json.dumps(result))


def _all_of(reading: socket.socket) -> bytes:
    reading.shutdown(socket.SHUT_WR)
    return b"".join(iter(partial(reading.recv, 65_536), b""))


def _serve(line: socket.socket, other_end: socket.socket) -> None:
    other_end.close()
    silence()

    async def serve() -> None:
        taker = Taker()
        server = await asyncio.start_server(taker.serve, "127.0.0.1", 0)
        line.sendall(str(server.sockets[0].getsockname()[1]).encode())
        await asyncio.to_thread(line.recv, 10)
        server.close()
        line.sendall(json.dumps(taker.taken).encode())
        line.close()

    asyncio.run(serve())


def _open(folder: Path, port: int, prompts: list[str]) -> Settings:
    manifest = folder / "shots.csv"
    rows = [f'j{number},"{prompt}",seedance-1.0-lite,480p,2' for number, prompt in enumerate(prompts)]
    manifest.write_text("custom_id,prompt,model,resolution,duration\n" + "\n".join(rows) + "\n")
    url = f"http://127.0.0.1:{port}"
    settings = Settings(
        data_dir=folder,
        key=ApiKey("a-key"),
        queue_url=url,
        rest_url=url,
        cdn_url=url,
        platform_url=f"{url}/v1",
        ledger_url=f"sqlite:///{folder / 'ledger.sqlite'}",
        concurrency=len(prompts),
    )
    with Ledger.open(settings.ledger) as ledger:
        plan = make_plan(manifest)
        open_run(ledger, plan, Selection(tuple(range(len(prompts))), {}, ()), out=folder / "runs", options="")
    return settings
