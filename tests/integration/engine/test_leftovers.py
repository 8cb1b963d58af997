"""What a crash, an old upload or an odd name leaves behind."""

import json
from pathlib import Path

import PIL.Image
import pytest

from callsheet.engine import uploads
from callsheet.engine.finalize import exit_code
from callsheet.engine.run import open_context
from callsheet.engine.stopping import StopSignal
from callsheet.engine.uploads import UPLOAD_GOOD_FOR_MS, _address
from callsheet.errors import DiskFull
from callsheet.ledger import Ledger, State, history, transitions
from callsheet.ledger.transaction import write
from callsheet.provider import client
from manifests.job import Image
from manifests.plan import PlanOptions
from manifests.planner import make_plan
from pricing.budgets import counts_in

pytestmark = pytest.mark.anyio


async def test_a_file_that_landed_before_a_crash_is_not_lost_with_fals_copy(house, monkeypatch):
    """The verified file on the disk counts, also where fal no longer has it."""
    run_id = house.open_run("a,leftovers one")

    @write(short=True)
    def stopped(*_: object, **__: object) -> None:
        raise DiskFull("the ledger hears nothing of it")

    with monkeypatch.context() as patched:
        patched.setattr(transitions, "collect", stopped)
        await house.work(run_id)
    assert house.row(run_id).state is State.RENDERED
    house.arm("not_found", route="file", count=99)
    await house.work(run_id)
    row = house.row(run_id)
    assert row.state is State.SUCCEEDED
    assert row.output.path == "media/a.mp4"


async def test_what_a_dead_process_was_writing_is_swept_from_the_whole_run(house):
    """A clip that was half fetched, and a still of one that was whole; what others write stays."""
    run_id = house.open_run("a,leftovers parts")
    folder = Path(house.settings.out) / run_id
    for name in ("media/.a.mp4.0011.part", "posters/media/.a.jpg.2233.part", "notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    async with open_context(house.request(run_id), run_id, house.settings, StopSignal()):
        assert not list(folder.rglob("*.part"))
    assert (folder / "notes.txt").is_file()


@pytest.mark.parametrize(("age_ms", "known"), [(0, True), (UPLOAD_GOOD_FOR_MS + 1, False)])
async def test_an_upload_that_fal_may_have_dropped_is_made_again(house, age_ms, known):
    """Fal is asked to keep uploads for thirty days; older addresses are not relied on."""
    picture = house.folder / "a.png"
    picture.write_bytes(b"not looked at here")
    image = Image(kind="file", value=str(picture), sha256="cd" * 32, content_type="image/png")
    with Ledger.open(house.settings.ledger, clock=lambda: house.now_ms() - age_ms) as ledger:
        ledger.do(history.remember_upload, "cd" * 32, "https://v3.fal.media/files/old.png")
    run_id = house.open_run("a,leftovers two")
    async with house.account() as account:
        ctx = house.context(account, run_id)
        if known:
            assert await _address(ctx, image) == "https://v3.fal.media/files/old.png"
        else:
            with pytest.raises(Exception, match="has changed since it was planned"):
                await _address(ctx, image)


async def test_a_picture_that_cannot_be_uploaded_now_leaves_its_job_to_be_sent(house, monkeypatch):
    """The network is gone for an hour: nothing failed, and `resume` sends it. A minute is waited for."""
    monkeypatch.setattr(client, "UPLOAD_TRIES", 1)
    monkeypatch.setattr(uploads, "FREE_TRIES", 2)
    monkeypatch.setattr(uploads, "backoff_s", lambda *_: 0)
    PIL.Image.new("RGB", (864, 480), "navy").save(house.folder / "boat.png")
    source = house.folder / "pictures.csv"
    source.write_text(
        "custom_id,prompt,model,resolution,num_frames,image_url\n"
        "a,leftovers picture,seedance-1.0-lite,480p,29,boat.png\n"
    )
    run_id = house.open_source(source)
    house.arm("close", route="upload", count=3)
    ctx = await house.work(run_id)
    row = house.row(run_id)
    assert (row.state, row.submission) == (State.PENDING, None)
    assert "a (row 2) was not sent: its image could not be uploaded" in ctx.state.unfinished[0]
    await house.work(run_id)
    assert house.row(run_id).state is State.SUCCEEDED
    assert len(house.accepted("leftovers picture")) == 1


@pytest.mark.parametrize("name", ["50% off", "100%25", "plain"])
def test_a_clients_cap_counts_whatever_the_campaign_is_called(tmp_path, name):
    """The cap's key is the key of the account, also where a name needs escaping."""
    (tmp_path / "s.csv").write_text(
        "custom_id,prompt,model,resolution,duration,client\na,x,seedance-1.0-lite,480p,2,acme\n"
    )
    (tmp_path / "c.toml").write_text(
        f'[campaign]\nname = {json.dumps(name)}\nmanifest = "s.csv"\n[budget.client]\nacme = 0.03\n'
    )
    plan = make_plan(str(tmp_path / "c.toml"), overrides=PlanOptions())
    assert [counts_in(plan.spends()[0], cap) for cap in plan.caps] == [True]


@pytest.mark.parametrize(
    ("left", "fit", "code"),
    [
        ({"skipped": 1}, False, 5),
        ({"skipped": 1}, True, 0),
        ({"unpublished": 2}, False, 4),
        ({"gone": 1}, False, 4),
        ({"statuses": {"rendered": 1}}, False, 4),
        ({"statuses": {"in_progress": 1}}, False, 7),
        ({}, False, 0),
    ],
)
def test_nothing_left_undone_ends_with_0(left, fit, code):
    """What a cap left out, what was not copied, not fetched or not seen to end is in the code."""
    summary = {"unknown": 0, "failed": 0, "skipped": 0, "statuses": {}, "unpublished": 0, "gone": 0, **left}
    assert exit_code(summary, None, fit=fit) == code
