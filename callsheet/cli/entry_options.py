"""Which lines of the book are wanted: the options that `ledger statement` and `ledger entries` share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from callsheet.cli.periods import end_ms, first_ms
from callsheet.ledger import EntryFilter


def _option(name: str, text: str) -> Parameter:
    return Parameter(name=f"--{name}", env_var=f"CALLSHEET_LEDGER_{name.upper()}", help=text)


@dataclass(frozen=True, slots=True)
class EntryOptions:
    """What narrows the book; None narrows nothing."""

    run: Annotated[str | None, _option("run", "Only this run")] = None
    campaign: Annotated[str | None, _option("campaign", "Only this campaign")] = None
    client: Annotated[str | None, _option("client", "Only this client")] = None
    model: Annotated[str | None, _option("model", "Only this model")] = None
    since: Annotated[
        str | None, _option("since", "From this day on, e.g. 2026-11-01 (UTC, when money was put aside)")
    ] = None
    until: Annotated[str | None, _option("until", "Up to and with this day")] = None


Wanted = Annotated[EntryOptions | None, Parameter(name="*")]


def filter_of(options: EntryOptions | None) -> EntryFilter:
    """Return the ledger's filter. Raises UsageError for what is no day."""
    given = options or EntryOptions()
    return EntryFilter(
        run_id=given.run,
        campaign=given.campaign,
        client=given.client,
        model=given.model,
        since_ms=first_ms(given.since, "--since"),
        until_ms=end_ms(given.until, "--until"),
    )
