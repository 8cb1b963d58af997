"""A run that waits for a person in Prefect: with a real Prefect server."""

import json
import os
import subprocess
import sys

import pytest

from callsheet.ledger import Ledger, State, history, queries

pytestmark = pytest.mark.prefect

SHOTS = "custom_id,prompt,model,resolution,num_frames\na,A boat,seedance-1.0-lite,480p,29\n"

ASK = """
import asyncio, json, sys
from prefect.client.orchestration import get_client
from callsheet.engine.request import RunRequest
from flows.run_campaign import run_campaign

async def main(above, within_s, answer):
    asking = {"approve_above_usd": above, "approve_within_s": within_s}
    request = RunRequest(source="shots.csv", sandbox=True, speed=50, **asking)
    running = asyncio.ensure_future(run_campaign(request, return_state=True))
    told = {"plan": ""}
    async with get_client() as client:
        while answer is not None:
            paused = [each for each in await client.read_flow_runs() if each.state.is_paused()]
            if paused and paused[0].state.state_details.run_input_keyset:
                artifacts = await client.read_artifacts()
                told["plan"] = [each.data for each in artifacts if each.flow_run_id == paused[0].id][0]
                await client.resume_flow_run(paused[0].id, run_input=answer)
                break
            await asyncio.sleep(0.1)
        state = await running
    print(json.dumps({**told, "state": state.type.value, "message": state.message}))

asyncio.run(main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])))
"""


def asked(desk, *, above: str = "0.01", within_s: int = 60, answer: dict | None = None) -> dict:
    """Run the flow as a worker does, and answer it as a person does in Prefect's pages."""
    (desk.folder / "shots.csv").write_text(SHOTS)
    done = subprocess.run(
        [sys.executable, "-c", ASK, above, str(within_s), json.dumps(answer)],
        cwd=desk.folder,
        env={**os.environ, **desk.env},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def the_run(desk):
    """The only run of the sandbox's ledger, with its jobs."""
    with Ledger.open(f"sqlite:///{desk.data / 'sandbox' / 'ledger.sqlite'}") as ledger:
        (run,) = ledger.do(queries.runs)
        return run, ledger.do(queries.jobs, run.run_id), list(ledger.stream(history.entries))


def test_a_run_above_the_sum_waits_with_its_plan_and_buys_after_a_yes(desk):
    """The plan is published before the answer; after it everything is bought as planned."""
    told = asked(desk, answer={"approved": True, "reason": "fits the month"})
    assert told["state"] == "COMPLETED"
    assert "1 video to buy" in told["plan"]
    assert "| a | seedance-1.0-lite | $0.0212 | $0.0219" in told["plan"]
    assert len(desk.accepted()) == 1
    assert the_run(desk)[1][0].state is State.SUCCEEDED


@pytest.mark.parametrize(
    ("answer", "within_s", "why"),
    [
        ({"approved": False, "reason": "too many boats"}, 60, "a person refused it: too many boats"),
        (None, 1, "not approved within 1 s"),
    ],
)
def test_without_a_yes_nothing_is_bought(desk, answer, within_s, why):
    """A refusal and a silence cancel every job and close the run; the ledger has no entry at all."""
    told = asked(desk, answer=answer, within_s=within_s)
    assert why in (told["message"] or "") or told["state"] == "FAILED"
    run, (job,), entries = the_run(desk)
    assert (run.closed_ms is not None, job.state, entries) == (True, State.CANCELLED, [])
    assert desk.accepted() == []


def test_a_run_below_the_sum_asks_nobody(desk):
    """What may cost less than the sum is bought at once."""
    assert asked(desk, above="5")["state"] == "COMPLETED"
    assert len(desk.accepted()) == 1
