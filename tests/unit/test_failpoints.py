import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import callsheet
from callsheet import failpoints
from callsheet.errors import UsageError
from callsheet.provider.client import FalQueue
from callsheet.settings import Settings

PASS_THREE = (
    "from callsheet.failpoints import passing; [passing('after_post') for _ in range(3)]; print('alive')"
)


@pytest.fixture
def armed(monkeypatch):
    """Set the variable."""
    return lambda text: monkeypatch.setenv(failpoints.VARIABLE, text)


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ("", 0),
        ("after_post", -signal.SIGKILL),
        ("after_post:3", -signal.SIGKILL),
        ("after_post:4", 0),
        ("after_done:1", 0),
    ],
)
def test_a_process_dies_at_the_passing_that_is_named(wanted: str, status: int) -> None:
    """SIGKILL at that place and at that passing, and never without the variable."""
    environment = {**os.environ, failpoints.VARIABLE: wanted}
    done = subprocess.run(
        [sys.executable, "-c", PASS_THREE], env=environment, capture_output=True, check=False
    )
    assert done.returncode == status
    assert (b"alive" in done.stdout) is (status == 0)


@pytest.mark.parametrize(
    "wanted", ["after_lunch", "after_post:0", "after_post:-1", "after_post:x", "after_post:1:2"]
)
def test_a_place_that_does_not_exist_is_named(armed, wanted: str) -> None:
    """A typing mistake must not pass for a test that nothing failed."""
    armed(wanted)
    with pytest.raises(UsageError, match="after_reconcile"):
        failpoints.passing("after_post")


def test_every_name_stands_somewhere_in_the_product() -> None:
    """A failpoint that nothing passes would kill nothing."""
    package = Path(callsheet.__file__).parent
    text = "".join(path.read_text("utf-8") for path in package.rglob("*.py") if path.stem != "failpoints")
    assert [name for name in failpoints.NAMES if f'passing("{name}")' not in text] == []


def test_an_armed_process_does_not_speak_to_fal(armed) -> None:
    """Killing oneself in the middle of a real purchase is refused before anything is sent."""
    armed("after_post")
    with pytest.raises(UsageError, match="unset CALLSHEET_FAILPOINT"):
        FalQueue(Settings(data_dir=Path()))
    FalQueue(Settings(data_dir=Path(), queue_url="http://127.0.0.1:1"))
