"""The clock by which a POST may still leave."""

from __future__ import annotations

import time


def since_boot_s() -> float:
    """Seconds since the machine started, those in which it was suspended included.

    The monotonic clock stands still while a laptop's lid is closed; the world does not. Where there is no
    other (macOS), it is the monotonic one.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()
