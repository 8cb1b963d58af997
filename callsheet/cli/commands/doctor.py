"""`callsheet doctor`."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from stat import S_IRWXG, S_IRWXO

from callsheet import failpoints
from callsheet.cli.options import Json
from callsheet.cli.output import document, show_line
from callsheet.cli.prefect import configured_api_url, require_answer
from callsheet.cli.views.plan_ledger import credit_nano
from callsheet.engine.rollback_guard import refuse_older_ledger
from callsheet.errors import CallsheetError
from callsheet.files import has_ledger, usable_data_folder
from callsheet.ledger import Ledger, activity, queries, verify, wall_clock_ms
from callsheet.provider.client import FalQueue
from callsheet.settings import Settings, settings_from
from manifests.readers.remote import is_remote
from pricing.render_times import in_words

LOW_DISK_BYTES = 2 * 2**30
CLOCKS_APART_S = 30.0
KEEPER_LATE_MS = 180_000
"""A keeper looks every minute."""

Finding = tuple[bool, str]


def doctor(*, json: Json = False) -> int:
    """Check the key, the ledger, the data folder, the server, the disk and versions.

    With a Prefect server also its version, the work pools and their workers;
    of the ledger also the keeper, the clocks and the machines that use it.

    Example: callsheet doctor
    """
    settings = settings_from(os.environ)
    findings = {name: check(settings) for name, check in _CHECKS.items()}
    findings |= _prefect() | _failpoint() | _shared(settings)
    if json:
        document({name: {"ok": ok, "text": text} for name, (ok, text) in findings.items()})
    else:
        for name, (ok, text) in findings.items():
            show_line(f"{'ok     ' if ok else 'look at'}  {name:<10} {text}", indent=20)
    return 0


def _key(settings: Settings) -> Finding:
    if settings.key is None:
        return False, "FAL_KEY is not set, so only --sandbox runs work; create a key at fal.ai/dashboard/keys"
    if _may_administer(settings):
        return False, (
            "FAL_KEY is an admin key: it can create keys and delete paid results. Use an "
            "ordinary key for runs, and set the admin key as FAL_ADMIN_KEY"
        )
    return True, f"set; sent to {settings.queue_url} and {settings.rest_url} only"


def _spending_controls(_settings: Settings) -> Finding:
    """Say what fal's own spending limits add to Callsheet's caps; fal has no way of asking about them."""
    return True, (
        "Callsheet's caps stop Callsheet; fal's spending controls (fal.ai/dashboard, per key, day, week or "
        "month) stop everything that uses the key. Lock each project's key a little above its cap"
    )


def _may_administer(settings: Settings) -> bool:
    """Ask fal for the balance, which only an admin key may read. False if fal cannot be asked."""
    ordinary = replace(settings, admin_key=None)
    return settings.key == settings.admin_key or credit_nano(ordinary) is not None


def _ledger(settings: Settings) -> Finding:
    try:
        if not settings.ledger_url:
            usable_data_folder(settings)
        with Ledger.open(settings.ledger) as ledger:
            if not is_remote(settings.out):
                refuse_older_ledger(ledger, Path(settings.out))
            shown, broken = ledger.label, ledger.do(verify.verify)
    except (CallsheetError, OSError) as error:
        return False, str(error)
    return not broken, f"{shown}: " + ("no errors" if not broken else "; ".join(broken[:3]))


def _data_folder(settings: Settings) -> Finding:
    """Check that other users cannot read the ledger, which has prompts, prices and paths."""
    folder = settings.data_dir
    if not folder.is_dir():
        return True, f"{folder} is created by the first run"
    open_to_others = [
        path for path in (folder, *folder.glob("ledger.sqlite*")) if path.stat().st_mode & (S_IRWXG | S_IRWXO)
    ]
    if open_to_others:
        paths = " ".join(map(shlex.quote, map(str, open_to_others)))
        return False, f"other users can read {open_to_others[0]}: run chmod go= {paths}"
    return True, f"{folder}: only you can read it"


def _prefect() -> dict[str, Finding]:
    """Ask a configured Prefect server about itself and about the work pools of our deployments."""
    url = configured_api_url(os.environ, Path.home())
    if url is None:
        return {"server": (True, "no Prefect server is configured: each run starts its own")}
    try:
        require_answer(url)
        from callsheet.cli.prefect_deployments import prefect_findings  # noqa: PLC0415 -- takes a second

        return asyncio.run(prefect_findings(url, clocks_apart_s=CLOCKS_APART_S))
    except CallsheetError as error:
        return {"server": (False, str(error))}
    except Exception as error:  # noqa: BLE001 -- of Prefect's client, of whatever answers there
        return {"server": (False, f"{url} does not answer as Prefect does: {type(error).__name__}")}


def _shared(settings: Settings) -> dict[str, Finding]:
    """Ask the ledger who uses it: the keeper, the machines; and compare the clocks."""
    try:
        if not has_ledger(settings):
            return {}
        with Ledger.open(settings.ledger) as ledger:
            found = {"keeper": _keeper(ledger), "clocks": _clocks(settings, ledger)}
            if ledger.folder is not None:
                found["machines"] = _machines(ledger)
    except CallsheetError:  # said with the ledger
        return {}
    return found


def _keeper(ledger: Ledger) -> Finding:
    seen, now_ms = ledger.do(activity.keeper_seen), ledger.do(queries.now_ms)
    idle = [each for each in ledger.do(activity.overview, limit=activity.MOST_RUNS) if each.state == "idle"]
    runs = "1 unfinished run has" if len(idle) == 1 else f"{len(idle)} unfinished runs have"
    left = f"; {runs} nobody (`callsheet runs`)" if idle else ""
    if seen is None:
        return not idle, f"none has looked at this ledger{left or ', and no run waits for one'}"
    ago_ms = now_ms - seen.since_ms
    text = f"looked {in_words(max(0, ago_ms) / 1000)} ago on {seen.host}{left}"
    return ago_ms < KEEPER_LATE_MS, text


def _clocks(settings: Settings, ledger: Ledger) -> Finding:
    """Compare this machine's clock with the database's and with fal's."""
    gaps = {"the database's": (ledger.do(queries.now_ms) - wall_clock_ms()) / 1000}
    if settings.key is not None:
        try:
            theirs_ms = asyncio.run(_fal_clock_ms(settings))
        except CallsheetError:
            theirs_ms = None
        if theirs_ms is not None:
            gaps["fal's"] = (theirs_ms - wall_clock_ms()) / 1000
    apart = {name: gap for name, gap in gaps.items() if abs(gap) > CLOCKS_APART_S}
    if apart:
        said = ", ".join(f"{name} by {abs(gap):.0f} s" for name, gap in apart.items())
        return False, f"this machine's clock differs from {said}: set it by NTP"
    return True, f"this machine's agrees with {' and '.join(gaps)} within {CLOCKS_APART_S:.0f} s"


