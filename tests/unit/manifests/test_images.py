"""Pictures: looked at before anything is spent, never fetched, and never from where they should not be."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import random
import struct
import unicodedata
import zlib
from pathlib import Path

import PIL.Image
import pytest

from callsheet.errors import PlanChanged
from manifests import images, planner
from manifests.images import BadPicture, PictureFinder, materialised
from manifests.job import Image, Job
from manifests.plan_file import write_plan
from manifests.planner import make_plan
from pricing.catalog import load_catalog


def _picture(kind: str = "PNG", size: tuple[int, int] = (640, 360), **options: object) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", size, (200, 80, 20)).save(buffer, kind, **options)
    return buffer.getvalue()


def _find(cell: str, folder: Path, *, root: Path | None = None, cwd: Path | None = None) -> Image:
    return PictureFinder.of(cwd or folder, root).find(cell, folder.resolve())


def _data_uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("WEBP", "image/webp"),
        ("GIF", "image/gif"),
        ("AVIF", "image/avif"),
    ],
)
def test_files_are_known_by_their_content(tmp_path: Path, kind: str, content_type: str) -> None:
    """Type, size and hash come from what the file holds, whatever its name says."""
    content = _picture(kind)
    (tmp_path / "picture.txt").write_bytes(content)
    image = _find("picture.txt", tmp_path)
    assert image.kind == "file"
    assert image.content_type == content_type
    assert image.size == (640, 360)
    assert image.sha256 == hashlib.sha256(content).hexdigest()
    assert Path(image.value) == (tmp_path / "picture.txt").resolve()


def _mpo() -> bytes:
    buffer = io.BytesIO()
    first, second = (PIL.Image.new("RGB", (640, 360), colour) for colour in ((200, 80, 20), (20, 80, 200)))
    first.save(buffer, "MPO", save_all=True, append_images=[second])
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [_mpo(), _picture("JPEG") + b"\0\0\0\x18ftypmp42" + b"film" * 5000, _picture("JPEG", progressive=True)],
    ids=["mpo", "motion photo", "progressive"],
)
def test_a_cameras_jpeg_is_sent_as_one(tmp_path: Path, content: bytes) -> None:
    """More views or a film behind the first picture do not matter; it is sent whole, as image/jpeg."""
    (tmp_path / "a.jpg").write_bytes(content)
    image = _find("a.jpg", tmp_path)
    assert (image.content_type, image.size) == ("image/jpeg", (640, 360))
    assert image.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.99])
def test_a_jpeg_whose_thumbnail_ends_may_still_be_cut_off(tmp_path: Path, kept: float) -> None:
    """The end of a picture within the header is not the end of the file's own picture."""
    noise = PIL.Image.frombytes("RGB", (640, 360), random.Random(1).randbytes(640 * 360 * 3))
    buffer = io.BytesIO()
    noise.save(buffer, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + _picture("JPEG"))
    content = buffer.getvalue()
    (tmp_path / "a.jpg").write_bytes(content)
    assert _find("a.jpg", tmp_path).content_type == "image/jpeg"
    (tmp_path / "a.jpg").write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(BadPicture, match="cut off"):
        PictureFinder.of(tmp_path).find("a.jpg", tmp_path.resolve())


