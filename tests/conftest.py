"""What every test stands on: nothing of this machine's own settings reaches it."""

import fcntl
import logging
import os
import pathlib
import shutil

import pytest
from hypothesis import settings

from callsheet.cli.prefect import own_server

# How fast an example runs says something about the machine, and nothing about the claim.
# `make torture` tries more of them.
settings.register_profile(
    "callsheet", deadline=None, max_examples=int(os.environ.get("CALLSHEET_TEST_EXAMPLES", "40"))
)
settings.load_profile("callsheet")


ROOMS = ("acceptance", "rig", "integration", "contract", "unit")
"""The folders of tests in their turn: what takes long begins early, so that no process is left with it."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Run the tests of a module in one process, so that what its fixtures start is started once."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    folder = pathlib.Path(__file__).parent
    turn = {room: number for number, room in enumerate(ROOMS)}
    items.sort(key=lambda item: turn[item.path.relative_to(folder).parts[0]])


@pytest.fixture(autouse=True)
def _loggers_as_they_were():
    """A command sets up the loggers of its process; the next test gets them as they were."""
    before = {
        name: (list(log.handlers), log.level, log.propagate)
        for name in ("callsheet", "callsheet.cli")
        for log in (logging.getLogger(name),)
    }
    yield
    for name, (handlers, level, propagate) in before.items():
        log = logging.getLogger(name)
        log.handlers, log.propagate = handlers, propagate
        log.setLevel(level)


@pytest.fixture(autouse=True)
def _scrubbed_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if (
            name.startswith(("FAL_", "PREFECT_"))
            or name in {"COLUMNS", "LINES", "FORCE_COLOR"}
            or (name.startswith("CALLSHEET_") and not name.startswith("CALLSHEET_TEST_"))
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CALLSHEET_DATA_DIR", str(tmp_path / "callsheet-data"))


@pytest.fixture(scope="session")
def prefect_database(tmp_path_factory):
    """An empty database of Prefect's, made once for all workers: making one takes many seconds."""
    shared = tmp_path_factory.getbasetemp().parent
    made = shared / "prefect-database" / "prefect" / "prefect.db"
    with (shared / "prefect-database.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            folder = shared / f"prefect-database-{os.getpid()}"
            folder.mkdir()
            with own_server(folder) as server:
                server.wait_ready()
            folder.rename(made.parents[1])
    return made


@pytest.fixture(scope="session")
def prefect_data(prefect_database):
    """Gives a data folder Prefect's empty database, and returns the folder."""

    def filled(data_dir):
        home = data_dir / "prefect"
        home.mkdir(parents=True, exist_ok=True)
        for file in prefect_database.parent.glob("prefect.db*"):
            shutil.copy(file, home / file.name)
        return data_dir

    return filled
