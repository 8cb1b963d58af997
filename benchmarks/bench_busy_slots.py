"""How much of the ten slots' time is used: renders of one and of four seconds, beside a loop written by hand.

The ideal of 200 renders of a second, ten at a time, is 20 s. The loop is fal's own AsyncClient behind a
semaphore of ten, with its own polling (every 0.1 s), and it downloads each file as we do; it plans, books,
verifies and reports nothing. fal's client speaks TLS only, so it gets a sandbox of its own with the same
settings.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from measuring import (
    SPEED_FOR_ONE_SECOND,
    Figure,
    Place,
    oracle,
    place,
    report,
    run_command,
    sandbox,
    succeed,
)

from callsheet.cli.prefect import own_server

SLOTS = 10
JOBS = 200
LONG_JOBS = 100
LONG_RENDER_S = 4
SHARE_BOUND = 0.85
LONG_SHARE_BOUND = 0.97
BY_HAND = "--by-hand"


def main() -> int:
    """Measure and print."""
    with place() as here:
        theirs, theirs_s = _by_hand(here.folder, here.environment())
        figures = [
            *_figures("own server, 1 s", _ours(here, "own", 1, JOBS, {}), SHARE_BOUND, theirs, theirs_s)
        ]
        with own_server(here.data_dir / "shared") as server:
            server.wait_ready()
            running = {"PREFECT_API_URL": server.url}
            short = _ours(here, "running", 1, JOBS, running)
            figures += _figures("server running, 1 s", short, SHARE_BOUND, theirs, theirs_s)
            long = _ours(here, "long", LONG_RENDER_S, LONG_JOBS, running)
            figures += _figures("server running, 4 s", long, LONG_SHARE_BOUND, theirs, None)
    most, count = short[0]["in_progress_max"], short[0]["accepted_count"]
    return report(
        [
            *figures,
            Figure(
                "most rendering at once",
                str(most),
                f"by hand: {theirs['in_progress_max']}",
                f"<= {SLOTS}",
                most <= SLOTS,
            ),
            Figure(
                "accepted, of 200 asked for",
                str(count),
                f"by hand: {theirs['accepted_count']}",
                f"= {JOBS}",
                count == JOBS,
            ),
        ]
    )


def _figures(
    name: str,
    ours: tuple[dict[str, Any], float],
    bound: float,
    theirs: dict[str, Any],
    theirs_s: float | None,
) -> list[Figure]:
    """Return the share of the slots' time that was used, and how long the whole run took."""
    share = busy_share(ours[0]["accepted"])
    by_hand = "" if theirs_s is None else f"by hand: {busy_share(theirs['accepted']):.1%}"
    beside = "" if theirs_s is None else f"by hand: {theirs_s:.1f} s; ideal: 20 s"
    return [
        Figure(f"slot time used, {name}", f"{share:.1%}", by_hand, f"> {bound:.0%}", share > bound),
        Figure(f"whole run, {name}", f"{ours[1]:.1f} s", beside),
    ]


def _ours(
    here: Place, name: str, render_s: int, jobs: int, more: dict[str, str]
) -> tuple[dict[str, Any], float]:
    """Run jobs in a data folder of their own; returns the oracle's account and the seconds."""
    speed = SPEED_FOR_ONE_SECOND / render_s
    data_dir = here.folder / name
    environment = here.environment(CALLSHEET_DATA_DIR=str(data_dir), **more)
    with sandbox(data_dir / "sandbox", speed) as url:
        begun = time.perf_counter()
        succeed(run_command(here.manifest(jobs), here, speed), environment)
        return oracle(url), time.perf_counter() - begun


def busy_share(accepted: list[dict[str, Any]], slots: int = SLOTS) -> float:
    """Return the part of the slots' time in which something rendered, while jobs were still waiting.

    Counted from the first start to the last: after it there is nothing left that could fill a slot.
    """
    spans = [(record["started_at"], record["completed_at"]) for record in accepted]
    first, last = min(start for start, _ in spans), max(start for start, _ in spans)
    moments = sorted({first, last, *(moment for span in spans for moment in span if first < moment < last)})
    used = sum(
        (later - earlier) * sum(start <= earlier < end for start, end in spans)
        for earlier, later in pairwise(moments)
    )
    return float(used / (slots * (last - first)))


def _by_hand(folder: Path, environment: dict[str, str]) -> tuple[dict[str, Any], float]:
    """Run the loop by hand in a process of its own; returns the oracle's account and its seconds."""
    authority = _certificates(folder)
    trust = ssl.create_default_context(cafile=authority)
    tls = ("--certfile", str(folder / "server.pem"), "--keyfile", str(folder / "server.key"))
    with sandbox(folder / "by-hand", SPEED_FOR_ONE_SECOND, *tls) as url:
        host = f"localhost:{url.rsplit(':', 1)[1]}"
        own = {
            "FAL_RUN_HOST": host,
            "FAL_QUEUE_RUN_HOST": host,
            "FAL_KEY": "sandbox-key",
            "SSL_CERT_FILE": str(authority),
        }
        begun = time.perf_counter()
        subprocess.run(
            [sys.executable, __file__, BY_HAND, str(folder / "clips")],
            env={**environment, **own},
            check=True,
        )
        seconds = time.perf_counter() - begun
        return oracle(f"https://{host}", trust), seconds


def _certificates(folder: Path) -> Path:
    import trustme

    authority = trustme.CA()
    served = authority.issue_cert("localhost", "127.0.0.1")
    (folder / "server.pem").write_bytes(b"".join(part.bytes() for part in served.cert_chain_pems))
    served.private_key_pem.write_to_path(str(folder / "server.key"))
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    return folder / "authority.pem"


async def _loop_by_hand(clips: Path) -> None:
    import fal_client
    import httpx

    places = asyncio.Semaphore(SLOTS)
    client = fal_client.AsyncClient(key=os.environ["FAL_KEY"])

    async def one(number: int, downloads: httpx.AsyncClient) -> None:
        arguments = {
            "prompt": "A paper boat on a still pond",
            "resolution": "480p",
            "duration": "2",
            "seed": number,
        }
        async with places:
            endpoint = "fal-ai/bytedance/seedance/v1/pro/fast/text-to-video"
            result = await client.subscribe(endpoint, arguments=arguments)
        reply = await downloads.get(result["video"]["url"])
        reply.raise_for_status()
        (clips / f"{number}.mp4").write_bytes(reply.content)

    async with httpx.AsyncClient(timeout=60) as downloads:
        await asyncio.gather(*(one(number, downloads) for number in range(1, JOBS + 1)))


if __name__ == "__main__":
    if sys.argv[1:2] == [BY_HAND]:
        clips_dir = Path(sys.argv[2])
        clips_dir.mkdir(parents=True, exist_ok=True)
        asyncio.run(_loop_by_hand(clips_dir))
    else:
        sys.exit(main())
