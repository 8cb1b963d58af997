"""`callsheet sandbox`, the way a person starts it: what it prints works, and its page shows what was done."""

import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from callsheet.sandbox.config import SandboxConfig
from tests.contract.sandbox.conftest import client_of

LITE = "fal-ai/bytedance/seedance/v1/lite/text-to-video"
SCRIPT = f"""
import fal_client
given = {{"prompt": "a kite", "resolution": "480p", "num_frames": 29, "seed": 5}}
print(*(work("{LITE}", arguments=given)["seed"] for work in (fal_client.subscribe, fal_client.run)))
"""


@contextmanager
def started(folder: Path, *options: str) -> Iterator[str]:
    """Run the command until the block ends; yields what it printed at the start, both streams."""
    command = [sys.executable, "-m", "callsheet", "sandbox", "--port", "0", "--speed", "2000", *options]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        lines = []
        for line in server.stdout:
            lines.append(line)
            if "requestMiddleware" in "".join(lines) and "}) });" in line:
                break
        try:
            yield "".join(lines)
        finally:
            server.terminate()


def test_what_it_prints_lets_fals_python_client_work(tmp_path: Path) -> None:
    """With --tls, the exports are all that the unmodified client needs to subscribe and to run."""
    with started(tmp_path, "--tls", "--key", "my-key") as printed:
        exports = dict(re.findall(r"(FAL_\w+|SSL_CERT_FILE)=(\S+)", printed))
        assert exports["FAL_KEY"] == "my-key"
        ran = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, **exports},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        page = re.search(r"Status page: (\S+)", printed)
        assert page is not None
        trusted = ssl.create_default_context(cafile=exports["SSL_CERT_FILE"])
        shown = httpx.get(page[1], verify=trusted).text
    assert ran.stdout == "5 5\n", ran.stderr
    assert shown.count("a kite") == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--slots", "0"), "--slots is 0; use 1 to 1,000"),
        (("--port", "70000"), "--port is 70000"),
        (("--speed", "0"), "--speed is 0"),
        (("--key", "ké"), "--key must be printable ASCII"),
    ],
)
def test_options_out_of_their_bounds_are_refused(
    tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    """A wrong option is a sentence and exit code 2."""
    command = [sys.executable, "-m", "callsheet", "sandbox", *options]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, message in ran.stderr) == (2, True), ran.stderr


def test_the_status_page_shows_text_as_text() -> None:
    """Requests, money and files are there; a prompt with markup is shown as it is, and no script may run."""
    for client in client_of(SandboxConfig(speed=5000)):
        prompt = "<script>alert(1)</script> [Pan left]"
        given = {"prompt": prompt, "resolution": "480p", "num_frames": 29}
        made = client.post(f"/fal.run/{LITE}", json=given).json()
        reply = client.get("/", headers={"Authorization": ""})
        assert "&lt;script&gt;alert(1)" in reply.text
        assert "<script" not in reply.text
        assert made["video"]["url"].rpartition("/")[2] in reply.text
        assert 'name="viewport"' in reply.text, "a phone shows it at its own width"
        assert "$0.0211" in reply.text
        assert "default-src 'none'" in reply.headers["content-security-policy"]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_it_listens_on_ipv6() -> None:
    """The address that it prints has its host in brackets, and so have the addresses of its replies."""
    for client in client_of(SandboxConfig(host="::1", speed=5000)):
        job = client.post(
            f"/{LITE}", json={"prompt": "a kite", "resolution": "480p", "num_frames": 29}
        ).json()
        assert job["status_url"].startswith("http://[::1]:")
        assert client.get(job["status_url"]).status_code in (200, 202)
        assert client.get("/", headers={"Authorization": ""}).status_code == 200
