"""Settings of a sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from callsheet.sandbox.list_prices import AudioBilling
from callsheet.sandbox.served_endpoints import ServedEndpoint

FAL_NAMES = frozenset(
    [
        "queue.fal.run",
        "queue.falrun.com",
        "fal.run",
        "falrun.com",
        "rest.fal.ai",
        "rest.alpha.fal.ai",
        "api.fal.ai",
        "fal.ai",
        "fal.media",
        "v3.fal.media",
        "v3b.fal.media",
    ]
)
"""fal's own names, which a hosts file may point at the sandbox."""

DIRECT_NAMES = frozenset({"fal.run", "falrun.com"})
"""Names under which a POST is answered with the result instead of a ticket."""

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
    `hosts` are further names that requests may call the server by; loopback names, IP addresses, `host` and
    fal's own names always may. `idle_timeout_s` ends the process after that many seconds without a request
    and with nothing to render; None means never. `audio_billing` says whether a clip that costs more than the
    list price has more units or a higher unit price. `draw_seed` off leaves the seed out of the picture, so
    that takes of one shot share one encoded file (for tests with thousands of jobs). `own` are endpoints of a
    person's own catalog.
    """

    state_dir: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    any_port: bool = False
    hosts: tuple[str, ...] = ()
    speed: float = 1.0
    slots: int = 10
    key: str = SANDBOX_KEY
    idle_timeout_s: float | None = None
    certfile: Path | None = None
    keyfile: Path | None = None
    allow_fetch: bool = False
    audio_billing: AudioBilling = "price"
    draw_seed: bool = True
    render_threads: int = 2
    own: tuple[ServedEndpoint, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.speed < float("inf") or self.slots < 1 or not 0 <= self.port <= 65_535:
            raise ValueError("speed must be above 0, slots 1 or more, port 0 to 65535")
        if self.idle_timeout_s is not None and not self.idle_timeout_s > 0:
            raise ValueError("idle_timeout_s must be above 0")

    def owns(self, name: str) -> bool:
        """Say whether a host name, without a port, is one of this server's."""
        try:
            ip_address(name)
        except ValueError:
            name = name.lower()
            own = {"localhost", self.host.lower(), *(each.lower() for each in self.hosts)}
            return name in own or name in FAL_NAMES
        return True


def media_base(base_url: str) -> str:
    """Return where files are handed out: on fal's media host for a call under one of fal's names."""
    parts = urlsplit(base_url)
    if parts.hostname not in FAL_NAMES:
        return base_url
    return urlunsplit(parts._replace(netloc="v3.fal.media" + (f":{parts.port}" if parts.port else "")))
