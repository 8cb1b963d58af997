"""`callsheet keeper`: go on with what dead processes left, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated

from callsheet.cli.options import Json, Sandbox, option
from callsheet.cli.output import document, note, result, say
from callsheet.engine.context import open_account
from callsheet.engine.keeper import RendersHere, Round, keep
from callsheet.engine.request import RunRequest, settings_for
from callsheet.engine.stopping import StopSignal, signals_to
from callsheet.errors import CallsheetError, UsageError
from callsheet.settings import Settings
from callsheet.wording import command, number_of

MOST_S = 3600

Once = Annotated[bool, option("KEEPER_ONCE", "Look once, finish what was taken up, and end", "--once")]
Every = Annotated[float, option("KEEPER_EVERY_S", f"Seconds between two looks, 1-{MOST_S}", "--every")]


def keeper(*, once: Once = False, every: Every = 60.0, sandbox: Sandbox = False, json: Json = False) -> int:
    """Go on with what dead processes left, in any run of the ledger, until Ctrl-C.

    Looks once a minute: unknown submissions are settled, runs that no
    living process owns are taken up and rendered here, and the results of
    runs that have ended are written. Runs that were stopped on purpose are
    left alone. One keeper for a ledger is enough; a second one is harmless.
    With a Prefect server, `callsheet deploy` registers the keeper instead.

    Example: callsheet keeper --once
    """
    if not 1 <= every <= MOST_S:
        raise UsageError(f"--every is {every:g}; use 1 to {MOST_S} seconds")
    settings = settings_for(RunRequest(sandbox=sandbox))
    show = (lambda done: document(done.document())) if json else partial(show_round, sandbox=sandbox)
    asyncio.run(_kept(settings, every_s=None if once else every, sandbox=sandbox, show=show))
    return 0


async def _kept(
    settings: Settings, *, every_s: float | None, sandbox: bool, show: Callable[[Round], None]
) -> None:
    stop = StopSignal()
    here = RendersHere(sandbox=sandbox, stop=stop)
    with signals_to(stop):
        while stop.admitting:
            done = await _round(settings, here)
            show(done)
            if every_s is None:
                for text in said_at_end(done, sandbox=sandbox):
                    note(text)
                break
            await stop.pause(every_s)
        if not stop.admitting:
            note("Nothing new is submitted. Waiting for what is rendering.")
        await here.ended()
    for text in here.problems:
        say(text)


async def _round(settings: Settings, here: RendersHere) -> Round:
    """Do one round; a ledger or a provider that is away is a problem to tell and not an end."""
    try:
        async with open_account(settings) as account:
            return await keep(account, here.start)
    except CallsheetError as error:
        return Round(problems=[str(error)])


def said_at_end(done: Round, *, sandbox: bool) -> list[str]:
    """Say which runs wait for the process that opened them; where there is nothing else to say, so."""
    waiting = [
        f"{run_id} waits until {until[11:16]} UTC for the process that opened it; "
        f"`{command('resume', run_id, sandbox=sandbox)}` goes on with it now"
        for run_id, until in done.waiting.items()
    ]
    return waiting or (["Nothing to go on with."] if done.is_quiet else [])


def show_round(done: Round, *, sandbox: bool) -> None:
    """Print what a round did, nothing for one that did nothing."""
    for what, names in (
        ("taken up", done.taken_up),
        ("results written", done.finalized),
        ("discarded, nothing was bought", done.discarded),
        ("frozen", done.frozen),
    ):
        for name in names:
            result(f"{what}: {name}")
    if done.settled:
        result(f"{number_of(done.settled, 'submission')} looked up")
    if done.unknown:
        reconcile = command("reconcile", sandbox=sandbox)
        result(f"{number_of(done.unknown, 'submission')} unknown; `{reconcile}` says more")
    for problem in done.problems:
        say(problem)
