"""Models of a person's own catalog, from the file to the bill: one is priced per second, one per video."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

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


CATALOG = """
[pixels.own]
source = "a page"
720p = { "16:9" = [1280, 720] }

[[endpoints]]
id = "fal-ai/own/image-to-video"
model = "own-1"
pixels = "own"
aspect_ratios = ["16:9"]
default_aspect_ratio = "16:9"
resolutions = ["720p"]
default_resolution = "720p"
durations_s = [5, 8]
audio = true
fps = 30
num_frames = [29, 289]
codecs = ["auto", "H265"]
prompt_optional = true

[[endpoints]]
id = "fal-ai/own/reference-to-video"
like = "fal-ai/own/image-to-video"
default_duration = "auto"
reference_images = [1, 3]

[[endpoints]]
id = "fal-ai/small/text-to-video"
model = "own-2"
pixels = "1.5" # a table of ours
aspect_ratios = ["16:9"]
default_aspect_ratio = "16:9"
resolutions = ["480p"]
default_resolution = "480p"
durations_s = [5]

[[rates]]
of = "own-1"
audio = true
usd = "0.4"
per = "second"
from = 2026-10-01
source = "a page"

[[rates]]
of = "own-1"
audio = false
usd = "12"
per = "minute"
from = 2026-10-01
source = "a page"

[[rates]]
of = "own-2"
usd = "0.01"
per = "1k tokens"
from = 2026-10-01
source = "a page"
"""

ROWS = [
    # the model, what else the row says, and the cost in dollars
    ("own-1", {"image_url": "p.png", "duration": "8"}, "3.2"),
    ("own-1", {"image_url": "p.png", "generate_audio": "false"}, "1"),
    ("own-1", {"image_url": "p.png", "num_frames": "61", "codec": "H265"}, "0.8"),
    ("own-1", {"reference_images": "p.png"}, "2"),
    ("own-2", {"prompt": "A kettle"}, "0.506385"),
]


@pytest.mark.parametrize(("model", "cells", "usd"), ROWS)
async def test_all_that_a_catalog_may_say_can_be_tried_on_the_sandbox(
    house: Any, monkeypatch: pytest.MonkeyPatch, model: str, cells: dict[str, str], usd: str
) -> None:
    """Sizes of ours, other frames a second, frames, codecs, references, prices by sound and by the minute."""
    catalog = house.folder / "own.toml"
    catalog.write_text(CATALOG)
    Image.new("RGB", (640, 360), "teal").save(house.folder / "p.png")
    monkeypatch.setenv("CALLSHEET_CATALOG", str(catalog))
    key = {"Authorization": f"Key {house.address.key}"}
    async with httpx.AsyncClient(headers=key) as client:
        reply = await client.post(f"{house.address.url}/_sandbox/catalog", json={"path": str(catalog)})
    assert reply.status_code == 200, reply.text
    names = ["custom_id", "prompt", "model", *(name for name in cells if name != "prompt")]
    (house.folder / "own.csv").write_text(
        f"{','.join(names)}\n{','.join({'custom_id': 'a', 'prompt': '', 'model': model, **cells}.values())}\n"
    )
    run_id = str(house.open_source(house.folder / "own.csv"))
    await house.work(run_id)
    made = house.row(run_id)
    assert (made.state, made.error) == (State.SUCCEEDED, "")
    assert made.submission.cost_basis == "billable_units"
    assert Decimal(made.spent_nano).scaleb(-9) == Decimal(usd)
    assert made.spent_nano <= made.submission.hold_nano


async def test_an_own_price_is_compared_with_the_list(own: Any) -> None:
    """`prices check` understands seconds and videos."""
    async with own.account() as account:
        checks = {each.endpoint_id: each for each in await listed_beside_the_book(account)}
    assert {checks[name].verdict for name in (KLING, MINIMAX)} == {"agrees"}
