"""Keys in the settings."""

import pytest

from callsheet.errors import UsageError
from callsheet.settings import settings_from


def test_the_admin_key_is_read_and_masked():
    """FAL_ADMIN_KEY stands beside FAL_KEY, and neither shows in what is printed."""
    settings = settings_from({"FAL_KEY": "run-canary", "FAL_ADMIN_KEY": " admin-canary "})
    assert settings.admin_key is not None
    assert settings.admin_key.reveal() == "admin-canary"
    assert "canary" not in repr(settings)
    assert settings_from({}).admin_key is None


@pytest.mark.parametrize("url", ["ftp://user:canary@queue.fal.run", "user:canary@queue.fal.run"])
def test_an_address_with_a_password_is_refused_without_it(url):
    """A message ends up in logs."""
    with pytest.raises(UsageError, match=r"CALLSHEET_QUEUE_URL is 'queue\.fal\.run'") as raised:
        settings_from({"CALLSHEET_QUEUE_URL": url})
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize("name", ["FAL_KEY", "FAL_ADMIN_KEY"])
def test_a_key_with_impossible_characters_is_refused_without_being_shown(name):
    """The message names the variable and not what it holds."""
    with pytest.raises(UsageError, match=name) as raised:
        settings_from({name: "canary with spaces"})
    assert "canary" not in str(raised.value)