async def _fal_clock_ms(settings: Settings) -> int | None:
    async with FalQueue(settings) as queue:
        return await queue.clock_ms()


def _machines(ledger: Ledger) -> Finding:
    """Say whether a ledger that is a file was used from several machines, whose locks do not meet."""
    names = ledger.do(activity.hosts, since_ms=wall_clock_ms() - 7 * 86_400_000)
    if len(names) < 2:
        return True, "this SQLite ledger was used from one machine in the last seven days"
    return False, (
        f"this SQLite ledger was used from {', '.join(names[:5])} in the last seven days. If these are not "
        "containers on one machine, put the ledger on PostgreSQL (CALLSHEET_LEDGER_URL=postgresql://...)"
    )


def _disk(settings: Settings) -> Finding:
    is_far = is_remote(settings.out)
    wanted = settings.data_dir / "outbox" if is_far else Path(settings.out).absolute()
    try:
        place = next(folder for folder in (wanted, *wanted.parents) if folder.exists())
        free = shutil.disk_usage(place).free
    except OSError as error:
        return False, f"{wanted}: {error.strerror}"
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return (
            False,
            f"{wanted} cannot be used: {place} is not a writable folder; set CALLSHEET_OUT",
        )
    shown = f"{wanted} (copied to {settings.out})" if is_far else settings.out
    return free >= LOW_DISK_BYTES, f"{free / 2**30:.1f} GiB free for {shown}"


def _failpoint() -> dict[str, Finding]:
    """Warn of a test's switch that was left on. Nobody else has to hear of it."""
    if not failpoints.armed():
        return {}
    return {"failpoint": (False, f"{failpoints.VARIABLE} is set and kills runs at test points: unset it")}


def _versions(_settings: Settings) -> Finding:
    names = ("callsheet", "prefect", "fastapi", "sqlalchemy", "httpx", "av")
    python = f"python {sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    return True, ", ".join([python, *(f"{name} {metadata.version(name)}" for name in names)])


_CHECKS: dict[str, Callable[[Settings], Finding]] = {
    "key": _key,
    "fal limits": _spending_controls,
    "ledger": _ledger,
    "data": _data_folder,
    "disk": _disk,
    "versions": _versions,
}
