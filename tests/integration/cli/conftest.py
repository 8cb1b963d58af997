"""Commands in this process: their exit code, their output and what they said."""

import pytest

from callsheet.cli.main import run_command
from callsheet.ledger import NewJob

SHOTS = "custom_id,prompt,model,resolution,duration\na,A boat,seedance-1.0-lite,480p,2\n"


def new_job(number: int, client: str = "") -> NewJob:
    """An everyday job."""
    return NewJob(
        row=number + 2,
        custom_id=f"shot-{number}",
        endpoint="fal-ai/x",
        model="seedance-1.0-pro",
        fingerprint=f"f{number}",
        payload="{}",
        expected_nano=90_000_000,
        maximum_nano=100_000_000,
        client=client,
    )


@pytest.fixture
def call(capsys):
    """Run a command in this process; returns its code, its output and what it said."""

    def run(*arguments: str):
        code = run_command(list(arguments))
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture
def shots(tmp_path, monkeypatch):
    """A folder with a manifest of one small shot, in which the commands are called."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shots.csv").write_text(SHOTS)
    return tmp_path / "shots.csv"
