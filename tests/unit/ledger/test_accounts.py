import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.ledger.accounts import (
    WINDOW_KINDS,
    AccountRef,
    account_refs,
    window_at,
    window_kind,
)
from pricing.budgets import campaign_client_key, client_key

NOON_MS = 1_795_262_400_000  # 2026-11-21 12:00:00 UTC


def refs(client: str, at_ms: int = NOON_MS) -> set[str]:
    """Names of the accounts of one job."""
    found = account_refs(campaign="spring", client=client, model="lite", run_id="r1", at_ms=at_ms)
    return {str(ref) for ref in found}


def test_a_job_counts_in_every_account_whether_it_is_capped_or_not() -> None:
    """All eight accounts of a job with a client are named, the day and the month in UTC."""
    assert refs("acme") == {
        "ledger",
        "campaign spring",
        "campaign spring in 2026-11-21",
        "campaign spring in 2026-11",
        "client acme",
        "client acme in campaign spring",
        "model lite",
        "run r1",
    }


def test_a_client_is_one_account_however_it_is_typed() -> None:
    """Case, composition and white space make no account of their own."""
    assert refs(" Caf\u00e9  CO") == refs("cafe\u0301 co")


def test_a_job_without_a_client_counts_in_no_clients_account() -> None:
    """There is no account of nobody that a cap on one client could be mistaken for."""
    assert not any("client" in ref for ref in refs(""))
    assert len(refs("")) == 6


@pytest.mark.parametrize(
    ("at_ms", "day", "month"),
    [
        (NOON_MS, "2026-11-21", "2026-11"),
        (1_795_305_599_999, "2026-11-21", "2026-11"),  # the day's last millisecond
        (1_795_305_600_000, "2026-11-22", "2026-11"),
        (1_798_761_599_999, "2026-12-31", "2026-12"),
        (1_798_761_600_000, "2027-01-01", "2027-01"),
    ],
)
def test_days_and_months_are_those_of_utc(at_ms: int, day: str, month: str) -> None:
    """A day ends at midnight UTC, wherever the machine stands."""
    assert (window_at("day", at_ms), window_at("month", at_ms), window_at("total", at_ms)) == (
        day,
        month,
        "total",
    )


@given(st.sampled_from(["total", "day", "month"]), st.integers(0, 4_102_444_800_000))
def test_a_windows_name_tells_its_kind(kind: str, at_ms: int) -> None:
    """Reading the kind of a window back from its name gives the kind it was made for."""
    assert window_kind(window_at(kind, at_ms)) == kind  # type: ignore[arg-type]


@given(st.text(), st.text(), st.text(), st.text())
def test_two_campaigns_never_share_a_clients_account(a: str, b: str, c: str, d: str) -> None:
    """Slashes and percent signs cannot make the pairs of two campaigns or two clients one key."""
    if (a, client_key(b)) != (c, client_key(d)):
        assert campaign_client_key(a, b) != campaign_client_key(c, d)


def test_a_key_reads_as_campaign_and_client() -> None:
    """An everyday key is written as people write it."""
    assert campaign_client_key("spring", "acme") == "spring/acme"


def test_every_scope_has_a_total() -> None:
    """A cap on everything that was ever spent is possible in each scope."""
    assert all("total" in kinds for kinds in WINDOW_KINDS.values())
    assert AccountRef("run", "r1").window_kind == "total"
