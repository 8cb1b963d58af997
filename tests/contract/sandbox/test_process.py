import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from callsheet.errors import UsageError
from callsheet.sandbox.config import SandboxConfig
from callsheet.sandbox.launcher import SandboxAddress, SandboxNotStarted, ensure_sandbox, running_address
from callsheet.sandbox.server import running_sandbox

LITE = "/fal-ai/bytedance/seedance/v1/lite/text-to-video"
SMALL = {"prompt": "a kite over dunes", "resolution": "480p", "num_frames": 29, "seed": 5}


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """A state folder whose sandbox is gone when the test is over."""
    yield tmp_path
    address = running_address(tmp_path)
    if address is not None:
        end(address, signal.SIGKILL)


def end(address: SandboxAddress, number: signal.Signals) -> None:
    """Send a signal and return when the process has ended."""
    # Not our child: a descriptor of the process tells its end.
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(address.pid)
        try:
            os.kill(address.pid, number)
            ended, _, _ = select.select([descriptor], [], [], 10)
            assert ended, "the sandbox did not end"
        finally:
            os.close(descriptor)


def client_of(address: SandboxAddress) -> httpx.Client:
    """A client with the sandbox's key."""
    return httpx.Client(base_url=address.url, headers={"Authorization": f"Key {address.key}"})


def wait(client: httpx.Client, request_id: str) -> None:
    """Follow a job to its end."""
    with client.stream("GET", f"/fal-ai/bytedance/requests/{request_id}/status/stream") as stream:
        for _ in stream.iter_lines():
            pass


def test_a_second_call_finds_the_same_sandbox(state_dir: Path) -> None:
    """The first call starts a process, the second takes it; the file names it and is its owner's alone."""
    first = ensure_sandbox(state_dir, speed=50, idle_timeout_s=60)
    assert ensure_sandbox(state_dir, speed=50, idle_timeout_s=60) == first
    assert first.speed == 50
    file = state_dir / "server.json"
    assert json.loads(file.read_text()) == {
        "url": first.url,
        "pid": first.pid,
        "key": first.key,
        "speed": 50.0,
    }
    assert {path.stat().st_mode & 0o077 for path in (state_dir, *state_dir.rglob("*"))} == {0}
    assert first.pid != os.getpid()


def test_a_running_sandbox_takes_another_speed(state_dir: Path) -> None:
    """A second call with another speed sets it: what starts to render afterwards is rendered at it."""
    slow = ensure_sandbox(state_dir, speed=0.01, idle_timeout_s=60)
    fast = ensure_sandbox(state_dir, speed=1000, idle_timeout_s=60)
    assert (fast.pid, fast.speed) == (slow.pid, 1000)
    assert running_address(state_dir) == fast
    with client_of(fast) as client:
        assert client.get("/_sandbox/health").json()["speed"] == 1000
        wait(client, client.post(LITE, json=SMALL).json()["request_id"])


def test_a_killed_sandbox_goes_on_where_it_was(state_dir: Path) -> None:
    """After SIGKILL, finished results keep their URLs and files, and open jobs finish; nothing is doubled."""
    before = ensure_sandbox(state_dir, speed=1000, idle_timeout_s=60)
    with client_of(before) as client:
        done = client.post(LITE, json=SMALL).json()
        wait(client, done["request_id"])
        result = client.get(done["response_url"]).json()
        body = client.get(result["video"]["url"]).content
    end(before, signal.SIGKILL)
    slow = ensure_sandbox(state_dir, speed=2, idle_timeout_s=60)
    assert slow.url == before.url, "the port stays, so that stored URLs stay right"
    with client_of(slow) as client:
        jobs = [client.post(LITE, json={**SMALL, "seed": seed}).json() for seed in range(12)]
        assert client.get("/_sandbox/health").json()["in_progress"] == 10
    end(slow, signal.SIGKILL)
    after = ensure_sandbox(state_dir, speed=1000, idle_timeout_s=60)
    with client_of(after) as client:
        assert client.get(done["response_url"]).json() == result
        assert client.get(result["video"]["url"]).content == body
        for job in jobs:
            wait(client, job["request_id"])
        truth = client.get("/_sandbox/ledger").json()
    assert [record["id"] for record in truth["accepted"][1:]] == [job["request_id"] for job in jobs]
    assert {record["status_code"] for record in truth["accepted"]} == {200}
    assert truth["in_progress_max"] == 10


def test_racing_launchers_end_with_one_sandbox(state_dir: Path) -> None:
    """Four calls at once all get the same process."""
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: ensure_sandbox(state_dir, speed=9, idle_timeout_s=60), range(4)))
    assert len(set(found)) == 1


def test_sigterm_ends_it_cleanly(tmp_path: Path) -> None:
    """SIGTERM ends the process with exit code 0, after one line on stdout."""
    command = [sys.executable, "-m", "callsheet.sandbox", "--state", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = running_address(tmp_path)
        assert address is not None
        assert line == f"sandbox ready at {address.url}\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stdout.read() == ""
    assert running_address(tmp_path) is None


def test_it_ends_by_itself_when_nobody_calls(tmp_path: Path) -> None:
    """Without calls and without work the process ends after its idle timeout, with exit code 0."""
    command = [sys.executable, "-m", "callsheet.sandbox", "--state", str(tmp_path), "--idle-timeout-s", "0.3"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 0
    assert ended.stdout.startswith("sandbox ready at http://127.0.0.1:")


def test_two_never_share_a_state_folder(tmp_path: Path) -> None:
    """A second sandbox on one folder is refused with a sentence, and leaves the first one's address alone."""
    with running_sandbox(SandboxConfig(state_dir=tmp_path)):
        with (
            pytest.raises(UsageError, match="another sandbox"),
            running_sandbox(SandboxConfig(state_dir=tmp_path)),
        ):
            pass
        command = [sys.executable, "-m", "callsheet.sandbox", "--state", str(tmp_path)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert second.returncode == 2
        assert "another sandbox is running" in second.stderr


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """A port that is taken is an error that names it, unless any port will do."""
    with running_sandbox(SandboxConfig()) as address:
        port = int(address.url.rsplit(":", 1)[1])
        with pytest.raises(UsageError, match=str(port)), running_sandbox(SandboxConfig(port=port)):
            pass
        with running_sandbox(SandboxConfig(port=port, any_port=True)) as other:
            assert other.url != address.url


def test_the_real_key_does_not_reach_it(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is started without FAL_KEY in its environment."""
    monkeypatch.setenv("FAL_KEY", "canary-key")
    address = ensure_sandbox(state_dir, speed=9, idle_timeout_s=60)
    assert b"canary-key" not in Path(f"/proc/{address.pid}/environ").read_bytes()


def test_a_sandbox_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the process ends at once the error carries the end of its log."""
    monkeypatch.setattr("callsheet.sandbox.launcher.START_TIMEOUT_S", 0.3)
    monkeypatch.setattr("callsheet.sandbox.launcher.sys.executable", "/bin/false")
    with pytest.raises(SandboxNotStarted, match="did not start"):
        ensure_sandbox(tmp_path, speed=1)
