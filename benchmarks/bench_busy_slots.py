"""How much of the ten slots' time is used: 200 renders of one second, beside a loop written by hand.

The ideal is 20 s: 200 renders, ten at a time. The loop is fal's own AsyncClient behind a semaphore of ten,
with its own polling (every 0.1 s), and it downloads each file as we do; it plans, books, verifies and
reports nothing. fal's client speaks TLS only, so it gets a sandbox of its own with the same settings.
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

from callsheet.cli.prefect import embedded_server

JOBS = 200
SLOTS = 10
SHARE_BOUND = 0.95
WHOLE_BOUND = 1.05
BY_HAND = "--by-hand"


def main() -> int:
    """Measure and print."""
    with place() as here:
        alone, alone_s = _ours(here, "alone", {})
        server = embedded_server(here.data_dir / "shared")
        try:
            server.start()
            server.wait_ready()
            beside, beside_s = _ours(here, "beside", {"PREFECT_API_URL": server.url})
        finally:
            server.stop()
        theirs, theirs_s = _by_hand(here.folder, here.environment())
    ours, share_by_hand = beside, busy_share(theirs["accepted"])
    return report(
        [
            *(
                Figure(
                    f"slot time used, {name}",
                    f"{share:.1%}",
                    f"by hand: {share_by_hand:.1%}",
                    f"> {SHARE_BOUND:.0%}",
                    share > SHARE_BOUND,
                )
                for name, share in (
                    ("own Prefect server", busy_share(alone["accepted"])),
                    ("server running", busy_share(beside["accepted"])),
                )
            ),
            *(
                Figure(
                    f"whole run, {name}",
                    f"{seconds:.1f} s",
                    f"by hand: {theirs_s:.1f} s; ideal: 20 s",
                    f"< {WHOLE_BOUND} x",
                    seconds < WHOLE_BOUND * theirs_s,
                )
                for name, seconds in (("own Prefect server", alone_s), ("server running", beside_s))
            ),
            Figure(
                "most rendering at once",
                str(ours["in_progress_max"]),
                f"by hand: {theirs['in_progress_max']}",
                f"<= {SLOTS}",
                ours["in_progress_max"] <= SLOTS,
            ),
            Figure(
                "accepted, of 200 asked for",
                str(ours["accepted_count"]),
                f"by hand: {theirs['accepted_count']}",
                f"= {JOBS}",
                ours["accepted_count"] == JOBS,
            ),
        ]
    )


def _ours(here: Place, name: str, more: dict[str, str]) -> tuple[dict[str, Any], float]:
    """Run the 200 jobs in a data folder of their own; returns the oracle's account and the seconds."""
    data_dir = here.folder / name
    environment = here.environment(CALLSHEET_DATA_DIR=str(data_dir), **more)
    with sandbox(data_dir / "sandbox", SPEED_FOR_ONE_SECOND) as url:
        begun = time.perf_counter()
        succeed(run_command(here.manifest(JOBS), here, SPEED_FOR_ONE_SECOND), environment)
        return oracle(url), time.perf_counter() - begun


def busy_share(accepted: list[dict[str, Any]]) -> float:
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
    return float(used / (SLOTS * (last - first)))


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
