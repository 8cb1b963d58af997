"""Tells people and programs what happens to a run: each thing once, also when the run is taken up again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from callsheet.engine.context import RunContext
from callsheet.engine.request import RunRequest
from callsheet.errors import Busy, CallsheetError, CapReached, InputError, Interrupted
from callsheet.ledger import (
    Account,
    JobRow,
    State,
    admission,
    history,
    queries,
    refs_of_owners,
    wall_clock_ms,
)
from callsheet.notify import message
from callsheet.notify.message import Message
from callsheet.notify.sending import Announcer, Targets, targets_of
from callsheet.reconciliation.account import AccountSession
from callsheet.settings import Settings, settings_from
from manifests.planner import written_campaign

LOOK_EVERY_S = 5.0
"""How often caps and unknown submissions are looked at while a run goes on, in seconds."""


def targets_for(source: str | None, settings: Settings) -> Targets:
    """Return who is told: the environment's targets, else those of the campaign file."""
    urls, webhook = tuple(settings.notify_urls.reveal().split()), settings.notify_webhook.reveal()
    missing: tuple[str, ...] = ()
    if source is not None and not (urls and webhook):
        try:
            written = written_campaign(source)
        except (InputError, OSError):
            missing = (f"{source} cannot be read now, so the notifications it names are not sent",)
        else:
            urls, webhook = urls or written.notify_urls, webhook or written.webhook
    found = targets_of(urls, webhook, settings.webhook_secret, os.environ)
    return Targets(found.apprise, found.webhook, found.webhook_secret, (*missing, *found.missing))


async def keep_announcing(ctx: RunContext) -> None:
    """Look at caps and unknown submissions again and again, and tell."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        with suppress(CallsheetError):
            await _look(ctx)


async def announce(ctx: RunContext, messages: Iterable[Message]) -> None:
    """Tell what nobody has told before. A ledger that is away costs the message."""
    fresh = {each.key: each for each in messages if each.key not in ctx.announcer.told}
    if not fresh:
        return
    with suppress(CallsheetError):
        first_told = await ctx.do(history.announce, list(fresh))
        ctx.announcer.told.update(fresh)
        if first_told:
            await _look_up_targets(ctx)
        for key, each in fresh.items():
            if key in first_told:
                ctx.announcer.publish(each)


async def announce_end(ctx: RunContext, summary: Mapping[str, Any]) -> None:
    """Tell how the run ended, and before that what happened since the last look.

    Waits for what is being sent, at most some seconds; what was not sent is a notice.
    """
    caps: list[Account] = []
    with suppress(CallsheetError):
        caps = await _look(ctx)
    await announce(ctx, [message.finished(summary, caps)])
    await ctx.announcer.sent()
    for name, why in ctx.announcer.problems.items():
        ctx.state.notice(f"notification {name} was not sent: {why}")


async def _look_up_targets(ctx: RunContext) -> None:
    if ctx.announcer.targets is not None:
        return
    source = ctx.request.source or RunRequest.of(ctx.run).source
    ctx.announcer.targets = await asyncio.to_thread(targets_for, source, ctx.settings)
    for each in ctx.announcer.targets.missing:
        ctx.state.notice(f"notifications: {each}")


@asynccontextmanager
async def refusals_told(request: RunRequest) -> AsyncIterator[None]:
    """Tell people where a scheduled run does not start or breaks off; nobody sits in front of it."""
    try:
        yield
    except CallsheetError as error:
        if not isinstance(error, Busy | Interrupted):
            await _tell_refusal(request, error)
        raise


async def _tell_refusal(request: RunRequest, error: CallsheetError) -> None:
    name = request.label
    with suppress(CallsheetError, OSError):
        name = written_campaign(request.source).name if request.source else name
    problems = "\n".join(map(str, getattr(error, "problems", ())[:10]))
    told = message.refused(name, f"{error}\n{problems}".strip(), at_ms=wall_clock_ms())
    await _tell(targets_for(request.source, settings_from(os.environ)), told)


async def tell_unclaimed(account: AccountSession, row: JobRow, said: str) -> None:
    """Tell people of a request at fal that no job claims, as `said`, once for each sentence."""
    run = await account.do(queries.run, row.run_id)
    told = message.unclaimed(
        row.custom_id, row.row, said, key=f"told {said}"[:500], campaign=run.campaign, run_id=run.run_id
    )
    if await account.do(history.announce, [told.key]):
        source = RunRequest.of(run).source
        await _tell(await asyncio.to_thread(targets_for, source, account.settings), told)


async def _tell(targets: Targets, told: Message) -> None:
    announcer = Announcer(targets)
    announcer.publish(told)
    await announcer.sent()


async def _look(ctx: RunContext) -> list[Account]:
    """Tell what the ledger shows now. Returns the accounts with a cap that the run counts in."""
    run = ctx.run
    sandbox = ctx.request.sandbox
    owners, now_ms = await ctx.do(history.owners, run.run_id), ctx.account.now_ms()
    refs = refs_of_owners(owners, campaign=run.campaign, run_id=run.run_id, at_ms=now_ms)
    accounts = list((await ctx.do(admission.headroom, refs)).values())
    messages = [
        message.unknown(row.custom_id, row.attempt, campaign=run.campaign, run_id=run.run_id, sandbox=sandbox)
        for row in await ctx.do(queries.jobs, run.run_id, states={State.UNKNOWN})
    ]
    for account in accounts:
        if account.frozen:
            messages.append(
                message.frozen(account, campaign=run.campaign, run_id=run.run_id, sandbox=sandbox)
            )
        if account.limit_nano is not None:
            messages += _crossed(ctx, account)
    await announce(ctx, messages)
    return sorted((each for each in accounts if each.limit_nano), key=lambda each: each.ref)


def _crossed(ctx: RunContext, account: Account) -> list[Message]:
    """Return a message for each level that a cap has reached; a cap that stopped the run is reached."""
    levels = message.crossed(account)
    why = ""
    reason = ctx.stop.reason
    if isinstance(reason, CapReached) and reason.scope == str(account.ref) and 100 not in levels:
        levels, why = list(message.LEVELS), str(reason)
    return [
        message.budget(
            account,
            level,
            campaign=ctx.run.campaign,
            run_id=ctx.run.run_id,
            is_highest=level == levels[-1],
            why=why,
        )
        for level in levels
    ]
