"""`callsheet notify`: who is told about runs, and whether it reaches them."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

from cyclopts import Parameter

from callsheet.cli.options import Json, option
from callsheet.cli.output import document, say, show_table
from callsheet.engine.announce import targets_for
from callsheet.errors import UsageError
from callsheet.ledger import wall_clock_ms
from callsheet.notify.message import trial
from callsheet.notify.sending import deliver
from callsheet.settings import settings_from

Source = Annotated[
    str | None, Parameter(help="The campaign file whose [notify] is meant (default: the environment's)")
]
Test = Annotated[bool, option("NOTIFY_TEST", "Send a test message to everybody")]


def notify(source: Source = None, *, test: Test = False, json: Json = False) -> int:
    """Show who is told about runs; with --test, send everybody a message.

    Addresses are not shown, because they hold secrets. The exit code is 1 if
    a message was not sent.

    Example: callsheet notify --test campaign.toml
    """
    targets = targets_for(source, settings_from(os.environ))
    for each in targets.missing:
        say(f"not used: {each}")
    if not targets:
        raise UsageError(
            "nobody is told about runs. Name Apprise addresses (https://github.com/caronc/apprise) in "
            "CALLSHEET_NOTIFY_URLS, or under [notify] urls in the campaign file"
        )
    answers = (
        asyncio.run(deliver(targets, trial(at_ms=wall_clock_ms())))
        if test
        else dict.fromkeys([each.name for each in targets.apprise] + ["webhook"] * bool(targets.webhook), "")
    )
    lines = [
        {"target": name, "result": (why or "sent") if test else "not tried"} for name, why in answers.items()
    ]
    if json:
        document({"targets": lines, "not_used": list(targets.missing)})
    else:
        show_table(["target", "result"], [list(line.values()) for line in lines])
    return int(any(answers.values()) or (test and bool(targets.missing)))