@pytest.mark.parametrize(
    "cell", ["https://example.com/a.png", "HTTP://Example.com:8080/a?b=c#d", "https://[2001:db8::1]/a"]
)
def test_addresses_are_passed_on(tmp_path: Path, cell: str) -> None:
    """An address is kept as it is; nothing is fetched, so nothing is known about the picture."""
    assert _find(cell, tmp_path) == Image("url", cell)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("https://", "not a web address"),
        ("https:///a.png", "not a web address"),
        ("https://[::1/a", "not a web address"),
        ("https://example.com:port/a", "not a web address"),
        ("https://example.com/a b", "not a web address"),
        ("https://me@example.com/a", "name or password"),
        ("https://me:pw@example.com/a", "name or password"),
        ("https://example.com/" + "a" * 5000, "longer than 4096"),
        ("file:///etc/passwd", "file: URLs are not"),
        ("gs://bucket/a.png", "install callsheet\\[gcs\\]"),
        ("javascript:alert(1)", "javascript: URLs are not"),
        ("data:image/png,abc", "must look like data:"),
        ("data:image/png;base64", "must look like data:"),
        ("data:image/png;base64,****", "characters that base64 does not have"),
        ("data:image/png;base64,AAA", "cut off"),
        ("data:image/png;base64,AAAA", "not a whole JPEG"),
        ("gone.png", "there is no file"),
        (".", "is not a file"),
        ("x" * 5000, "there is no file"),
        ("a\x00b", "there is no file"),
    ],
)
def test_what_names_no_picture(tmp_path: Path, cell: str, message: str) -> None:
    """Other schemes, broken addresses, broken data and missing files are refused with what is allowed."""
    with pytest.raises(BadPicture, match=message):
        _find(cell, tmp_path)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((299, 299), "each side must have 300 to 6000 pixels"),
        ((6001, 2500), "each side must have 300 to 6000 pixels"),
        ((1000, 300), "width / height is 3.33; 0.4 to 2.5 is allowed"),
        ((300, 800), "width / height is 0.38"),
    ],
)
def test_sizes_that_are_refused(tmp_path: Path, size: tuple[int, int], message: str) -> None:
    """A picture that fal would refuse, and might charge for, is refused here with its size."""
    (tmp_path / "a.png").write_bytes(_picture(size=size))
    with pytest.raises(BadPicture, match=message):
        _find("a.png", tmp_path)


@pytest.mark.parametrize("size", [(300, 300), (6000, 2400), (2400, 6000), (750, 300), (300, 750)])
def test_sizes_at_the_bounds(tmp_path: Path, size: tuple[int, int]) -> None:
    """The bounds themselves are allowed."""
    (tmp_path / "a.png").write_bytes(_picture(size=size))
    assert _find("a.png", tmp_path).size == size


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "GIF"])
def test_pictures_that_are_cut_off(tmp_path: Path, kind: str) -> None:
    """A download that broke off is seen before it is paid for."""
    noise = PIL.Image.frombytes("RGB", (400, 400), random.Random(7).randbytes(400 * 400 * 3))
    buffer = io.BytesIO()
    noise.save(buffer, kind)
    (tmp_path / "a").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) * 2 // 3])
    with pytest.raises(BadPicture, match=r"cut off|not a whole"):
        _find("a", tmp_path)


@pytest.mark.parametrize("box", [b"iloc", b"pitm", b"av1C", b"ispe"])
def test_a_damaged_avif_is_no_picture(tmp_path: Path, box: bytes) -> None:
    """Its decoder has errors of its own."""
    (tmp_path / "a.avif").write_bytes(_picture("AVIF").replace(box, b"free"))
    with pytest.raises(BadPicture, match="not a whole"):
        _find("a.avif", tmp_path)


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PDF"])
def test_types_that_fal_does_not_list(tmp_path: Path, kind: str) -> None:
    """Only the types on fal's page are taken; no other decoder is even tried."""
    (tmp_path / "a.png").write_bytes(_picture(kind))
    with pytest.raises(BadPicture, match="not a whole JPEG, PNG, WebP, GIF or AVIF"):
        _find("a.png", tmp_path)


@pytest.mark.parametrize("side", [12_000, 60_000, 2**31 - 1])
def test_decompression_bombs(tmp_path: Path, side: int) -> None:
    """A small file that claims a huge picture is refused by its header; nothing is unpacked."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + b"\x00\x00\x00\x00IEND\xaeB`\x82")
    with pytest.raises(BadPicture, match=r"pixels|not a whole"):
        _find("a.png", tmp_path)


def test_files_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file above the limit is refused after reading one byte more than the limit, and so is data."""
    content = _picture()
    monkeypatch.setattr(images, "MAX_BYTES", len(content) - 1)
    (tmp_path / "a.png").write_bytes(content)
    for cell in ("a.png", _data_uri(content), _data_uri(content * 4)):
        with pytest.raises(BadPicture, match="larger than"):
            _find(cell, tmp_path)


def test_a_pipe_is_no_picture(tmp_path: Path) -> None:
    """A named pipe does not hold the plan up."""
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(BadPicture, match="is not a file"):
        _find("pipe.png", tmp_path)


