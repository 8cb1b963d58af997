"""What `callsheet deploy` refuses before it asks a server."""

import pytest
from pydantic import ValidationError

from callsheet.cli.commands.deploy import deploy
from callsheet.engine.request import RunRequest
from callsheet.errors import UsageError


@pytest.mark.parametrize("text", ["abc", "-1", "1e3", "NaN", "", "20000000", "0.0000000001"])
def test_a_threshold_that_is_no_amount_is_named_with_what_is_one(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence is that of --budget-usd, and says what 0 means. Nor can a request have it."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    with pytest.raises(UsageError) as said:
        deploy(approve_above_usd=text)
    assert str(said.value).startswith(f"--approve-above-usd: {text!r} is not ")
    assert str(said.value).endswith("0 asks about every run")
    with pytest.raises(ValidationError):
        RunRequest(approve_above_usd=text)


@pytest.mark.parametrize("text", ["0", "0.00", ".0", " 30 ", "39.50", "2000000", "9999999.999999999"])
def test_a_threshold_may_be_nothing_or_more_than_any_run_costs(text: str) -> None:
    """A run that costs anything at all is then asked about, or none is."""
    assert RunRequest(approve_above_usd=text).approve_above_usd == text
