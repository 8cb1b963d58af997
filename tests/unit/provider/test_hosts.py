from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callsheet.errors import UntrustedHost, UsageError
from callsheet.provider.hosts import Hosts
from callsheet.settings import Settings
from callsheet.ticket import Ticket

SETTINGS = Settings(data_dir=Path("unused"))
SANDBOX = replace(
    SETTINGS,
    queue_url="http://127.0.0.1:8123",
    rest_url="http://127.0.0.1:8123",
    cdn_url="http://127.0.0.1:8123",
)
ID = "764cabcf-b745-4b3e-ae38-1200304cf45b"

LOOK_ALIKES = [
    "https://fal.media.evil.com/a.mp4",
    "https://evilfal.media/a.mp4",
    "https://fal.media@evil.com/a.mp4",
    "https://v3.fal.media:443@evil.com/a.mp4",
    "https://user:pass@v3.fal.media/a.mp4",
    "https://@v3.fal.media/a.mp4",
    "https://fal。media/a.mp4",
    "https://v3.fal.media\\@evil.com/a.mp4",
    "https://evil.com\\.fal.media/a.mp4",
    "https://v3.fal.media.:443/a.mp4",
    "https://v3.fal.media:8443/a.mp4",
    "https://v3.fal.media:80/a.mp4",
    "http://v3.fal.media/a.mp4",
    "ftp://v3.fal.media/a.mp4",
    "file:///etc/passwd",
    "data:video/mp4;base64,AAAA",
    "//v3.fal.media/a.mp4",
    "v3.fal.media/a.mp4",
    "https:///a.mp4",
    "https://",
    "",
    " https://v3.fal.media/a.mp4",
    "https://v3.fal.media/a b.mp4",
    "https://v3.fal.media/a.mp4\r\nX-Evil: 1",
    "https://v3.fal.media/\x00a.mp4",
    "https://evil.com#.fal.media/",
    "https://evil.com?.fal.media/",
    "https://evil%2ecom%2f.fal.media/",
    "https://storage.googleapis.com/anybody/a.mp4",
    "https://169.254.169.254/latest/meta-data",
    "https://[::1]/a.mp4",
    "https://2130706433/a.mp4",
    "https://v3.fal.media/" + "a" * 9000,
]


@pytest.mark.parametrize(
    "url",
    [
        "https://v3.fal.media/files/a/b.mp4",
        "https://v3b.fal.media/files/a/b.mp4?x=1",
        "https://fal.media/a.mp4",
        "https://V3.FAL.MEDIA/a.mp4",
        "https://v3.fal.media:443/a.mp4",
    ],
)
def test_fals_media_hosts_are_followed(url: str) -> None:
    """Files may lie on fal.media and every name under it, over https on its own port."""
    assert Hosts(SETTINGS).may_hold_media(url).host.endswith("fal.media")


@pytest.mark.parametrize("url", LOOK_ALIKES)
def test_look_alikes_are_refused(url: str) -> None:
    """Nothing that only looks like a media host is followed, and nothing gets the key."""
    hosts = Hosts(SETTINGS)
    with pytest.raises(UntrustedHost):
        hosts.may_hold_media(url)
    with pytest.raises(UntrustedHost):
        hosts.may_have_key(url)


@pytest.mark.parametrize("url", [*LOOK_ALIKES, "http://127.0.0.1:8124/a", "https://127.0.0.1:8123/a"])
def test_a_configured_http_origin_is_itself_and_nothing_else(url: str) -> None:
    """The sandbox's origin is trusted to the letter of its scheme and port."""
    hosts = Hosts(SANDBOX)
    assert hosts.may_hold_media("http://127.0.0.1:8123/files/a.mp4").port == 8123
    with pytest.raises(UntrustedHost):
        hosts.may_have_key(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.fal.ai/v1",
        "https://v3.fal.media/x",
        "https://queue.fal.run.evil.com/",
        "http://queue.fal.run/",
    ],
)
def test_only_queue_and_rest_get_the_key(url: str) -> None:
    """A file host never gets the key, nor does the queue itself without TLS."""
    hosts = Hosts(SETTINGS)
    assert hosts.may_have_key("https://queue.fal.run/fal-ai/x").host == "queue.fal.run"
    assert hosts.may_have_key("https://rest.fal.ai/storage").host == "rest.fal.ai"
    with pytest.raises(UntrustedHost):
        hosts.may_have_key(url)


@given(text=st.text(max_size=60))
def test_no_text_whatever_gets_the_key_by_chance(text: str) -> None:
    """Any text is either refused by name or really is on a configured origin."""
    for address in (text, f"https://{text}", f"https://queue.fal.run{text}"):
        try:
            url = Hosts(SETTINGS).may_have_key(address)
        except UntrustedHost:
            continue
        assert (url.scheme, url.host, url.port) == ("https", "queue.fal.run", None)


def test_a_replys_addresses_are_kept_on_the_queue_and_rebuilt_elsewhere() -> None:
    """Each address of a reply stands only if it is on the queue and about this very request."""
    own = f"https://queue.fal.run/elsewhere/requests/{ID}/status"
    pinned = Hosts(SETTINGS).pinned(
        Ticket(
            ID, "fal-ai/bytedance/v1/x", own, f"https://evil.com/{ID}", "https://queue.fal.run/other/cancel"
        )
    )
    base = f"https://queue.fal.run/fal-ai/bytedance/requests/{ID}"
    assert pinned == Ticket(ID, "fal-ai/bytedance/v1/x", own, base, f"{base}/cancel")


@pytest.mark.parametrize("url", ["https://[bad", "http://", "https://a b", "https://user:pw@queue.fal.run"])
def test_a_configured_address_that_cannot_be_one_is_named(url: str) -> None:
    """A mistake in the configuration says which variable it is in, before anything is sent."""
    with pytest.raises(UsageError, match="CALLSHEET_QUEUE_URL") as raised:
        Hosts(replace(SETTINGS, queue_url=url))
    assert "pw" not in str(raised.value), "a message ends up in logs"
