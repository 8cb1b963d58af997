"""What is taken as the schedule of a deployment."""

import pytest

from callsheet.errors import UsageError
from tasks.schedules import check_schedule


@pytest.mark.parametrize("cron", ["0 2 * * *", "*/5 9-17 * * mon-fri", "0 0 29 2 *", " 0  2 * * 1,3 "])
def test_a_schedule_of_five_fields_that_comes_is_taken(cron: str) -> None:
    """Also the 29th of February, which comes every four years."""
    check_schedule(cron, "Europe/Berlin")


@pytest.mark.parametrize("cron", ["at two", "* * * * * *", "@daily", "", "0 25 * * *", "H 2 * * *"])
def test_what_has_not_five_fields_is_no_schedule(cron: str) -> None:
    """Seconds and names are refused as well: a run every second is meant by nobody."""
    with pytest.raises(UsageError, match="Write five fields"):
        check_schedule(cron, "UTC")


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "0 0 31 4,6 *"])
def test_a_schedule_that_never_comes_is_refused(cron: str) -> None:
    """Prefect would register it without a next run."""
    with pytest.raises(UsageError, match="never comes"):
        check_schedule(cron, "UTC")
