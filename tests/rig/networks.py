"""Another machine: a network namespace, joined to this one by a cable that can be cut.

The namespace has no name. It ends with its last process, also where a test is killed, and the kernel then
takes the cable away.
"""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from subprocess import PIPE

import pytest

LOST = "02:00:00:00:00:01"
"""A hardware address that no interface has."""


@dataclass(frozen=True)
class Machine:
    """A place whose only way out is the cable to this one.

    `holder` is a process in it, `interface` the name of both ends of the cable; `here` and `there` are the
    addresses of the two ends.
    """

    holder: int
    interface: str
    here: str
    there: str

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return a command as it is started on that machine."""
        return ["nsenter", f"--net=/proc/{self.holder}/ns/net", "--", *arguments]

    def cut(self) -> None:
        """Lose every packet, in both directions and without a word, as a cable does that is cut.

        Both ends send to a hardware address that is not there: interfaces, routes and sockets stay up.
        """
        lost = ("lladdr", LOST, "dev", self.interface, "nud", "permanent")
        _ip("neigh", "replace", self.there, *lost)
        self._ip("neigh", "replace", self.here, *lost)

    def mend(self) -> None:
        """Deliver packets again."""
        _ip("neigh", "del", self.there, "dev", self.interface)
        self._ip("neigh", "del", self.here, "dev", self.interface)

    def _ip(self, *arguments: str) -> None:
        subprocess.run(self.command(["ip", *arguments]), check=True, timeout=30)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=30)


@contextmanager
def machine() -> Iterator[Machine]:
    """Another machine, gone afterwards. Skips where none can be made; in CI that is a failure."""
    # It says a line once it is in its namespace, and ends with its standard input, so with this process.
    command = ["unshare", "--net", "--", "sh", "-c", "echo ready; exec cat"]
    with ExitStack() as ends:
        try:
            holder = ends.enter_context(subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True))
            ends.callback(holder.kill)
            other = _joined(holder)
        except (OSError, subprocess.CalledProcessError) as error:
            said = f"no network namespace can be made here: {error}"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(said)
        yield other


def _joined(holder: "subprocess.Popen[str]") -> Machine:
    assert holder.stdout is not None
    holder.stdout.readline()
    number = holder.pid % 2**15  # four addresses each of 198.18.0.0/15, which is for tests (RFC 2544)
    net, first = f"198.{18 + number // 2**14}.{number // 2**6 % 256}", number % 2**6 * 4
    name = f"cable{holder.pid}"
    other = Machine(holder.pid, name, f"{net}.{first + 1}", f"{net}.{first + 2}")
    _ip("link", "add", name, "type", "veth", "peer", "name", name, "netns", str(holder.pid))
    for ip, address in ((_ip, other.here), (other._ip, other.there)):
        ip("addr", "add", f"{address}/30", "dev", name)
        ip("link", "set", name, "up")
    other._ip("link", "set", "lo", "up")
    return other
