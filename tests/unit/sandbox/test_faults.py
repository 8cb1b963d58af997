from typing import Any

import pytest

from callsheet.errors import UsageError
from callsheet.sandbox.fault_replies import refusal, route_of
from callsheet.sandbox.faults import KINDS, Fault, FaultBook, marked

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
        ("GET", "/v1/models/requests/by-endpoint", "history"),
        ("GET", "/v1/models/billing-events", "billing"),
        ("POST", "/_sandbox/faults", ""),
    ],
)
def test_every_call_has_a_route_name(method: str, path: str, route: str) -> None:
    """A fault's route is found from the call; control routes have none and never fail."""
    assert route_of(method, path) == route


def test_a_fault_fires_as_often_as_it_is_armed() -> None:
    """A fault with a count of two strikes two calls on its own route, and the third call is sound."""
    book = FaultBook()
    book.arm(Fault(kind="close", count=2))
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
        book.arm(Fault(kind="throttle", route="any", count=None, probability=0.3, seed=seed))
        return [book.on_route("status") is not None for _ in range(1000)]

    assert storm(1) == storm(1) != storm(2)
    assert 230 < sum(storm(1)) < 370


def test_faults_of_renders_wait_for_renders() -> None:
    """A render fault strikes prompts with its text and no call at all."""
    book = FaultBook()
    book.arm(Fault(kind="render_failed", prompt_contains="storm"))
    assert book.on_route("submit") is None
    assert book.on_render("a calm sea") is None
    assert book.on_render("a storm at sea") is not None


def test_platform_faults_reach_history_and_bills() -> None:
    """A fault on the platform strikes history and billing events too; one on history only history."""
    book = FaultBook()
    book.arm(Fault(kind="server_error", route="platform", count=3))
    assert [bool(book.on_route(route)) for route in ("platform", "history", "billing")] == [True] * 3
    book.arm(Fault(kind="history_hidden", count=None))
    assert book.on_route("platform") is None
    assert book.on_route("history") is not None


def test_a_fault_can_be_for_one_key() -> None:
    """A fault with a key strikes the calls that carry it and no others."""
    book = FaultBook()
    book.arm(Fault(kind="history_hidden", key="ours", count=None))
    assert book.on_route("history", "other") is None
    assert book.on_route("history") is None
    assert book.on_route("history", "ours") is not None


@pytest.mark.parametrize("kind", [name for name, row in KINDS.items() if row.stage == "refusal"])
def test_refusals_have_the_status_of_the_table(kind: str) -> None:
    """A refusal answers with the table's status unless another is named."""
    assert refusal(Fault(kind=kind)).status_code == KINDS[kind].status
    assert refusal(Fault(kind=kind, status=500)).status_code == 500


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
        {"kind": "hang", "delay_s": "1"},
        {"kind": "close", "count": "many"},
        {"kind": "close", "count": 1.5},
        {"kind": ["close"]},
        {"kind": "answer", "status": 99},
        {"kind": "answer", "headers": {"x": "a\r\nb"}},
        {"kind": "answer", "headers": {"x": 1}},
        {"kind": "answer", "headers": {"": "1"}},
        {"kind": "answer", "headers": {"a b": "1"}},
        {"kind": "file_redirect", "location": "http://h/\n"},
        {"kind": "torn_id", "route": "status"},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(document: dict[str, Any]) -> None:
    """Unknown kinds, routes, fields and impossible numbers raise a usage error that lists what there is."""
    with pytest.raises((UsageError, TypeError)):
        Fault.from_json(document)


def test_a_fault_can_be_written_in_a_line() -> None:
    """A header's or a marker's line has a kind and values, quoted where they have spaces."""
    fault = Fault.from_text('throttle delay_s=2.5 message="a b"')
    assert (fault.kind, fault.delay_s, fault.message) == ("throttle", 2.5, "a b")
    for wrong in ("", "throttle delay_s", "nonsense", 'throttle message="a'):
        with pytest.raises(UsageError):
            Fault.from_text(wrong)


def test_a_prompt_may_ask_for_a_render_fault() -> None:
    """A marker in the prompt is a fault; text that only looks a little like one is none."""
    fault = marked("a kite <sandbox:render_failed status=422> over dunes")
    assert (fault.kind, fault.status) == ("render_failed", 422)
    assert marked("a < b <sandbox") is None
    for wrong in ("<sandbox:throttle>", "<sandbox:nonsense>", "<sandbox:units text>"):
        with pytest.raises(UsageError):
            marked(wrong)
