"""`callsheet doctor`."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from callsheet import failpoints
from callsheet.cli.console import document, printable
from callsheet.cli.options import Json
from callsheet.cli.prefect_server import configured_api_url, require_answer
from callsheet.cli.terminal import show_folded, terminal_width
from callsheet.errors import CallsheetError, UsageError
from callsheet.files import usable_data_folder
from callsheet.ledger import verify
from callsheet.settings import Settings, settings_from
from manifests.readers.remote import is_remote

LOW_DISK_BYTES = 2 * 2**30
Finding = tuple[bool, str]


def doctor(*, json: Json = False) -> int:
    """Say what works on this machine and what does not: key, server, ledger, disk, versions.

    Example: callsheet doctor
    """
    settings = settings_from(os.environ)
    findings = {name: check(settings) for name, check in _CHECKS.items()}
    if json:
        document({name: {"ok": ok, "text": text} for name, (ok, text) in findings.items()})
    else:
        for name, (ok, text) in findings.items():
            line = f"{'ok     ' if ok else 'look at'}  {name:<9} {printable(text)}"
            show_folded(line, terminal_width(), indent=19)
    return 0


def _key(settings: Settings) -> Finding:
    if settings.key is None:
        return False, "FAL_KEY is not set: only --sandbox runs are possible (fal.ai/dashboard/keys makes one)"
    if _may_administer(settings):
        return False, (
            "FAL_KEY is an admin key: whoever gets it can make keys and delete what is paid for. Give runs "
            "an ordinary key, and this one to `reconcile` as FAL_ADMIN_KEY"
        )
    return True, f"set; it is sent to {settings.queue_url} and {settings.rest_url} only"


def _may_administer(settings: Settings) -> bool:
    """Ask fal for what only an admin key may read. Where it cannot be asked there is nothing to warn of."""
    from callsheet.provider.platform import FalPlatform  # noqa: PLC0415 -- an HTTP library is 0.2 s

    if settings.key == settings.admin_key:
        return True

    async def read() -> int:
        async with FalPlatform(replace(settings, admin_key=None)) as platform:
            return await platform.credits_nano()

    try:
        asyncio.run(read())
    except CallsheetError:
        return False
    return True


def _ledger(settings: Settings) -> Finding:
    from callsheet.ledger import Ledger  # noqa: PLC0415 -- a database library is 0.2 s

    try:
        if not settings.ledger_url:
            usable_data_folder(settings)
        with Ledger.open(settings.ledger) as ledger:
            shown, broken = ledger.label, ledger.do(verify.verify)
    except CallsheetError as error:
        return False, str(error)
    return not broken, f"{shown}: " + ("every invariant holds" if not broken else "; ".join(broken[:3]))


def _server(_settings: Settings) -> Finding:
    url = configured_api_url(os.environ, Path.home())
    if url is None:
        return True, "Prefect: each run starts a server of its own"
    try:
        require_answer(url)
    except UsageError as error:
        return False, str(error)
    return True, f"Prefect at {url}"


def _disk(settings: Settings) -> Finding:
    is_far = is_remote(settings.out)
    wanted = settings.data_dir / "outbox" if is_far else Path(settings.out).absolute()
    try:
        place = next(folder for folder in (wanted, *wanted.parents) if folder.exists())
        free = shutil.disk_usage(place).free
    except OSError as error:
        return False, f"{wanted}: {error.strerror}"
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return False, f"{wanted} cannot be used: {place} is not a folder that can be written to"
    shown = f"{wanted} (copied to {settings.out})" if is_far else settings.out
    return free >= LOW_DISK_BYTES, f"{free / 2**30:.1f} GiB free for {shown}"


def _failpoint(_settings: Settings) -> Finding:
    if failpoints.armed():
        return False, f"{failpoints.VARIABLE} is set and kills runs on purpose: unset it"
    return True, f"{failpoints.VARIABLE} is unset: nothing kills runs on purpose"


def _versions(_settings: Settings) -> Finding:
    names = ("callsheet", "prefect", "fastapi", "sqlalchemy", "httpx", "av")
    python = f"python {sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    return True, ", ".join([python, *(f"{name} {metadata.version(name)}" for name in names)])


_CHECKS: dict[str, Callable[[Settings], Finding]] = {
    "key": _key,
    "ledger": _ledger,
    "server": _server,
    "disk": _disk,
    "failpoint": _failpoint,
    "versions": _versions,
}
