"""What `callsheet deploy` refuses before it asks a server."""

import pytest

from callsheet.cli.commands.deploy import _check_threshold
from callsheet.errors import UsageError


@pytest.mark.parametrize("text", ["abc", "-1", "1e3", "NaN", "", "2000000", "0.0000000001"])
def test_a_threshold_that_is_no_amount_is_named_with_what_is_one(text: str) -> None:
    """The sentence is that of --budget-usd, and says what 0 means."""
    with pytest.raises(UsageError) as said:
        _check_threshold(text)
    assert str(said.value).startswith(f"--approve-above-usd: {text!r} is not ")
    assert str(said.value).endswith("0 asks about every run")


@pytest.mark.parametrize("text", ["0", "0.00", ".0", " 30 ", "39.50"])
def test_a_threshold_may_be_nothing(text: str) -> None:
    """A run that costs anything at all is then asked about."""
    _check_threshold(text)
