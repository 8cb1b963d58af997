"""Run inside a network namespace whose hosts file sends fal's names to loopback: sandbox, receiver, clients.

    python fal_names.py FOLDER COMMAND...     prints what each command printed, and the webhooks that came

Each COMMAND is one argument, a line for the shell. FOLDER has the certificate (chain.pem, key.pem, ca.pem).
"""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from callsheet.sandbox.config import SandboxConfig
from callsheet.sandbox.faults import Fault, FaultBook
from callsheet.sandbox.server import running_sandbox

webhooks: list[dict[str, Any]] = []
first = threading.Lock()
"""Taken by the first webhook: two may come at the same moment."""


class Receiver(BaseHTTPRequestHandler):
    """Keeps each webhook; refuses the first."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.send_response(503 if first.acquire(blocking=False) else 204)
        self.end_headers()
        webhooks.append(
            {"path": self.path, "body": body, "headers": {k.lower(): v for k, v in self.headers.items()}}
        )

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


def main(folder: Path, commands: list[str]) -> dict[str, Any]:
    """Serve, run the commands at once, and tell."""
    book = FaultBook()
    book.arm(
        Fault(
            kind="render_failed",
            count=None,
            status=500,
            error_type="runner_server_error",
            prompt_contains="broken lamp",
        )
    )
    config = SandboxConfig(
        state_dir=folder / "state",
        port=443,
        speed=20,
        slots=40,
        draw_seed=False,
        certfile=folder / "chain.pem",
        keyfile=folder / "key.pem",
    )
    receiver = ThreadingHTTPServer(("127.0.0.1", 9000), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    ca = str(folder / "ca.pem")
    with running_sandbox(config, faults=book) as address:
        env = {**os.environ, "FAL_KEY": address.key, "SSL_CERT_FILE": ca, "NODE_EXTRA_CA_CERTS": ca}
        running = [
            subprocess.Popen(
                line, shell=True, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            for line in commands
        ]
        told = []
        for process in running:
            out, err = process.communicate(timeout=100)
            told.append(json.loads(out) if process.returncode == 0 else {"error": err[-3000:]})
    receiver.shutdown()
    return {"told": told, "webhooks": webhooks}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), sys.argv[2:])))
