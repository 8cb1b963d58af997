"""The flow that a schedule runs, under a real Prefect server."""

import asyncio
import os
import subprocess
import sys

import pytest

from callsheet.cli.prefect import client_environment, own_server
from callsheet.ledger import State

pytestmark = [pytest.mark.anyio, pytest.mark.prefect]

SCRIPT = """
import asyncio, json
from flows.reconcile_ledger import reconcile_ledger
found = asyncio.run(reconcile_ledger(days=2))
print("found:", json.dumps([each["custom_id"] for each in found["collected"]]), found["billing_agreed"])
"""


async def test_the_flow_settles_collects_and_compares(house, prefect_data):
    """What a run lost is found, fetched and compared with its bill by the scheduled flow."""
    run_id = house.open_run("a,A scheduled boat")
    house.arm("reset")
    await house.work(run_id)
    await house.ended("A scheduled boat")
    url = house.address.url
    environment = {
        **os.environ,
        "HOME": str(house.folder),
        "FAL_KEY": house.address.key,
        "CALLSHEET_LEDGER_URL": house.settings.ledger_url,
        **{f"CALLSHEET_{name}_URL": url for name in ("QUEUE", "REST", "CDN")},
        "CALLSHEET_PLATFORM_URL": f"{url}/v1",
    }

    with own_server(prefect_data(house.folder)) as server:
        server.wait_ready()
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", SCRIPT],
            env=environment | client_environment(server.url, environment),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    assert 'found: ["a"] 1' in done.stdout, done.stderr
    assert house.row(run_id).state is State.SUCCEEDED
    assert house.address.key not in done.stdout + done.stderr
