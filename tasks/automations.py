"""Ready-made automations of Prefect for Callsheet's events, and for flow runs whose process died."""

from __future__ import annotations

from datetime import timedelta

from prefect.automations import AutomationCore, EventTrigger, Posture
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, DoNothing, SendNotification

from tasks.flow_run import PREFIX

BLOCK = "callsheet"
"""The automations use the notification block (Slack, mail, anything that Prefect has) of this name."""

HEARTBEAT_S = 30
"""How often a flow run says that its process lives, in seconds; three in vain mean that it died."""

EVENTS = {
    "Callsheet: 80 % of a cap": ("budget.80", "budget.90"),
    "Callsheet: a cap is reached": ("budget.100",),
    "Callsheet: an outcome is unknown": ("submission.unknown",),
    "Callsheet: an account is frozen": ("account.frozen",),
    "Callsheet: a run has ended": ("run.finished",),
}

DEAD_RUNS = "Callsheet: flow runs without a heartbeat have crashed"

MADE = "Made by: callsheet deploy --automations"
SENDS_NOTHING = (
    f"Sends nothing yet: save a notification block named {BLOCK}, then deploy with --automations again"
)

TITLE = "{{ event.payload.title }}"
BODY = TITLE + "\n\n{{ event.payload.text }}"


async def notification_block(client: PrefectClient) -> SendNotification | None:
    """Return the action that sends through the notification block `callsheet`; None where there is none."""
    for each in await client.read_block_documents():
        schema = each.block_schema
        if each.name == BLOCK and schema is not None and "notify" in schema.capabilities:
            return SendNotification(block_document_id=each.id, subject=TITLE, body=BODY)
    return None


def wanted_automations(send: SendNotification | None) -> list[AutomationCore]:
    """Return the automations. Without a notification block those for events are made and do nothing yet."""
    for_events = [
        AutomationCore(
            name=name,
            description=MADE if send is not None else SENDS_NOTHING,
            enabled=send is not None,
            trigger=EventTrigger(
                expect={f"{PREFIX}{event}" for event in events},
                match={"prefect.resource.id": "callsheet.run.*"},
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[send or DoNothing()],
        )
        for name, events in EVENTS.items()
    ]
    heartbeat = "prefect.flow-run.heartbeat"
    ends = {f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Cancelled", "Crashed")}
    for_dead_runs = AutomationCore(
        name=DEAD_RUNS,
        description=f"{MADE}. The ledger's keeper goes on with their work",
        trigger=EventTrigger(
            after={heartbeat},
            expect={heartbeat, *ends},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related={"prefect.resource.id": "prefect.tag.callsheet"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=3 * HEARTBEAT_S),
        ),
        actions=[
            ChangeFlowRunState(
                name=None,
                state=StateType.CRASHED,
                message="no sign of life for 90 s: its process has died",
                force=False,
            )
        ],
    )
    return [*for_events, for_dead_runs]


async def register_automations(client: PrefectClient, *, dry_run: bool = False) -> tuple[list[str], bool]:
    """Make or renew the automations by their names. Returns the names, and whether they send anything.

    One that a person has switched off stays off. `dry_run` changes nothing.
    """
    send = await notification_block(client)
    wanted = wanted_automations(send)
    for each in wanted if not dry_run else ():
        found = await client.read_automations_by_name(each.name)
        if not found:
            await client.create_automation(each)
            continue
        before = found[0]
        is_switched_off = not before.enabled and not any(
            isinstance(action, DoNothing) for action in before.actions
        )
        renewed = each.model_copy(update={"enabled": each.enabled and not is_switched_off})
        await client.update_automation(before.id, renewed)
    return [each.name for each in wanted], send is not None
