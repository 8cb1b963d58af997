"""A sandbox of this process, and how a fault is armed in it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from callsheet.sandbox.config import SandboxConfig
from callsheet.sandbox.server import running_sandbox


def client_of(config: SandboxConfig) -> Iterator[httpx.Client]:
    """Start a sandbox in this process."""
    with (
        running_sandbox(config) as address,
        httpx.Client(
            base_url=address.url, headers={"Authorization": f"Key {address.key}"}, timeout=60
        ) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def module_client() -> Iterator[httpx.Client]:
    """One sandbox for the module."""
    yield from client_of(SandboxConfig(speed=5000, draw_seed=False))


@pytest.fixture
def client(module_client: httpx.Client) -> Iterator[httpx.Client]:
    """The module's sandbox without a fault armed, before and after."""
    module_client.delete("/_sandbox/faults")
    yield module_client
    module_client.delete("/_sandbox/faults")


def arm(client: httpx.Client, kind: str, **more: Any) -> None:
    """Arm one fault by the control route."""
    assert client.post("/_sandbox/faults", json={"kind": kind, **more}).json() == {"armed": 1}
