"""What the fault middleware lets through."""

from typing import Any

import pytest

from callsheet.sandbox.fault_replies import FaultMiddleware
from callsheet.sandbox.faults import Fault, FaultBook

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("sent", [[], [b'{"prompt": "a ki']], ids=["no body", "half a body"])
async def test_a_call_that_its_client_broke_off_is_not_done(sent: list[bytes]) -> None:
    """As without a fault: a sender that is killed in the middle of a POST has bought nothing."""
    done, book = [], FaultBook()
    book.arm(Fault(kind="error_after", count=None))
    messages: list[dict[str, Any]] = [
        *({"type": "http.request", "body": part, "more_body": True} for part in sent),
        {"type": "http.disconnect"},
    ]

    async def app(*_: Any) -> None:
        done.append("submitted")

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        done.append(message)

    path = "/fal-ai/bytedance/seedance/v1/lite/text-to-video"
    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    await FaultMiddleware(app, book)(scope, receive, send)
    assert done == []
