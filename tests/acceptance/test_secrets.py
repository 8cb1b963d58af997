"""The key is nowhere but in the one header: a canary is looked for in everything a run leaves."""

import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from callsheet.sandbox.config import SandboxConfig
from callsheet.sandbox.faults import Fault, FaultBook
from callsheet.sandbox.server import running_sandbox

pytestmark = [pytest.mark.prefect, pytest.mark.own_server]

SECRET = "canary-9a71c3e5f0b2"
KEY = f"canary-id:{SECRET}"

DEBUG = {
    "PREFECT_DEBUG_MODE": "true",
    "PREFECT_LOGGING_LEVEL": "DEBUG",
    "PREFECT_LOGGING_ROOT_LEVEL": "DEBUG",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "callsheet,sqlalchemy",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "DEBUG",
    "PYTHONASYNCIODEBUG": "1",
}
"""As loud as it gets, save for httpx and asyncio: Prefect sends its lines with these, which never ends."""

FAULTS = [
    {"kind": "render_failed", "prompt_contains": "shot 0", "message": f"no runner for Key {KEY}"},
    {"kind": "render_failed", "prompt_contains": "shot 1", "status": 422, "message": SECRET},
    {"kind": "reset"},
    {"kind": "error_after"},
    {"kind": "server_error", "route": "status", "message": f"Authorization: Key {KEY}", "count": 3},
    {"kind": "bad_json", "route": "result"},
    {"kind": "file_wrong", "count": 3},
]
"""Errors of every kind, some of which repeat the key, as a careless provider's might."""


@pytest.fixture
def fal():
    """A provider that knows the canary as its only key, in this process."""
    book = FaultBook()
    with running_sandbox(SandboxConfig(key=KEY, speed=20, render_threads=1), faults=book) as address:
        yield address, book


def command_lines() -> str:
    """The command lines of every process of this machine, at this moment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().decode("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(found)


def places_with(secret: str, folder: Path) -> list[str]:
    """Every file below `folder` that holds the secret, compressed Parquet included."""
    found = []
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        text = str(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else ""
        if secret.encode() in path.read_bytes() or secret in text:
            found.append(str(path.relative_to(folder)))
    return found


def test_the_key_is_found_nowhere_after_runs_with_every_kind_of_error(desk, fal):
    """Loudest logs, errors that repeat the key, an account that is locked: 0 places hold the secret."""
    address, book = fal
    for fault in FAULTS:
        book.arm(Fault.from_json(fault))
    rows = [f"shot-{n},A red kite shot {n},seedance-1.0-lite,480p,2" for n in range(8)]
    (desk.folder / "shots.csv").write_text(
        "custom_id,prompt,model,resolution,duration\n" + "\n".join(rows) + "\n"
    )
    env = {
        **DEBUG,
        "FAL_KEY": KEY,
        "TMPDIR": str(desk.folder),
        **{f"CALLSHEET_{name}_URL": address.url for name in ("QUEUE", "REST", "CDN")},
        "CALLSHEET_PLATFORM_URL": f"{address.url}/v1",
    }

    process = desk.start("run", "shots.csv", "--budget-usd", "1", "-j", "5", "--yes", **env)
    seen = command_lines()
    while process.poll() is None and "callsheet.cli.prefect" not in seen:
        time.sleep(0.01)
        seen = command_lines()
    out, err = process.communicate(timeout=240)
    assert process.returncode == 4, err[-3000:]
    book.arm(Fault(kind="account_locked", count=None))
    (desk.folder / "more.csv").write_text(
        "custom_id,prompt,model,resolution,duration\nz,A ship,seedance-1.0-lite,480p,2\n"
    )
    locked = desk.call("run", "more.csv", "--budget-usd", "1", "--yes", **env)
    assert locked.returncode == 6, locked.stderr[-3000:]
    told = [desk.call(*command, **env) for command in (("doctor",), ("ledger", "entries"), ("status",))]

    assert "callsheet.cli.prefect" in seen
    assert SECRET not in seen
    assert {fault["kind"] for fault in FAULTS} <= set(book.fired)
    assert (desk.data / "prefect" / "prefect.db").stat().st_size > 100_000
    assert (desk.data / "ledger.sqlite").is_file()
    for text in (out, err, locked.stdout, locked.stderr, *(each.stdout + each.stderr for each in told)):
        assert SECRET not in text
    assert places_with(SECRET, desk.folder) == []
    assert places_with("red kite shot", desk.folder) != []
