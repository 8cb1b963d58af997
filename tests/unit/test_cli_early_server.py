"""When a run's own Prefect server starts: with the first jobs, or at once where its flow comes first."""

import pytest

from callsheet.cli import prefect_server
from callsheet.cli.running import early_server
from callsheet.engine.request import RunRequest
from callsheet.settings import settings_from


class Child:
    """A child process that only counts how often it was started."""

    started = 0

    def __init__(self, *_: object, **__: object) -> None:
        Child.started += 1
        self.stdin = None

    def wait(self, timeout: float) -> int:
        """End at once."""
        return int(timeout * 0)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A machine on which no Prefect server is configured."""
    monkeypatch.setattr(Child, "started", 0)
    monkeypatch.setattr(prefect_server.subprocess, "Popen", Child)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "no-profiles"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return settings_from({"CALLSHEET_DATA_DIR": str(tmp_path)})


@pytest.mark.parametrize(
    ("wanted", "at_once"),
    [({}, 0), ({"canary": 2}, 1), ({"approve_above_usd": "100"}, 1)],
    ids=["jobs come first", "canaries come first", "a person comes first"],
)
def test_the_server_takes_nothing_from_the_first_jobs(settings, wanted, at_once):
    """It starts at once only where nothing can be sent without it."""
    server = early_server(settings, RunRequest(source="shots.csv", **wanted))
    assert Child.started == at_once
    server.start()
    server.start()
    assert Child.started == 1


def test_a_server_that_was_never_started_is_stopped_quietly(settings):
    """A run that is refused, or not confirmed, ends before there is one."""
    server = early_server(settings, RunRequest(source="shots.csv"))
    server.let_go()
    server.stop()
    assert Child.started == 0
