"""What a person types and what a terminal gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from callsheet.cli.commands.budget import parse_scope, scope_text
from callsheet.cli.commands.ledger import day_ms
from callsheet.cli.logs import printable
from callsheet.errors import UsageError
from callsheet.ledger import AccountRef
from pricing.budgets import campaign_client_key


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]52;c;ZXZpbA==\x07", r"\x1b]52;c;ZXZpbA==\x07"),
        ("a\x9b31m", r"a\x9b31m"),
        ("moc.live\u202eexe", r"moc.live\u202eexe"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("a\rb\x00", r"a\x0db\x00"),
        ("one\ntwo\tthree", "one\ntwo\tthree"),
        ("क्\u200dष 👨\u200d👩", "क्\u200dष 👨\u200d👩"),
        ("half \ud83d", r"half \ud83d"),
    ],
)
def test_nothing_that_a_terminal_obeys_reaches_it(text, shown):
    """Escape sequences, control characters and changes of direction are shown and not sent."""
    assert printable(text) == shown


@given(st.text())
def test_what_is_printed_can_be_written_anywhere(text):
    """No text leaves an escape character, and every text can be encoded."""
    shown = printable(text)
    assert not {"\x1b", "\x9b", "\r", "\x00", "\u202e"} & set(shown)
    shown.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "scope", "key"),
    [
        ("ledger", "ledger", ""),
        ("campaign:spring-launch", "campaign", "spring-launch"),
        ("campaign:a:b/c", "campaign", "a:b/c"),
        ("client:ünïted & co", "client", "ünïted & co"),
        ("campaign-client:spring/acme", "campaign_client", "spring/acme"),
        ("model:seedance-1.0-pro", "model", "seedance-1.0-pro"),
    ],
)
def test_a_scope_is_read_as_it_is_shown(text, scope, key):
    """What `budget list` shows can be given to `budget set`."""
    assert parse_scope(text) == (scope, key)
    assert scope_text(AccountRef(scope, key)) == text


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("client: Ünïted  &\u00a0CO ", "ünïted & co"),
        ("client:U\u0308ni\u0308ted & co", "ünïted & co"),
        ("campaign-client:Spring/ACME ", "Spring/acme"),
    ],
)
def test_a_client_is_one_client_however_it_is_typed(text, key):
    """`budget set` caps the client that jobs count in; a campaign's name keeps its case."""
    assert parse_scope(text)[1] == key


@pytest.mark.parametrize("campaign", ["spring", "50% & more", "100%2F"])
@pytest.mark.parametrize("client", ["acme", "ACME/Berlin", "Acme/b/C"])
def test_a_cap_is_set_where_the_client_of_the_campaign_is_counted(campaign, client):
    """A percent sign in the campaign and a slash in the client change no account, as typed or as listed."""
    counted = campaign_client_key(campaign, client)
    assert parse_scope(f"campaign-client:{counted}")[1] == counted
    if "%2F" not in campaign:  # typed, this is a campaign with a slash
        assert parse_scope(f"campaign-client:{campaign}/{client}")[1] == counted


@pytest.mark.parametrize(
    "text", ["", "ledger:", "ledger:x", "campaign", "campaign:", "modle:x", "client acme"]
)
def test_no_other_word_is_a_scope(text):
    """Every other text is refused with the forms that there are."""
    with pytest.raises(UsageError, match="campaign:NAME"):
        parse_scope(text)


@pytest.mark.parametrize("name", ["x", "x/", "/acme", "x/ "])
def test_a_client_of_a_campaign_is_named_with_its_campaign(name):
    """A cap on half of the name would be a cap on a client that no job has."""
    with pytest.raises(UsageError, match="campaign-client:CAMPAIGN/CLIENT"):
        parse_scope(f"campaign-client:{name}")


def test_a_day_begins_and_ends_in_utc():
    """`--since` and `--until` of one day hold exactly that day."""
    assert day_ms("1970-01-02", "--since") == 86_400_000
    assert day_ms("1970-01-02", "--until", days_later=1) == 2 * 86_400_000
    assert day_ms(None, "--since") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "today",
        "2026-13-01",
        "2026-02-30",
        "20261121",
        "2026-11-21T00:00",
        "\u0662\u0660\u0662\u0666-11-21",
    ],
)
def test_what_is_no_day_is_named(text):
    """A text that is no day is refused with the option's name and an example."""
    with pytest.raises(UsageError, match=r"--until is .* a day"):
        day_ms(text, "--until", days_later=1)


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("", 0)])
def test_columns_of_a_terminal_are_counted(text, width):
    """Wide letters take two columns and accents none."""
    assert cell_len(text) == width
