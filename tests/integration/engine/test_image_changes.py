"""A row whose image was replaced at its address: `~` and bought once, where the server says so."""

import pytest

from callsheet.engine.image_changes import ROWS, etags_for
from callsheet.engine.open_run import changes_of, open_run, select
from callsheet.engine.results import result_rows
from callsheet.errors import UsageError
from callsheet.ledger import Ledger, State, queries
from manifests.etags import MOST
from manifests.plan import PlanOptions
from manifests.planner import make_plan

pytestmark = pytest.mark.anyio

ADDRESS = "https://fal.media/files/koala/f_xmiodPjhiKjdBkFmTu1.png"
"""An image of fal's own pages, which the sandbox has without fetching it."""


class Pictures:
    """A plan of one row with an image, and what the image's server says."""

    def __init__(self, house, prompt: str) -> None:
        self.house, self.etag = house, '"one"'
        source = house.folder / "pictures.csv"
        source.write_text(
            "custom_id,prompt,model,resolution,num_frames,image_url\n"
            f"a,{prompt},seedance-1.0-lite,480p,29,{ADDRESS}\n"
        )
        self.plan = make_plan(str(source), overrides=PlanOptions())

    def etags(self, addresses):
        return {address: self.etag for address in addresses if self.etag}

    def sign(self) -> str:
        with Ledger.open(self.house.settings.ledger) as ledger:
            return changes_of(ledger, self.plan, self.etags).sign(0)

    def selection(self, ledger):
        return select(ledger, self.plan, fit=False, etags=self.etags)

    def open(self, selection=None) -> str:
        out = self.house.folder / "runs"
        with Ledger.open(self.house.settings.ledger) as ledger:
            chosen = selection or self.selection(ledger)
            return open_run(ledger, self.plan, chosen, out=out, options="", etags=self.etags)


async def test_another_etag_makes_a_row_that_was_made_a_changed_one(house):
    """It is bought once more under the same fingerprint, and is then already made again."""
    prompt = "A boat whose picture was replaced"
    pictures = Pictures(house, prompt)
    await house.work(pictures.open())
    assert pictures.sign() == "="
    pictures.etag = '"two"'
    assert pictures.sign() == "~"
    run_id = pictures.open()
    await house.work(run_id)
    assert house.row(run_id).state is State.SUCCEEDED
    assert pictures.sign() == "="
    assert len(house.accepted(prompt)) == 2
    with Ledger.open(house.settings.ledger) as ledger:
        later = pictures.open()
        (row,) = result_rows(ledger, ledger.do(queries.run, later))
    assert (row.status, row.output_path) == ("already_made", f"../{run_id}/media/a.mp4")


@pytest.mark.parametrize(("before", "now"), [("", '"two"'), ('"one"', ""), ('"one"', '"one"'), ("", "")])
async def test_without_two_answers_that_differ_a_row_stays_already_made(house, before, now):
    """What was paid for is not bought again for want of an answer."""
    pictures = Pictures(house, "A boat without a word")
    pictures.etag = before
    await house.work(pictures.open())
    pictures.etag = now
    assert pictures.sign() == "="
    with Ledger.open(house.settings.ledger) as ledger:
        assert pictures.selection(ledger).buy == ()


async def test_two_processes_that_see_the_new_image_buy_it_once(house):
    """The second one planned before the first had made it; its run is refused."""
    prompt = "A boat that two have seen"
    pictures = Pictures(house, prompt)
    await house.work(pictures.open())
    pictures.etag = '"two"'
    with Ledger.open(house.settings.ledger) as ledger:
        late = pictures.selection(ledger)
    await house.work(pictures.open())
    with pytest.raises(UsageError, match="meanwhile"):
        pictures.open(late)
    assert len(house.accepted(prompt)) == 2


def test_an_etag_is_no_part_of_a_fingerprint(house):
    """What was bought before ETags were kept stays bought."""
    pictures = Pictures(house, "A boat as it was")
    run_id = pictures.open()
    row = house.row(run_id)
    assert '"etag":"\\"one\\""' in row.payload
    assert row.fingerprint == pictures.plan.jobs[0].fingerprint


def test_nothing_is_asked_for_the_sandbox_or_where_it_is_off(house, monkeypatch):
    """Both know no image's server; the limits hold for the rest."""
    house.changes["image_check"] = False
    assert etags_for(house.settings, sandbox=False) is None
    house.changes["image_check"] = True
    assert etags_for(house.settings, sandbox=True) is None
    assert (ROWS, MOST) == (2_000, 500)
