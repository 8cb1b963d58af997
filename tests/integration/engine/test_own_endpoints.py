"""Models of a person's own catalog, from the file to the bill: one is priced per second, one per video."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from callsheet.engine.price_check import listed_beside_the_book
from callsheet.ledger import State

pytestmark = pytest.mark.anyio

OWN = Path(__file__).parents[3] / "examples" / "own-models" / "catalog.toml"
KLING, MINIMAX = "fal-ai/kling-video/v2/master/text-to-video", "fal-ai/minimax/video-01"


@pytest.fixture
def own(house: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A house whose sandbox serves the example's endpoints too."""
    monkeypatch.setenv("CALLSHEET_CATALOG", str(OWN))
    key = {"Authorization": f"Key {house.address.key}"}
    reply = httpx.post(f"{house.address.url}/_sandbox/catalog", json={"path": str(OWN)}, headers=key)
    assert reply.json() == {"endpoints": [KLING, MINIMAX]}
    return house


def opened(house: Any, name: str, row: str) -> str:
    """Open a run of one row."""
    source = house.folder / f"{name}.csv"
    source.write_text(f"custom_id,prompt,model,duration\n{row}\n")
    return str(house.open_source(source))


@pytest.mark.parametrize(
    ("row", "endpoint", "body", "usd"),
    [
        (
            "a,A kettle by the second,kling-2,5",
            KLING,
            {"aspect_ratio": "16:9", "duration": "5"},
            Decimal("1.40"),
        ),
        ("a,A kettle by the video,minimax-1,", MINIMAX, {}, Decimal("0.5")),
    ],
)
async def test_an_own_model_is_planned_bought_and_settled(
    own: Any, row: str, endpoint: str, body: dict[str, str], usd: Decimal
) -> None:
    """Only what the model takes is sent; its units are settled at its own price."""
    run_id = opened(own, "own", row)
    await own.work(run_id)
    made = own.row(run_id)
    assert (made.state, made.endpoint) == (State.SUCCEEDED, endpoint)
    assert Decimal(made.spent_nano).scaleb(-9) == usd
    assert made.spent_nano <= made.submission.hold_nano
    assert made.submission.cost_basis == "billable_units"
    (sent,) = own.accepted(row.split(",")[1])
    assert sent["arguments"] == {"prompt": row.split(",")[1], **body}


async def test_an_own_price_is_compared_with_the_list(own: Any) -> None:
    """`prices check` understands seconds and videos."""
    async with own.account() as account:
        checks = {each.endpoint_id: each for each in await listed_beside_the_book(account)}
    assert {checks[name].verdict for name in (KLING, MINIMAX)} == {"agrees"}
