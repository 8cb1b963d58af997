"""A wall clock that a test moves under running processes. Their monotonic clock and their waiting stay real.

libfaketime 0.9 moves both or breaks `time.sleep`, so this is a library of our own, made by the C compiler.
"""

import os
import shutil
import struct
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

SOURCE = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long *ahead_s;

__attribute__((constructor)) static void find_offset(void) {
    const char *path = getenv("CALLSHEET_TEST_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *found = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    if (found != MAP_FAILED) ahead_s = found;
    close(file);
}

int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, id, at);
    if (!failed && ahead_s && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += *ahead_s;
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


class MovedClock:
    """A clock of its own for the processes that start with `env`; it shows this machine's time until set."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / f"{name}.clock"
        self._file.write_bytes(struct.pack("l", 0))
        self.env = {"LD_PRELOAD": str(_library(folder)), "CALLSHEET_TEST_CLOCK": str(self._file)}

    def set(self, moment: str | datetime) -> None:
        """Let it show this moment (UTC, `2027-03-28 00:59:30`) from now on."""
        at = moment if isinstance(moment, datetime) else datetime.fromisoformat(moment).replace(tzinfo=UTC)
        with self._file.open("r+b") as file:
            file.write(struct.pack("l", round(at.timestamp() - time.time())))

    def now(self) -> datetime:
        """What it shows."""
        (ahead_s,) = struct.unpack("l", self._file.read_bytes())
        return datetime.fromtimestamp(time.time() + ahead_s, UTC)


def _library(folder: Path) -> Path:
    """Return the library, made once. Skips without a C compiler; in CI that is a failure."""
    made = folder / "clock.so"
    if not made.exists():
        compiler = shutil.which("cc")
        if compiler is None:
            reason = "no C compiler (cc), so no clock can be moved: nothing is known of the nights"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
        command = [compiler, "-x", "c", "-shared", "-fPIC", "-O2", "-o", str(made), "-"]
        subprocess.run(command, input=SOURCE, text=True, check=True, timeout=60)
    return made
