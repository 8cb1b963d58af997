"""Addresses of pictures: one picture however it is signed, and what fal cannot fetch."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.addresses import doubt, is_inside, unsigned

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
S3 = "https://b.s3.amazonaws.com/a.png"
GCS = "https://storage.googleapis.com/b/a.png"
AZURE = "https://acme.blob.core.windows.net/c/a.png"


@pytest.mark.parametrize(
    ("address", "same"),
    [
        (f"{S3}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=k%2F20261128&X-Amz-Signature=ab", S3),
        (f"{S3}?X-Amz-Date=20261128T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=a", S3),
        (f"{S3}?X-Amz-Security-Token=t&X-Amz-Signature=ab", S3),
        (f"{S3}?versionId=7&X-Amz-Signature=ab&X-Amz-Date=x&partNumber=2", f"{S3}?versionId=7&partNumber=2"),
        (f"{S3}?AWSAccessKeyId=k&Signature=ab%3D&Expires=1795867200", S3),
        (f"{GCS}?X-Goog-Signature=ab&X-Goog-Date=x&generation=5", f"{GCS}?generation=5"),
        (f"{GCS}?GoogleAccessId=k&Expires=1&Signature=ab", GCS),
        (f"{AZURE}?sv=2024-11-04&se=2026-12-01&sr=b&sp=r&skoid=o&sig=ab", AZURE),
        (f"{AZURE}?sp=r&se=2026-12-01&sig=ab&snapshot=2", f"{AZURE}?snapshot=2"),
        ("https://cdn.acme.com/a.png?sv=2024-11-04&sp=r&sig=ab#top", "https://cdn.acme.com/a.png#top"),
    ],
)
def test_a_signature_is_no_part_of_the_picture(address: str, same: str) -> None:
    """The parameters that S3, Google and Azure sign with are left out; all others stay in their order."""
    assert unsigned(address) == same


@pytest.mark.parametrize(
    "address",
    [
        f"{S3}?versionId=7",
        f"{S3}?X-Amz-Date=20261128T000000Z",
        f"{S3}?Expires=1795867200",
        "https://example.com/a.png?Signature=ab&Expires=5",
        "https://example.com/a.png?sig=ab&sp=r&se=2026-12-01",
        "https://core.windows.net.example.com/a.png?sig=ab&sp=r",
        "https://example.com/a.png?x-amz-signature",
        "https://example.com/X-Amz-Signature=ab",
        "https://example.com/a.png?",
        "https://example.com/a.png#?sig=1&sv=2",
    ],
)
def test_other_parameters_make_another_picture(address: str) -> None:
    """Where nothing is known to sign an address, everything in it counts."""
    bare = address.replace("x-amz-signature", "y")
    assert unsigned(bare) == bare


@given(
    st.lists(
        st.sampled_from(["X-Amz-Signature=a", "X-Amz-Date=b", "versionId=1", "x=", "", "sig=1"]), max_size=6
    )
)
def test_leaving_a_signature_out_twice_changes_nothing(parts: list[str]) -> None:
    """What is left of an address is its own identity."""
    once = unsigned(f"{S3}?{'&'.join(parts)}")
    assert unsigned(once) == once


@pytest.mark.parametrize(
    "address",
    [
        f"{S3}?X-Amz-Date=20261127T000000Z&X-Amz-Expires=3600&X-Amz-Signature=ab",
        f"{S3}?x-amz-date=20261127T000000Z&x-amz-expires=3600&x-amz-signature=ab",
        f"{GCS}?X-Goog-Date=20261128T110000Z&X-Goog-Expires=3600&X-Goog-Signature=ab",
        f"{S3}?AWSAccessKeyId=k&Signature=ab&Expires=1577836800",
        f"{GCS}?GoogleAccessId=k&Signature=ab&Expires=1577836800",
        f"{AZURE}?sv=1&se=2026-11-28T11%3A59%3A59Z&sig=ab",
        f"{AZURE}?sv=1&se=2026-11-28&sig=ab",
    ],
)
def test_a_signature_that_ran_out_is_named(address: str) -> None:
    """The moment from which fal is refused is told."""
    assert "expired" in doubt(address, NOW)


@pytest.mark.parametrize(
    "address",
    [
        f"{S3}?X-Amz-Date=20261128T115900Z&X-Amz-Expires=3600&X-Amz-Signature=ab",
        f"{S3}?X-Amz-Date=soon&X-Amz-Expires=3600&X-Amz-Signature=ab",
        f"{S3}?X-Amz-Date=20200101T000000Z&X-Amz-Signature=ab",
        f"{S3}?AWSAccessKeyId=k&Signature=ab&Expires=4102444800",
        f"{S3}?AWSAccessKeyId=k&Signature=ab&Expires={'9' * 400}",
        "https://example.com/a.png?Expires=1577836800",
        f"{AZURE}?sv=1&se=2027-01-01T00:00:00Z&sig=ab",
        f"{AZURE}?sv=1&se=2020-01-01",
        "https://8.8.8.8/a.png",
        "https://172.15.0.1/a.png",
        "https://192.169.1.5/a.png",
        "https://100.128.0.1/a.png",
        "https://[2606:4700::1111]/a.png",
        "https://10.example.com/a.png",
        "https://cdn10.0.0.1.example.com/a.png",
        "https://localhost.example.com/a.png",
        "https://notlocal/a.png",
        "https://127.0.0.1.1/a.png",
        "https://256.0.0.1/a.png",
        "https://4294967296/a.png",
    ],
)
def test_nothing_is_said_against_other_addresses(address: str) -> None:
    """Public hosts, signatures that are good for a while, and what only resembles one."""
    assert doubt(address, NOW) == ""


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost",
            "LOCALHOST",
            "a.localhost",
            "localhost.",
            "nas.local",
            "vault.internal",
            "x.home.arpa",
        ),
        *(
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0.0.0.0",
            "10.0.0.1",
            "172.31.255.255",
        ),
        *("192.168.1.5", "169.254.169.254", "100.64.0.1", "[::1]", "[fe80::1]", "[fd00::1]"),
        *("[::ffff:10.0.0.1]", "[::]"),
    ],
)
def test_this_machine_and_private_networks_are_named(host: str) -> None:
    """Fal cannot fetch from loopback, private and link-local addresses, however they are written."""
    assert "fal cannot fetch" in doubt(f"http://{host}:8000/a.png", NOW)


def test_a_host_is_judged_by_its_whole_name() -> None:
    """A name that ends like a private one is public."""
    assert not is_inside("mylocal")
