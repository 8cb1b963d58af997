"""Who is told, and how a webhook is signed."""

import hashlib
import hmac
import json

import pytest

from callsheet.errors import ManifestError
from callsheet.notify.message import trial
from callsheet.notify.sending import targets_of, webhook_body, webhook_headers
from callsheet.settings import Secret, settings_from
from manifests.addresses import is_webhook
from manifests.campaign_file import read_campaign

TOKEN = "T0KEN-canary"


def test_references_are_filled_in_from_the_environment_and_nothing_shows_the_address():
    """A message calls a target by its kind and the variable's name."""
    environ = {"TEAM_CHAT": f"discord://1/{TOKEN}"}
    found = targets_of(["env:TEAM_CHAT", f"slack://{TOKEN}", "env:NOT_SET"], "", None, environ)
    assert [each.name for each in found.apprise] == ["discord (env:TEAM_CHAT)", "slack"]
    assert found.apprise[0].url.reveal() == environ["TEAM_CHAT"]
    assert found.missing == ("env:NOT_SET names an environment variable that is not set here",)
    assert TOKEN not in repr(found)
    settings = settings_from({"CALLSHEET_NOTIFY_URLS": f"slack://{TOKEN}", "CALLSHEET_WEBHOOK_SECRET": TOKEN})
    assert TOKEN not in repr(settings)


def test_what_is_no_address_is_not_shown_either():
    """A token without its `slack://` is a token all the same."""
    found = targets_of(["env:TEAM_CHAT", TOKEN], "", None, {"TEAM_CHAT": f"{TOKEN}/A1/B2"})
    assert [each.name for each in found.apprise] == ["no address (env:TEAM_CHAT)", "no address"]


def test_a_webhook_without_a_secret_is_not_called():
    """An unsigned message could come from anybody."""
    found = targets_of([], "https://hooks.example/x", None, {})
    assert (bool(found), "CALLSHEET_WEBHOOK_SECRET" in found.missing[0]) == (False, True)


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("https://hooks.example/x", True),
        ("http://127.0.0.1:8000/x", True),
        ("http://hooks.example/x", False),
        ("ftp://hooks.example/x", False),
        ("https://", False),
        ("https://[bad", False),
    ],
)
def test_webhooks_go_over_https_or_to_this_machine(url, may):
    """What is signed is not secret, but its content is."""
    assert is_webhook(url) is may


def test_a_webhook_is_signed_over_its_time_and_body():
    """HMAC-SHA256 over `timestamp.body`, in hex; the id is the message's own."""
    body = webhook_body(trial(at_ms=1))
    headers = webhook_headers(trial(at_ms=1), body, Secret("shared"), 1_800_000_000)
    expected = hmac.new(b"shared", b"1800000000." + body, hashlib.sha256).hexdigest()
    assert headers["Callsheet-Signature"] == f"sha256={expected}"
    assert (headers["Callsheet-Timestamp"], headers["Callsheet-Event"]) == ("1800000000", "test")
    assert json.loads(body)["event"] == "test"


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (f'urls = ["{TOKEN}"]', "notify.urls.0"),
        (f'urls = "slack://{TOKEN}"', "notify.urls"),
        (f'webhook = "http://hooks.example/{TOKEN}"', "notify.webhook"),
        (f'url = ["slack://{TOKEN}"]', "notify.url"),
    ],
)
def test_a_wrong_address_is_named_by_its_line_and_never_shown(tmp_path, line, key):
    """The file, the line and the key; what was found may be a secret."""
    path = tmp_path / "campaign.toml"
    path.write_text(f'[campaign]\nname = "a"\nmanifest = "a.csv"\n\n[notify]\n{line}\n')
    with pytest.raises(ManifestError) as raised:
        read_campaign(path)
    (problem,) = raised.value.problems
    assert (problem.row, problem.column) == (6, key)
    assert TOKEN not in str(problem)
    assert TOKEN not in repr(read_campaign(_good(tmp_path)))


def _good(folder):
    path = folder / "good.toml"
    path.write_text(f'[campaign]\nname = "a"\nmanifest = "a.csv"\n[notify]\nurls = ["slack://{TOKEN}"]\n')
    return path
