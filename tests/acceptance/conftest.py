"""The command line as a person starts it: a process of its own, over the sandbox, with real files."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from callsheet.cli.prefect import own_server
from tests.procfs import send_signal


class Desk:
    """One person's desk: a folder to work in, a data folder, and the command.

    Nobody listens at `no_prefect`: as PREFECT_API_URL it lets runs go on without Prefect.
    """

    no_prefect = "http://127.0.0.1:9/api"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.started: list[subprocess.Popen] = []
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CALLSHEET_")},
            "CALLSHEET_DATA_DIR": str(self.data),
            "HOME": str(folder),
        }

    def start(self, *arguments: str, **env: str) -> subprocess.Popen:
        """Start a command and return its process."""
        process = subprocess.Popen(
            [sys.executable, "-m", "callsheet", *arguments],
            cwd=self.folder,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def call(self, *arguments: str, **env: str) -> subprocess.CompletedProcess:
        """Run a command to its end."""
        process = self.start(*arguments, **env)
        out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def sandbox(self) -> dict:
        """Where the sandbox of this desk runs."""
        return json.loads((self.data / "sandbox" / "server.json").read_text())

    def arm(self, **fault) -> None:
        """Let the sandbox misbehave."""
        self._control("faults", fault)

    def accepted(self) -> list[dict]:
        """Every request that the sandbox accepted: the provider's own count of purchases."""
        return self._control("ledger")["accepted"]

    def _control(self, name: str, body: dict | None = None) -> dict:
        url = f"{self.sandbox()['url']}/_sandbox/{name}"
        data = None if body is None else json.dumps(body).encode()
        key = {"Authorization": f"Key {self.sandbox()['key']}"}
        with urllib.request.urlopen(urllib.request.Request(url, data, key)) as reply:
            return json.loads(reply.read())

    def close(self) -> None:
        """End what a failed test left running, and the sandbox that the runs left warm."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate()
        with suppress(FileNotFoundError, ProcessLookupError):
            send_signal(self.sandbox()["pid"], signal.SIGTERM)


@pytest.fixture(scope="module")
def prefect_api(tmp_path_factory, prefect_data) -> str:
    """The API of one Prefect server for the runs of a module: one of its own costs each of them seconds.

    It ends with its module: one that nobody asks takes a tenth of a processor all the same.
    """
    with own_server(prefect_data(tmp_path_factory.mktemp("prefect"))) as server:
        server.wait_ready()
        yield server.url


@pytest.fixture
def desk(tmp_path, request):
    """A fresh desk. Its runs do without Prefect, which costs each of them seconds.

    Where a test is marked `prefect` they report to its module's server, and where it is marked `own_server`
    each of them starts its own.
    """
    made = Desk(tmp_path)
    marks = {mark.name for mark in request.node.iter_markers()}
    if "own_server" in marks:
        request.getfixturevalue("prefect_data")(made.data)
    elif "prefect" in marks:
        made.env["PREFECT_API_URL"] = request.getfixturevalue("prefect_api")
        made.env["PREFECT_HOME"] = str(tmp_path / "prefect-home")
    else:
        made.env["PREFECT_API_URL"] = made.no_prefect
    yield made
    made.close()


@pytest.fixture
def bare_desk(tmp_path):
    """A fresh desk without a Prefect server: the test brings its own."""
    made = Desk(tmp_path)
    yield made
    made.close()
