"""What every test stands on: nothing of this machine's own settings reaches it."""

import logging
import os

import pytest
from hypothesis import settings

# How fast an example runs says something about the machine, and nothing about the claim.
settings.register_profile("callsheet", deadline=None)
settings.load_profile("callsheet")


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
