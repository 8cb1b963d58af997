"""Settings of a sandbox, and the address of a running one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from callsheet.sandbox.prices import AudioBilling

SANDBOX_KEY = "sandbox-key"
"""Opens everything, the control routes included. It buys nothing and works on this machine only."""

LIMITED_KEY = "sandbox-limited-key"
"""Opens what an ordinary API key opens at fal: billing events and the balance answer 403."""


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """Settings of one sandbox.

    `speed` divides render times (1.0 is the real model's pace; must be above 0). `slots` is how many
    requests render at once. `state_dir` keeps requests and files over restarts; None means a temporary
    folder. `port` 0 means any free one; with `any_port` a taken `port` gives way to a free one.
    `hosts` are further names that requests may call the server by; loopback names, IP addresses and `host`
    always may. `idle_timeout_s` ends the process after that many seconds without a request and with nothing
    to render; None means never. `audio_billing` says whether a clip with audio has twice the units or twice
    the unit price (v1.5). `draw_seed` off leaves the seed out of the picture, so that takes of one shot
    share one encoded file (for tests with thousands of jobs). `noise_seed` fixes the spread of render times.
    """

    state_dir: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    any_port: bool = False
    hosts: tuple[str, ...] = ()
    speed: float = 1.0
    slots: int = 10
    key: str = SANDBOX_KEY
    limited_key: str = LIMITED_KEY
    idle_timeout_s: float | None = None
    certfile: Path | None = None
    keyfile: Path | None = None
    allow_fetch: bool = False
    audio_billing: AudioBilling = "price"
    draw_seed: bool = True
    render_threads: int = 2
    noise_seed: int = 0


@dataclass(frozen=True, slots=True)
class SandboxAddress:
    """Where a running sandbox is. `url` carries no trailing slash; `speed` is the one it runs at."""

    url: str
    key: str
    pid: int
    speed: float
