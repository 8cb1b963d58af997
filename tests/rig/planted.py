"""Four bugs, planted on purpose: a rig that does not find them proves nothing.

Each is a mistake that has been made elsewhere with real money.
"""

from pathlib import Path
from typing import Any

from callsheet import failpoints
from callsheet.engine import admit as admitting
from callsheet.engine import submit as submitting
from callsheet.errors import NotSent, OutcomeUnknown, Refused, Throttled
from callsheet.ledger import admission, settlement, transitions
from callsheet.ledger.transaction import Transaction, purchase
from callsheet.provider.client import FalQueue
from callsheet.reconciliation import evidence
from callsheet.reconciliation.account import AccountSession
from tests.rig.campaign import Tally
from tests.rig.crowd import crowd_rounds
from tests.rig.figures import Figure, at_least
from tests.rig.kills import kill_campaigns, memory_folder
from tests.rig.provider import LATE_S

PART = "planted bugs"


def id_after_post() -> None:
    """Nothing is on disk before the id is: a death in between, or a lost reply, and it is sent again."""

    async def send_once(ctx: Any, order: Any, _intent: Any, *, again: bool) -> Any:
        try:
            ticket = await ctx.queue.submit(order.job.endpoint.id, order.arguments)
        except (NotSent, Throttled) as error:
            return error
        except (Refused, OutcomeUnknown):
            await ctx.do(settlement.release, order.job_id)
            return None
        failpoints.passing("after_post")
        sent = {"seed": order.seed, "arguments_sha256": order.arguments_sha256}
        await ctx.do(transitions.send, order.job_id, **sent)
        await ctx.do(transitions.accept, order.job_id, ticket)
        return ticket

    @purchase()
    def admit_only(tx: Transaction, order: Any, *, slots: int, latest_departure_s: Any) -> Any:
        return admitting.Intent(admission.admit(tx, order.job_id, slots=slots).number, latest_departure_s())

    submitting._send_once = send_once
    admitting.admit_and_send = admit_only


def three_retries() -> None:
    """A POST whose reply is unclear is sent again, as fal's own client does."""
    once = FalQueue.submit

    async def submit(self: FalQueue, *arguments: Any, **named: Any) -> Any:
        for _ in range(3):
            try:
                return await once(self, *arguments, **named)
            except OutcomeUnknown:
                continue
        return await once(self, *arguments, **named)

    submit.__kwdefaults__ = {}
    FalQueue.submit = submit


def no_deadline() -> None:
    """What is not in the history now is taken for never sent."""
    AccountSession.window_ms = lambda *_: 0
    evidence.gap_ms = lambda _: 0


OFTEN_LOST = {"kind": "close", "count": None, "probability": 0.5}
ALWAYS_LATE = {"kind": "late", "count": None, "probability": 0.5, "delay_s": 5 * LATE_S}

IN_A_CAMPAIGN: dict[str, dict[str, Any]] = {
    "id stored after the POST": {"bug": id_after_post},
    "three retries": {"bug": three_retries, "faults": [OFTEN_LOST]},
    "absent at once, without a deadline": {"bug": no_deadline, "faults": [ALWAYS_LATE]},
}


def found_in_a_campaign(bug: str, folder: Path, *, kills: int, seed: int) -> Tally:
    """Attack a product with this bug."""
    return kill_campaigns(folder, kills=kills, seed=seed, **IN_A_CAMPAIGN[bug])


def planted_figures(*, kills: int, rounds: int, seed: int) -> list[Figure]:
    """Return how often each planted bug was caught."""
    figures = []
    for bug in IN_A_CAMPAIGN:
        with memory_folder() as folder:
            tally = found_in_a_campaign(bug, folder, kills=kills, seed=seed)
        what = f"{bug}: bought twice in {tally.kills} kills"
        figures.append(at_least(PART, what, tally.judgement.bought_twice, 1))
    figures.append(_check_then_write(rounds=rounds))
    return figures


def _check_then_write(*, rounds: int) -> Figure:
    with memory_folder() as folder:
        crowd = crowd_rounds("sqlite", folder, rounds=rounds, checks_first=True)
    return at_least(PART, f"check, then write: jobs over budget in {rounds} rounds", crowd.over, 1)