@pytest.mark.parametrize(("on_disk", "written"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_name_is_found_however_its_letters_are_composed(tmp_path: Path, on_disk: str, written: str) -> None:
    """A Mac decomposes umlauts in names of files, and a spreadsheet does not."""
    (tmp_path / unicodedata.normalize(on_disk, "Übergröße.png")).write_bytes(_picture())
    assert _find(unicodedata.normalize(written, "Übergröße.png"), tmp_path).kind == "file"


def test_only_from_allowed_folders(tmp_path: Path) -> None:
    """Files come from the manifest's folder or the working directory; neither `..` nor a link leads out."""
    inside, outside, cwd = tmp_path / "inside", tmp_path / "outside", tmp_path / "cwd"
    for folder in (inside, outside, cwd):
        folder.mkdir()
        (folder / "a.png").write_bytes(_picture())
    (inside / "link.png").symlink_to(outside / "a.png")
    assert _find("a.png", inside, cwd=cwd).kind == "file"
    assert _find(str(cwd / "a.png"), inside, cwd=cwd).kind == "file"
    for cell in ("../outside/a.png", str(outside / "a.png"), "link.png"):
        with pytest.raises(BadPicture, match="lies outside"):
            _find(cell, inside, cwd=cwd)


def test_an_input_root_is_the_only_place(tmp_path: Path) -> None:
    """With an input root, relative paths begin there and nothing else is allowed."""
    manifest, root = tmp_path / "manifest", tmp_path / "root"
    for folder in (manifest, root):
        folder.mkdir()
        (folder / f"{folder.name}.png").write_bytes(_picture())
    assert _find("root.png", manifest, root=root).kind == "file"
    with pytest.raises(BadPicture, match="lies outside"):
        _find(str(manifest / "manifest.png"), manifest, root=root)


def test_turned_photographs_have_no_known_shape(tmp_path: Path) -> None:
    """Which way round fal reads a turned photograph is not known, so its shape decides no price."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a.jpg").write_bytes(_picture("JPEG", exif=exif))
    image = _find("a.jpg", tmp_path)
    assert image.size is None
    assert image.content_type == "image/jpeg"


def test_each_file_is_read_once(tmp_path: Path) -> None:
    """A picture that a thousand rows share is read once, and so is a mistake."""
    finder = PictureFinder.of(tmp_path)
    (tmp_path / "a.png").write_bytes(_picture())
    first = finder.find("a.png", tmp_path)
    (tmp_path / "a.png").unlink()
    assert finder.find("a.png", tmp_path) is first
    with pytest.raises(BadPicture):
        finder.find("b.png", tmp_path)
    (tmp_path / "b.png").write_bytes(_picture())
    with pytest.raises(BadPicture):
        finder.find("b.png", tmp_path)


def test_data_becomes_a_file_for_the_run(tmp_path: Path) -> None:
    """A data: URI is written once under its hash, and the job stays the same purchase."""
    content = _picture()
    image = _find(_data_uri(content), tmp_path)
    endpoint = load_catalog().endpoints["fal-ai/bytedance/seedance/v1/lite/reference-to-video"]
    job = Job(2, "a", endpoint, "A fox", "720p", "auto", duration_s=5, references=(image, image))
    made = materialised(job, tmp_path / "pictures")
    (path,) = (tmp_path / "pictures").iterdir()
    assert path.read_bytes() == content
    assert path.name == f"{hashlib.sha256(content).hexdigest()}.png"
    assert {each.value for each in made.references} == {str(path)}
    assert made.fingerprint == job.fingerprint
    assert materialised(made, tmp_path / "elsewhere") == made


@pytest.mark.parametrize("few_jobs", [-1, 1000])
def test_a_plan_file_names_the_rows_with_pictures_that_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_jobs: int
) -> None:
    """Of pictures on disk the content counts, also of one that another row has as well."""
    monkeypatch.setattr(planner, "FEW_JOBS", few_jobs)
    (tmp_path / "a.png").write_bytes(_picture())
    (tmp_path / "b.png").write_bytes(_picture())
    rows = ["a,fox,a.png", "b,cat,b.png", "c,dog,", "d,owl,a.png"]
    shots, plan = tmp_path / "shots.csv", tmp_path / "plan.json"

    def write() -> None:
        lines = [f"{row},seedance-1.0-lite" for row in rows]
        shots.write_text("\n".join(["custom_id,prompt,image_url,model", *lines]) + "\n")

    write()
    write_plan(make_plan(shots), plan)
    (tmp_path / "b.png").write_bytes(_picture("PNG", (640, 400)))
    rows[3] = "d,eagle,a.png"
    write()
    with pytest.raises(PlanChanged, match="2 rows changed: b, d"):
        make_plan(plan)
