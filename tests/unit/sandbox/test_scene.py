import base64
import io

import pytest
from PIL import Image

from callsheet.sandbox.config import SandboxConfig
from callsheet.sandbox.scene import InputLoader
from callsheet.sandbox.served_endpoints import BadInput, Source

OWNS = SandboxConfig().owns


def picture(loader: InputLoader, url: str) -> Image.Image | None:
    """What the loader finds at an image's address."""
    return loader.picture(Source("image", ("image_url",), url))[0]


def png(width: int, height: int, colour: tuple[int, int, int] = (200, 30, 30)) -> bytes:
    """A PNG of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(body: bytes) -> str:
    """The bytes as a data: URI."""
    return "data:image/png;base64," + base64.b64encode(body).decode()


def test_data_uris_and_own_files_are_read() -> None:
    """A data: URI and a file uploaded here give the same picture, under any of this machine's names."""
    loader = InputLoader({"kite": png(320, 300)}.get, OWNS)
    for url in (
        data_uri(png(320, 300)),
        "http://127.0.0.1:8000/files/kite",
        "https://localhost:9/files/kite",
        "http://[::1]/files/kite",
    ):
        assert picture(loader, url).size == (320, 300)


@pytest.mark.parametrize(
    ("url", "type_"),
    [
        ("https://example.com/cat.png", "file_download_error"),
        ("https://example.com/files/kite", "file_download_error"),
        ("http://127.0.0.1.example.com/files/kite", "file_download_error"),
        ("http://127.0.0.1:1/files/other", "file_download_error"),
        ("http://127.0.0.1:1/elsewhere", "file_download_error"),
        ("file:///etc/passwd", "file_download_error"),
        ("kite.png", "file_download_error"),
        ("http://[::1", "file_download_error"),
        ("", "file_download_error"),
        ("data:image/png;base64,!!!", "file_download_error"),
        ("data:text/plain,hello", "image_load_error"),
        (data_uri(png(299, 500)), "image_too_small"),
        (data_uri(png(6001, 300)), "image_too_large"),
    ],
)
def test_what_cannot_be_used_gets_fals_own_word(url: str, type_: str) -> None:
    """Other hosts, broken images and sides outside 300 to 6000 px are refused with fal's error types."""
    loader = InputLoader({"kite": png(320, 300)}.get, OWNS)
    with pytest.raises(BadInput) as refusal:
        picture(loader, url)
    assert refusal.value.type == type_
    (item,) = refusal.value.body(url)["detail"]
    assert (item["loc"], item["type"], item["input"]) == (["body", "image_url"], type_, url)


def test_a_large_file_is_refused_by_its_bytes() -> None:
    """More than 30 MB are refused before anything is decoded, and the limit is told."""
    loader = InputLoader({"big": bytes(30_000_001)}.get, OWNS)
    with pytest.raises(BadInput) as refusal:
        picture(loader, "http://localhost/files/big")
    assert (refusal.value.type, refusal.value.context) == ("file_too_large", {"max_size": 30_000_000})
