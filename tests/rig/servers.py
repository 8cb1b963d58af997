"""Servers of a test's own that it may stop and start: PostgreSQL, Prefect; and pgbouncer before a server."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

USER = "postgres"


def _as_server(command: Sequence[str | Path]) -> list[str]:
    """Return a command as the servers' user runs it: neither of them starts as root."""
    plain = [str(part) for part in command]
    return ["runuser", "-u", USER, "--", *plain] if os.geteuid() == 0 else plain


def _program(name: str) -> Path:
    """Return a program of the newest PostgreSQL. Skips without one; in CI that is a failure."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    known = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if found is None and not known:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not installed")
    return Path(found or known[-1])


@contextmanager
def _servers_folder() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        yield Path(folder)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass(frozen=True)
class Cluster:
    """A PostgreSQL server with an empty database. It answers at `host` and on loopback."""

    data: Path
    port: int
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """The URL of its database."""
        return f"postgresql://{USER}@{self.host}:{self.port}/postgres"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-c port={self.port} -c listen_addresses={','.join({'127.0.0.1', self.host})}"
        options += f" -c unix_socket_directories={self.data}"
        self._control("start", "-w", "-o", options, "-l", self.data / "log")

    def stop(self) -> None:
        """End it and every session at once, as a crash does."""
        self._control("stop", "-w", "-m", "immediate")

    def _control(self, *arguments: str | Path) -> None:
        command = _as_server([_program("pg_ctl"), "-D", self.data, *arguments])
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=60, cwd="/")


@contextmanager
def cluster(host: str = "127.0.0.1", *, clients: str = "127.0.0.1/32") -> Iterator[Cluster]:
    """A running server, gone afterwards. It trusts everybody on this machine and in the network `clients`."""
    with _servers_folder() as folder:
        command = [_program("initdb"), "-D", folder / "data", "-U", USER, "-A", "trust", "--no-sync"]
        subprocess.run(_as_server(command), check=True, stdout=subprocess.DEVNULL, timeout=60)
        with (folder / "data" / "pg_hba.conf").open("a") as trusted:
            trusted.write(f"host all all {clients} trust\n")
        server = Cluster(folder / "data", _free_port(), host)
        server.start()
        try:
            yield server
        finally:
            if (server.data / "postmaster.pid").exists():
                server.stop()


@dataclass
class PrefectServer:
    """A Prefect server with its data in a folder, which is killed and started as a test likes."""

    home: Path
    host: str
    port: int
    env: Mapping[str, str] = field(default_factory=dict)
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """The address of its API."""
        return f"http://{self.host}:{self.port}/api"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", self.host]
        with (self.home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                env={
                    **os.environ,
                    "PREFECT_HOME": str(self.home),
                    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                    **self.env,
                },
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=2).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise TimeoutError(f"Prefect's server does not answer; see {self.home / 'server.log'}")

    def kill(self) -> None:
        """End it with -9, with all that it has started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def prefect_server(
    home: Path, host: str = "127.0.0.1", *, env: Mapping[str, str] | None = None
) -> Iterator[PrefectServer]:
    """A running Prefect server, gone afterwards. `home` may have its database already; `env` is its alone."""
    server = PrefectServer(home, host, _free_port(), env or {})
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def pgbouncer(server: Cluster, *, mode: str = "transaction") -> Iterator[str]:
    """Pooling of this mode before a server, over two sessions in all; gives its URL."""
    port = _free_port()
    settings = f"""
[databases]
postgres = host=127.0.0.1 port={server.port} user={USER}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = any
pool_mode = {mode}
default_pool_size = 2
server_round_robin = 1
unix_socket_dir =
"""
    with _servers_folder() as folder:
        (folder / "pgbouncer.ini").write_text(settings)
        (folder / "pgbouncer.ini").chmod(0o644)
        command = _as_server([_program("pgbouncer"), "-q", folder / "pgbouncer.ini"])
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            url = f"postgresql://{getpass.getuser()}@127.0.0.1:{port}/postgres"
            _wait_for(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("pgbouncer ended at its start")
