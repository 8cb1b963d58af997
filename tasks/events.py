"""Events of a run in Prefect, for its pages and its automations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect import get_run_logger
from prefect.events import emit_event

from callsheet.notify.message import Message

PREFIX = "callsheet."
"""`budget.80` is the event `callsheet.budget.80`."""


def event_sender(flow_run_id: str) -> Callable[[Message], None]:
    """Return what writes each message of a run into the log of its flow run, and emits it as an event.

    Called within the flow.
    """
    logger = get_run_logger()
    related = [
        {"prefect.resource.id": f"prefect.flow-run.{flow_run_id}", "prefect.resource.role": "flow-run"}
    ]

    def send(message: Message) -> None:
        logger.info("%s. %s", message.title, " ".join(message.text.splitlines()))
        emit_event(
            PREFIX + message.event,
            resource=resource_of(message),
            related=related,
            payload={"title": message.title, "text": message.text, **message.facts},
        )

    return send


def resource_of(message: Message) -> dict[str, Any]:
    """Return what an event is about: the run, with its campaign as a label that automations can filter by."""
    run, campaign = message.facts["run"], message.facts["campaign"]
    return {
        "prefect.resource.id": f"callsheet.run.{run}",
        "prefect.resource.name": str(run),
        "callsheet.campaign": str(campaign),
    }
