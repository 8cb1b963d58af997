import inspect

import httpx
import pytest

from callsheet.provider.outcomes import FAILURES, Outcome, outcome_of_code, outcome_of_failure


def httpx_errors() -> list[str]:
    """Name every exception class that httpx exports."""
    found = inspect.getmembers(httpx, inspect.isclass)
    return [name for name, kind in found if issubclass(kind, Exception)]


def test_every_exception_of_httpx_is_mapped() -> None:
    """No exception that httpx can raise is missing from the table."""
    assert len(httpx_errors()) > 25
    assert set(httpx_errors()) <= set(FAILURES)


def below(kind: type[BaseException]) -> set[type[BaseException]]:
    """Return a class and every class that descends from it."""
    return {kind}.union(*map(below, kind.__subclasses__()))


def test_the_whole_tree_of_httpx_is_mapped() -> None:
    """Walked from its roots, httpx's tree of exceptions has no class without a line, exported or not."""
    roots = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict)
    tree = {each.__name__ for root in roots for each in below(root) if each.__module__.startswith("httpx")}
    assert set(httpx_errors()) <= tree
    assert tree <= set(FAILURES)


def test_only_failures_from_before_the_request_left_count_as_not_sent() -> None:
    """Exactly these seven say that nothing was sent; everything else keeps the money."""
    harmless = {name for name, outcome in FAILURES.items() if outcome is Outcome.NOT_SENT}
    assert harmless == {
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "ProxyError",
        "UnsupportedProtocol",
        "InvalidURL",
        "LocalProtocolError",
    }


@pytest.mark.parametrize("name", ["SomethingNew", "RuntimeError", "MemoryError", "connecterror", ""])
def test_what_nobody_has_thought_of_is_unknown(name: str) -> None:
    """An exception without a line in the table is counted as money that may be gone."""
    assert outcome_of_failure(name, sent=None) is Outcome.UNKNOWN


@pytest.mark.parametrize("name", [*FAILURES, "SomethingNew"])
def test_the_wire_outranks_the_name(name: str) -> None:
    """Where the connection was watched, what was seen decides, whatever the exception is called."""
    assert outcome_of_failure(name, sent=True) is Outcome.UNKNOWN
    assert outcome_of_failure(name, sent=False) is Outcome.NOT_SENT


@pytest.mark.parametrize(
    ("codes", "outcome"),
    [
        ((200, 201, 202, 204, 299), Outcome.ACCEPTED),
        ((401, 402, 403), Outcome.ACCOUNT),
        ((429,), Outcome.THROTTLED),
        ((400, 404, 405, 413, 415, 422, 451), Outcome.REFUSED),
        ((408, 409, 425, 499), Outcome.UNKNOWN),
        ((300, 301, 302, 303, 307, 308), Outcome.UNKNOWN),
        ((500, 501, 502, 503, 504, 520, 599), Outcome.UNKNOWN),
        ((0, 100, 101, 600, 999), Outcome.UNKNOWN),
    ],
)
def test_what_a_status_code_says_of_a_submit(codes: tuple[int, ...], outcome: Outcome) -> None:
    """Only a clear yes, a clear no and 429 are known; the rest of the numbers are not."""
    assert {outcome_of_code(code) for code in codes} == {outcome}
