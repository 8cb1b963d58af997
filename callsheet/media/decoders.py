"""Decoding in processes of its own: every frame of a file, beside the process that buys.

Decoding takes half of a job's processor time, and libavcodec reads what strangers wrote: a file that
crashes it must not end the process that buys. So workers do it: `python -m callsheet.media.decoders`, which
read paths on standard input and answer on standard output, without a secret in their environment. A file at
which a worker crashes does not decode. A worker that was ended from outside is one failed attempt: the file
is fetched and decoded again.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from callsheet.errors import MediaError, Unavailable
from callsheet.media.codes import MediaErrorCode, media_error
from callsheet.media.expect import Decoded, LookOrder, MediaFacts
from manifests.look import flags_json, read_flags

Decode = Callable[[Path, LookOrder | None], Decoded]
"""Decodes every frame of a file, and looks at it where it is told for what. Blocks.

Raises MediaError, and Unavailable where it may be tried again."""

CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE})
"""Signals by which a process ends for what it does itself, and not because somebody ended it."""

LONGEST_S = 600.0
"""How long decoding one file may take, in seconds. A clip of 5 s at 720p takes a fifth of a second."""

PUBLIC = frozenset(
    {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV"}
)
"""What a worker has of this process's environment, with LC_*: no key, no password, no address."""

WORKERS = max(2, min(4, os.cpu_count() or 2))
"""How many files are decoded at a time: more than the processors have no use."""

END_S = 5.0
"""How long a worker may take to end, in seconds."""


def decode_here(path: Path, look: LookOrder | None) -> Decoded:
    """Decode a file in this process."""
    from callsheet.media.probe import probe

    return probe(path, look=look)


class Decoders:
    """Workers that decode. Called from threads, of which each uses one worker at a time.

    A worker that has not answered within `longest_s` is ended: libavcodec must not hold a run for ever.
    """

    def __init__(self, *, longest_s: float = LONGEST_S) -> None:
        self._longest_s = longest_s
        self._prepared = 0
        self._guard = threading.Lock()
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._closed = False

    def __call__(self, path: Path, look: LookOrder | None) -> Decoded:
        """Decode a file. Raises as `Decode` says."""
        worker = self._taken() or _started()
        limit = threading.Timer(self._longest_s, worker.kill)
        limit.daemon = True
        limit.start()
        try:
            document = _asked(worker, path, look)
        except OSError as error:
            _end(worker)
            if -(worker.returncode or 0) in CRASHES:
                name = signal.Signals(-worker.returncode).name
                raise media_error(
                    MediaErrorCode.UNDECODABLE, f"the video crashed the decoder ({name})"
                ) from error
            raise Unavailable(f"the process that decoded {path.name} ended: {error}") from error
        finally:
            limit.cancel()
        self._give_back(worker)
        return _decoded(document)

    def prepare(self) -> None:
        """Start a worker ahead, up to WORKERS: it loads libavcodec while the first clips render.

        Called when a render begins. Until the first clip of a price group is judged, the others of its group
        hold their slots.
        """
        with self._guard:
            if self._prepared == WORKERS:
                return
            self._prepared += 1
        with suppress(Unavailable):  # the first file says it
            self._give_back(_started())

    def _taken(self) -> subprocess.Popen[bytes] | None:
        """Return an idle worker that has not been ended from outside, None where there is none."""
        with suppress(Empty):
            while (worker := self._idle.get_nowait()).poll() is not None:
                _end(worker)
            return worker
        return None

    def _give_back(self, worker: subprocess.Popen[bytes]) -> None:
        with self._guard:
            if not self._closed:
                self._idle.put(worker)
                return
        _end(worker)

    def close(self) -> None:
        """End the workers that are idle, and each other one when it has answered."""
        with self._guard:
            self._closed = True
        with suppress(Empty):
            while True:
                _end(self._idle.get_nowait())


def _started() -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if name in PUBLIC or name.startswith("LC_")}
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "callsheet.media.decoders"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**kept, "PYTHONPATH": paths},
            process_group=0,  # Ctrl-C is for the run, which ends its workers
        )
    except OSError as error:
        raise Unavailable(f"no process could be started to decode videos: {error}") from error


def _asked(worker: subprocess.Popen[bytes], path: Path, look: LookOrder | None) -> dict[str, Any]:
    """Let a worker decode a file; returns what `_document` made. Raises OSError where it has ended."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(base64.b64encode(pickle.dumps((path, look))) + b"\n")
    worker.stdin.flush()
    line = worker.stdout.readline()
    if not line.endswith(b"\n"):
        raise BrokenPipeError(f"exit code {worker.wait()}")
    try:
        document: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise OSError(f"its answer is none: {line[:80]!r}") from error
    return document


def _decoded(document: dict[str, Any]) -> Decoded:
    """Read what `_document` made. Raises MediaError where the file does not decode."""
    if "reason" in document:
        raise MediaError(document["message"], reason=document["reason"])
    thumbnail, strip = (base64.b64decode(document[name]) for name in ("thumbnail", "strip"))
    return Decoded(MediaFacts(**document["facts"]), thumbnail, strip, read_flags(document["flags"]))


def _end(worker: subprocess.Popen[bytes]) -> None:
    """End a worker: it does when there is nothing more to read."""
    with suppress(OSError):
        if worker.stdin is not None:
            worker.stdin.close()
    try:
        worker.wait(END_S)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
    if worker.stdout is not None:
        worker.stdout.close()


def main() -> None:
    """Decode the files that standard input names, one a line; answer each with a line of JSON.

    What is asked comes from our own process; what is answered is read as data alone, because the files are
    strangers'.
    """
    import callsheet.media.probe  # noqa: F401 -- loaded before the first file comes

    for line in sys.stdin.buffer:
        path, look = pickle.loads(base64.b64decode(line))  # noqa: S301 -- as said
        sys.stdout.write(json.dumps(_document(path, look)) + "\n")
        sys.stdout.flush()


def _document(path: Path, look: LookOrder | None) -> dict[str, object]:
    try:
        facts, thumbnail, strip, flags = decode_here(path, look)
    except MediaError as error:
        return {"message": str(error), "reason": error.reason}
    pictures = {"thumbnail": thumbnail, "strip": strip}
    encoded = {name: base64.b64encode(picture).decode() for name, picture in pictures.items()}
    return {"facts": asdict(facts), "flags": flags_json(flags), **encoded}


if __name__ == "__main__":
    main()
