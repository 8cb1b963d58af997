from typing import Any

import pytest

from callsheet.errors import UsageError
from callsheet.sandbox.faults import KINDS, Fault, FaultBook
from callsheet.sandbox.misbehaviour import refusal, route_of

SHORT = "/fal-ai/bytedance/requests/123"


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("POST", "/fal-ai/bytedance/seedance/v1/pro/text-to-video", "submit"),
        ("GET", SHORT, "result"),
        ("GET", f"{SHORT}/response", "result"),
        ("GET", f"{SHORT}/status", "status"),
        ("GET", f"{SHORT}/status/stream", "stream"),
        ("PUT", f"{SHORT}/cancel", "cancel"),
        ("GET", "/files/render/a.mp4", "file"),
        ("PUT", "/files/upload/a.png", "upload"),
        ("POST", "/files/upload", "upload"),
        ("POST", "/storage/auth/token", "upload"),
        ("GET", "/v1/models/pricing", "platform"),
        ("POST", "/_sandbox/faults", ""),
    ],
)
def test_every_call_has_a_route_name(method: str, path: str, route: str) -> None:
    """A fault's route is found from the call; control routes have none and never fail."""
    assert route_of(method, path) == route


def test_a_fault_fires_as_often_as_it_is_armed() -> None:
    """A fault with a count of two strikes two calls on its own route, and the third call is sound."""
    book = FaultBook()
    book.arm(Fault("close", count=2))
    assert [bool(book.on_route(route)) for route in ("status", "submit", "submit", "submit")] == [
        False,
        True,
        True,
        False,
    ]
    assert book.fired == {"close": 2}


def test_a_storm_is_the_same_each_time() -> None:
    """The same seed meets the same calls; the share is near the probability."""

    def storm(seed: int | None) -> list[bool]:
        book = FaultBook()
        book.arm(Fault("throttle", route="any", count=None, probability=0.3, seed=seed))
        return [book.on_route("status") is not None for _ in range(1000)]

    assert storm(1) == storm(1) != storm(2)
    assert 230 < sum(storm(1)) < 370


def test_faults_of_renders_wait_for_renders() -> None:
    """A render fault strikes prompts with its text and no call at all."""
    book = FaultBook()
    book.arm(Fault("render_failed", prompt_contains="storm"))
    assert book.on_route("submit") is None
    assert book.on_render("a calm sea") is None
    assert book.on_render("a storm at sea") is not None


@pytest.mark.parametrize("kind", [name for name, row in KINDS.items() if row.stage == "refusal"])
def test_refusals_have_the_status_of_the_table(kind: str) -> None:
    """A refusal answers with the table's status unless another is named."""
    assert refusal(Fault(kind)).status == KINDS[kind].status
    assert refusal(Fault(kind, status=500)).status == 500


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"kind": "earthquake"},
        {"kind": "close", "route": "sideways"},
        {"kind": "close", "probability": 0},
        {"kind": "close", "colour": "red"},
        {"kind": "close", "fired": 3},
        {"kind": "no_request_id", "route": "file"},
        {"kind": "hang", "delay_s": -1},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(document: dict[str, Any]) -> None:
    """Unknown kinds, routes, fields and impossible numbers raise a usage error that lists what there is."""
    with pytest.raises(UsageError):
        Fault.from_json(document)
